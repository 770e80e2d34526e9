//! What is written where others can read it, and read back.

use std::time::Duration;

use lock_proto::file::{
    Command as FileCommand, FileLock, FileLockOptions, Identity, Record, Reply,
};
use lock_proto::redis::{Command, Keys, Message, SCRIPTS, Script, Side, Token, Verb, Words, slot};
use lock_proto::{AcquireOptions, Demand, Event, Instant, LockName, Machine as _, Seed};

use super::{duration, number, text};
use crate::entropy::Entropy;

/// A message says what was said, whatever the token looks like.
pub(super) fn redis_message(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some((token, message)) = Message::parse(&text) {
        check_message(token, message);
    }
    let mut entropy = Entropy::new(bytes.to_vec());
    let (fence, stamp) = (number(&mut entropy), number(&mut entropy));
    check_message(&text, Message { fence, stamp });
}

fn check_message(token: &str, message: Message) {
    let written = format!("{token} {} {}", message.fence, message.stamp);
    assert_eq!(Message::parse(&written), Some((token, message)), "{written:?}");
}

/// A token tells who made it, and what nobody made tells nothing that isn't there.
pub(super) fn redis_token(bytes: &[u8]) {
    let foreign = String::from_utf8_lossy(bytes);
    let holder = Token::holder(&foreign);
    let parts = [holder.owner, holder.host];
    assert!(parts.iter().flatten().all(|part| foreign.contains(&**part)), "{foreign:?}");

    let mut entropy = Entropy::new(bytes.to_vec());
    let host = text(&mut entropy, 20);
    // No host is called so.
    let host = host.replace(|letter: char| letter.is_control() || "@\\".contains(letter), "-");
    let (pid, own) = (number(&mut entropy) as u32, entropy.pick(2) == 1);
    let owner = own.then(|| text(&mut entropy, 40));
    let seed = Seed::from_bytes([number(&mut entropy) as u8; 32]);
    let token = Token::new(&Identity::new(&host, pid), owner.as_deref(), &seed);
    for written in [token.as_str().to_owned(), format!("{}:2", token.as_str())] {
        let holder = Token::holder(&written);
        assert_eq!((holder.host, holder.pid), (Some(host.clone()), Some(pid)), "{written:?}");
        assert_eq!(holder.owner, owner, "{written:?}");
    }
}

/// Each call has the words that it announces, and keys of one slot only.
pub(super) fn redis_words(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let verb = verb(&mut entropy);
    let (name, owner) = (text(&mut entropy, 20), text(&mut entropy, 20));
    let Ok(keys) = Keys::new("", &LockName::new(name).expect("it is short")) else { return };
    let seed = Seed::from_bytes([7; 32]);
    let token = Token::new(&Identity::new("build-7", 4242), Some(&owner), &seed);
    let command = Command::new(0, &keys, &token, verb);
    let mut count = Count::default();
    command.spell("dlock:inbox:7", &mut count);
    let Some(call) = command.script("dlock:inbox:7") else {
        return assert!(matches!(command.verb, Verb::Take { .. }) && count.script.is_none());
    };
    assert_eq!((count.announced, count.script), (count.said, Some(call.script.name)));
    assert_eq!((call.keys.len(), call.args.len()), (count.keys, count.said));
    assert!(SCRIPTS.contains(&call.script), "{}", call.script.name);
    assert!(call.keys.iter().all(|key| slot(key) == slot(keys.lock())), "{:?}", call.keys);
    assert_eq!(call.args.first().map(String::as_str), Some(token.as_str()));
}

#[derive(Debug, Default)]
struct Count {
    script: Option<&'static str>,
    keys: usize,
    announced: usize,
    said: usize,
}

impl Words for Count {
    fn begin(&mut self, script: &'static Script, keys: &[&str], args: usize) {
        (self.script, self.keys, self.announced) = (Some(script.name), keys.len(), args);
    }

    fn text(&mut self, _word: &str) {
        self.said += 1;
    }

    fn number(&mut self, _number: u64) {
        self.said += 1;
    }
}

fn verb(entropy: &mut Entropy) -> Verb {
    let permits = Side::Permits { count: 1 + number(entropy) as u32 / 2, limit: u32::MAX };
    let votes = [Side::Exclusive, Side::Shared][entropy.pick(2)];
    let side = [votes, permits][entropy.pick(2)];
    let (ttl, ballot, flag) = (duration(entropy), number(entropy), entropy.pick(2) == 1);
    let refuse_for = flag.then_some(ttl);
    match entropy.pick(10) {
        0 => Verb::Take { ttl, fencing: flag },
        1 => Verb::Extend { side, ttl },
        2 => Verb::Mint,
        3 => Verb::GiveBack,
        4 => Verb::Leave { side, refuse_for },
        5 => Verb::Vote { side: votes, ballot, ttl, wait: flag, came: number(entropy) },
        6 => Verb::Keep { side: votes, ballot, ttl },
        7 => Verb::StepBack { side: votes, ballot, stay: flag },
        8 => Verb::Quit { side: votes, refuse_for },
        _ => Verb::Enter { side, ttl, wait: flag, stamp: ballot },
    }
}

/// Over whatever a file of ours said, a holder writes what it is, with a greater token; over what
/// is not ours, nothing.
pub(super) fn file_record(bytes: &[u8]) {
    let (head, contents) = bytes.split_at(bytes.len().min(16));
    let contents = &contents[..contents.len().min(Record::MAX_BYTES)];
    let mut entropy = Entropy::new(head.to_vec());
    let (wall_micros, name) = (number(&mut entropy), text(&mut entropy, 8));
    let owner = String::from_utf8_lossy(contents).into_owned();
    let options = AcquireOptions::new().with_owner(&owner).with_timeout(Duration::ZERO);
    let options = if options.terms().is_ok() { options } else { AcquireOptions::new() };
    let mut lock = FileLock::new(
        LockName::new(&*name).expect("it is short"),
        Demand::Exclusive,
        &options,
        FileLockOptions::new(Identity::new("build-7", 4242)),
        &Seed::from_bytes([7; 32]),
        Instant::ZERO,
    )
    .expect("the options were checked");
    let mut written = None;
    while let Some(request) = lock.poll_request() {
        let reads = matches!(request.command, FileCommand::Read(_));
        if let FileCommand::Write(_, bytes) = request.command {
            written = Some(bytes);
        }
        let contents = Reply::Contents { bytes: contents.to_vec(), wall_micros };
        let reply = if reads { contents } else { Reply::Done };
        lock.handle_reply(request.id, Ok(reply), Instant::ZERO);
    }
    let Some(before) = Record::parse(contents) else {
        return assert_eq!(written, None, "a file that is not ours was written to");
    };
    let Some(Event::Acquired { fence, .. }) = lock.poll_event() else { panic!("{lock:?}") };
    let mut file = written.expect("a holder says who it is");
    let record = Record::parse(&file).expect("it is ours");
    assert_eq!(fence, Some(record.fence));
    assert!(record.fence > before.fence || before.fence == u64::MAX, "{before:?}, {record:?}");
    assert_eq!((&*record.host, record.pid, record.since), ("build-7", 4242, wall_micros));
    assert_eq!(record.name, name);
    assert_eq!(record.owner.as_deref(), options.owner().map(|owner| &**owner));
    // What is left over of a longer record means nothing.
    file.extend_from_slice(contents);
    assert_eq!(Record::parse(&file), Some(record));
}
