//! Commands as the wire has them, and what comes back.

use std::slice;
use std::sync::OnceLock;
use std::time::Duration;

use lock_proto::Fault;
use lock_proto::redis::{Command, Reply, SCRIPTS, Script, ScriptCall, Verb, Words};
use redis::{Cmd, Pipeline, ServerErrorKind, Value};

use super::{Session, fault_of};

/// Tells a server every script, so that it need not ask for one.
#[must_use]
pub fn load_scripts() -> Pipeline {
    let mut pipeline = Pipeline::new();
    for script in SCRIPTS {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
    }
    pipeline
}

pub(super) fn command(
    pipeline: &mut Pipeline,
    command: &Command,
    inbox: &str,
    session: &Session,
    spelled_out: bool,
) {
    if let Verb::Take { ttl, fencing } = command.verb {
        take(pipeline, command, ttl, fencing, session);
    } else {
        if is_introduced(command) && !session.mends() {
            let lock = command.keys.lock();
            let mut exists = Cmd::with_capacity(2, lock.len() + ROOM);
            exists.arg("EXISTS").arg(lock);
            pipeline.add_command(exists);
        }
        script(pipeline, command, inbox, spelled_out);
    }
}

fn take(
    pipeline: &mut Pipeline,
    command: &Command,
    ttl: Duration,
    fencing: bool,
    session: &Session,
) {
    let ttl = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let (lock, fence) = (command.keys.lock(), command.keys.fence());
    let token = command.token.as_str();
    let mut set = Cmd::with_capacity(6, lock.len() + ROOM);
    set.arg("SET").arg(lock).arg(token).arg("NX").arg("PX").arg(ttl);
    pipeline.add_command(set);
    if fencing && session.knows(fence) {
        let mut incr = Cmd::with_capacity(2, fence.len() + ROOM);
        incr.arg("INCR").arg(fence);
        pipeline.add_command(incr);
    } else if fencing {
        let mint = Command::new(command.server, &command.keys, &command.token, Verb::Mint);
        script(pipeline, &mint, "", false);
    }
}

/// For a token and short words, so that a command is seldom moved as it grows.
const ROOM: usize = 128;

fn script(pipeline: &mut Pipeline, command: &Command, inbox: &str, spelled_out: bool) {
    let mut call = Call { command: Cmd::new(), spelled_out };
    command.spell(inbox, &mut call);
    pipeline.add_command(call.command);
}

/// Whether a question whose answer says nothing goes before the script, so that the next holder is
/// told before the last: a server writes to its clients in the reverse of the order in which it came
/// to have something for them (`clientInstallWriteHandler` in Redis's [networking.c]). Whoever is
/// told first is often run first as well, and meanwhile the lock would rest. A cluster's client tells
/// one error of several commands, which would say nothing certain of the script: there is none there.
///
/// [networking.c]: https://github.com/redis/redis/blob/7.0.15/src/networking.c
fn is_introduced(command: &Command) -> bool {
    matches!(command.verb, Verb::Leave { .. })
}

/// The replies that say something.
pub(super) fn telling<'a>(command: &Command, replies: &'a mut [Value]) -> &'a mut [Value] {
    let introductions = usize::from(is_introduced(command) && replies.len() > 1);
    &mut replies[introductions..]
}

pub(super) fn words(pipeline: &mut Pipeline, words: &[String]) {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    pipeline.add_command(command);
}

pub(super) fn call(call: &ScriptCall, spelled_out: bool) -> Cmd {
    let mut command = Call { command: Cmd::new(), spelled_out };
    let keys: Vec<&str> = call.keys.iter().map(String::as_str).collect();
    command.begin(call.script, &keys, call.args.len());
    for word in &call.args {
        command.text(word);
    }
    command.command
}

/// A script call as it is spelled.
struct Call {
    command: Cmd,
    /// Whether the server has to be told the script itself.
    spelled_out: bool,
}

impl Words for Call {
    fn begin(&mut self, script: &'static Script, keys: &[&str], args: usize) {
        let (verb, name) =
            if self.spelled_out { ("EVAL", script.source) } else { ("EVALSHA", digest(script)) };
        let size: usize = keys.iter().map(|key| key.len()).sum();
        self.command = Cmd::with_capacity(keys.len() + args + 3, name.len() + size + ROOM);
        self.command.arg(verb).arg(name).arg(keys.len());
        for key in keys {
            self.command.arg(key);
        }
    }

    fn text(&mut self, word: &str) {
        self.command.arg(word);
    }

    fn number(&mut self, number: u64) {
        self.command.arg(number);
    }
}

/// What the server knows a script by.
fn digest(script: &Script) -> &'static str {
    static DIGESTS: OnceLock<Vec<String>> = OnceLock::new();
    let digests = DIGESTS.get_or_init(|| {
        let digest = |script: &&Script| redis::Script::new(script.source).get_hash().to_owned();
        SCRIPTS.iter().map(digest).collect()
    });
    let place = SCRIPTS.iter().position(|known| std::ptr::eq(*known, script));
    place.and_then(|place| digests.get(place)).map_or("", String::as_str)
}

/// Whether a script was not carried out because the server didn't know it. It has been told more
/// than that if there are several replies.
pub(super) fn lacks_script(replies: &[Value]) -> bool {
    let [Value::ServerError(error)] = replies else { return false };
    error.kind() == Some(ServerErrorKind::NoScript)
}

/// What the one reply says, taken out of its place.
pub(super) fn only(replies: &mut [Value]) -> Result<Value, Fault> {
    let reply = replies.first_mut().ok_or_else(senseless)?;
    std::mem::replace(reply, Value::Nil).extract_error().map_err(fault_of)
}

pub(super) fn reply(
    command: &Command,
    session: &Session,
    replies: &mut [Value],
) -> Result<Reply, Fault> {
    if let Verb::Take { fencing, .. } = command.verb {
        return taken(command, session, fencing, replies);
    }
    let reply = match replies.first().map(numbers) {
        Some(Ok(reply)) => reply,
        // It is an error that says more.
        Some(Err(_)) | None => only(replies).and_then(|value| numbers(&value))?,
    };
    if command.verb == Verb::Mint && reply[0] > 0 {
        session.learn(command.keys.fence());
    }
    Ok(reply)
}

fn taken(
    command: &Command,
    session: &Session,
    fencing: bool,
    replies: &mut [Value],
) -> Result<Reply, Fault> {
    let set = only(replies)?;
    if set != Value::Okay && set != Value::Nil {
        return Err(senseless());
    }
    let set = set == Value::Okay;
    if !fencing {
        return Ok([set.into(), 0, 0]);
    }
    // A fence that could not be minted is asked for again.
    let fence = replies.get(1).and_then(|value| numbers(value).ok()).map_or(0, |fence| fence[0]);
    // A script mints for the holder only: it was set by an earlier try of the same write.
    let found = session.mends() && fence > 0;
    if !(set || found) {
        return Ok([0, 0, 0]);
    }
    if fence > 0 {
        session.learn(command.keys.fence());
    }
    Ok([1, fence, 0])
}

/// A number, or the first three of several.
fn numbers(value: &Value) -> Result<Reply, Fault> {
    let mut reply = [0; 3];
    let values = if let Value::Array(values) = value { values } else { slice::from_ref(value) };
    if values.is_empty() {
        return Err(senseless());
    }
    for (place, value) in reply.iter_mut().zip(values) {
        let Value::Int(number) = value else { return Err(senseless()) };
        *place = *number;
    }
    Ok(reply)
}

/// Whatever it is that answers, it may have carried the command out.
pub(super) fn senseless() -> Fault {
    Fault::unknown(
        "the server's answer makes no sense: is it Redis, and is nothing between that changes \
         answers?",
    )
}
