//! A Redis server as plain data: its keys, its clock, and what each script of a lock does to them.
//!
//! The functions say in Rust what the Lua files say; a differential test holds them to a real
//! server. A [`Store`] is a value: cloned, compared and hashed, so that a search can meet it twice.

mod keyspace;
mod locks;
mod omission;
mod permits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lock_proto::redis::{Command, Reply, ScriptCall, Verb};

pub use keyspace::{Answered, Entry, Keyspace, NOT_A_NUMBER, STRAYED, Score, Value, WRONG_TYPE};
use locks::Lock;
pub use omission::Omission;
use permits::Semaphore;

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    keys: Keyspace,
}

/// What a server would find on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    entries: BTreeMap<Arc<str>, Entry>,
}

/// One word of a script's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "scripts answer nothing else")]
pub enum Answer {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// How the fence of a lock that was taken with plain commands is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two ways")]
pub enum Draw {
    /// By `INCR`.
    Increment,
    /// By the script that survives a lost counter, as the first of a connection is.
    Mint,
}

impl Store {
    /// A server without keys, at the beginning of time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A server whose scripts leave something out.
    #[must_use]
    pub fn without(omission: Omission) -> Self {
        Self { keys: Keyspace::without(omission) }
    }

    /// Says what time it is, in microseconds since 1970. Keys whose time is up are gone.
    pub fn set_clock(&mut self, micros: u64) {
        self.keys.set_clock(micros.try_into().expect("not before the year 294247"));
    }

    /// What time it is, in microseconds since 1970.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.keys.now_us()
    }

    /// Carries a command out for the client with this `inbox`; a taker's fence is drawn by `INCR`.
    ///
    /// # Errors
    ///
    /// What the server would answer.
    pub fn execute(&mut self, command: &Command, inbox: &str) -> Answered<Reply> {
        let Some(call) = command.script(inbox) else {
            return Ok(self.take(command, Draw::Increment));
        };
        let mut reply = [0; 3];
        for (place, answer) in reply.iter_mut().zip(self.call(&call)?) {
            let Answer::Number(number) = answer else { panic!("{:?} answers texts", call.script) };
            *place = number;
        }
        Ok(reply)
    }

    /// Carries [`Verb::Take`] out. A fence that could not be drawn is 0.
    ///
    /// # Panics
    ///
    /// If the command is another.
    pub fn take(&mut self, command: &Command, draw: Draw) -> Reply {
        let Verb::Take { ttl, fencing } = command.verb else { panic!("{command:?} is a script") };
        let (keys, token) = (&command.keys, command.token.as_str());
        let ttl = ttl.as_nanos().div_ceil(1_000_000).try_into().expect("a lease is short");
        let ttl = Some(ttl).filter(|_| !self.keys.omits(Omission::Expiry));
        let taken = self.set_nx(keys.lock(), token, ttl);
        let fence = match draw {
            Draw::Increment if fencing => self.keys.incr(keys.fence()),
            Draw::Mint if fencing && self.keys.get(keys.lock()) == Ok(Some(token.into())) => {
                locks::mint(&mut self.keys, keys.fence(), 1)
            }
            Draw::Increment | Draw::Mint => Ok(0),
        };
        [i64::from(taken), fence.unwrap_or(0), 0]
    }

    /// Carries any script out.
    ///
    /// # Errors
    ///
    /// What the server would answer.
    ///
    /// # Panics
    ///
    /// If there is no model of the script.
    pub fn call(&mut self, call: &ScriptCall) -> Answered<Vec<Answer>> {
        let (names, args) = (&call.keys[..], &call.args[..]);
        let name = call.script.name;
        if let Some(verb) = name.strip_prefix("permits_") {
            let gone = names.get(4).map(String::as_str);
            let mut semaphore = Semaphore::new(&mut self.keys, names);
            return match verb {
                "acquire" => {
                    semaphore.acquire(gone.expect("a script asks whether to refuse"), args)
                }
                "extend" => semaphore.extend(args),
                "release" => semaphore.release(gone, args),
                "info" => semaphore.info(),
                _ => panic!("no model of {name}"),
            };
        }
        if name == "give_back" {
            let [lock, waiting] = names else { panic!("two keys, not {names:?}") };
            return locks::give_back(&mut self.keys, lock, waiting, &args[0]);
        }
        let gone = names.get(6).map(String::as_str);
        let mut lock = Lock::new(&mut self.keys, names);
        match name {
            "acquire" => lock.acquire(gone.expect("a script asks whether to refuse"), args),
            "extend" => lock.extend(args),
            "release" => lock.release(gone, args),
            "mint" => lock.mint_for(args),
            "info" => lock.info(),
            "vote" => lock.vote(gone.expect("a vote knows its token's key"), args),
            "vote_keep" => lock.keep(gone.expect("a vote knows its token's key"), args),
            "vote_yield" => lock.give_back(gone.expect("a vote knows its token's key"), args),
            _ => panic!("no model of {name}"),
        }
    }

    /// What was published since this was last asked: channels and texts.
    pub fn take_messages(&mut self) -> VecDeque<(Arc<str>, Arc<str>)> {
        self.keys.take_published()
    }

    /// Everything is lost.
    pub fn flush(&mut self) {
        self.keys.clear();
    }

    /// Somebody deletes a key, or the server evicts it; whether there was one.
    pub fn delete(&mut self, key: &str) -> bool {
        self.keys.entries_mut().remove(key).is_some()
    }

    /// What another library does to take a mutex: `SET NX PX`.
    pub fn foreign_set_nx(&mut self, key: &str, value: &str, ttl_ms: i64) -> bool {
        self.set_nx(key, value, Some(ttl_ms))
    }

    fn set_nx(&mut self, key: &str, value: &str, ttl_ms: Option<i64>) -> bool {
        let free = !self.keys.entries().contains_key(key);
        if free {
            let expires = ttl_ms.map(|ttl| self.keys.now_ms() + ttl);
            self.keys.put(key, Entry { value: Value::Text(value.into()), expires });
        }
        free
    }

    /// What another library does to give a mutex back: a delete if the value is its own.
    ///
    /// # Errors
    ///
    /// What the server would answer.
    pub fn foreign_delete(&mut self, key: &str, value: &str) -> Answered<bool> {
        let own = self.keys.get(key)?.as_deref() == Some(value);
        Ok(own && self.keys.del(key)?)
    }

    /// What another library does to take one of `limit` permits: a member of the sorted set, by
    /// the end of its lease.
    ///
    /// # Errors
    ///
    /// What the server would answer.
    pub fn foreign_permit(
        &mut self,
        key: &str,
        member: &str,
        limit: usize,
        ttl_ms: i64,
    ) -> Answered<bool> {
        let now = self.keys.now_us();
        self.keys.zrem_up_to(key, Score::thousandths(now))?;
        let room = self.keys.zcard(key)? < limit;
        if room {
            self.keys.zadd(key, Score::thousandths(now + ttl_ms * 1000), member)?;
            locks::prolong(&mut self.keys, key, 3 * ttl_ms)?;
        }
        Ok(room)
    }

    /// What a server would write to its disk.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { entries: self.keys.entries().clone() }
    }

    /// Restarts the server with what it once wrote; what it had to say since is lost.
    pub fn restart_with(&mut self, snapshot: Snapshot) {
        *self.keys.entries_mut() = snapshot.entries;
        self.keys.take_published();
        self.keys.set_clock(self.keys.now_us());
    }

    /// Says whether the keys are being moved to another server, one by one: what is missing here may
    /// be there, and a script that asks for it goes no further.
    pub fn set_migrating(&mut self, migrating: bool) {
        self.keys.set_migrating(migrating);
    }

    /// Puts a key there, whatever was there before.
    pub fn put(&mut self, key: &str, entry: Entry) {
        self.keys.put(key, entry);
    }

    /// The keys and what stands at them, in their order.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Arc<str>, Entry> {
        self.keys.entries()
    }

    /// Every key with its value and the milliseconds until it ends (-1: never), in their order.
    #[must_use]
    pub fn dump(&self) -> Vec<(Arc<str>, Value, i64)> {
        let entries = self.keys.entries().iter();
        entries
            .map(|(key, entry)| (key.clone(), entry.value.clone(), self.keys.ends_in(entry)))
            .collect()
    }
}

impl Snapshot {
    /// These keys.
    #[must_use]
    pub fn of(entries: BTreeMap<Arc<str>, Entry>) -> Self {
        Self { entries }
    }
}

impl Answer {
    fn numbers<const N: usize>(numbers: [i64; N]) -> Vec<Self> {
        numbers.map(Self::Number).into()
    }
}

/// The words of a call, one after the other.
struct Words<'a> {
    rest: std::slice::Iter<'a, String>,
}

impl<'a> Words<'a> {
    fn new(args: &'a [String]) -> Self {
        Self { rest: args.iter() }
    }

    fn text(&mut self) -> &'a str {
        self.rest.next().expect("a call has all its words")
    }

    fn number(&mut self) -> i64 {
        self.text().parse().expect("it is a number")
    }

    fn count(&mut self) -> usize {
        self.text().parse().expect("it is a count")
    }
}
