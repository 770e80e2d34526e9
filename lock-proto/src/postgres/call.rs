//! What is asked of a PostgreSQL server, and what it answers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::key::{AdvisoryKey, hash};
use crate::LockName;

/// What the names of channels begin with.
const CHANNEL: &str = "dlock_";

/// One thing to do about one advisory lock, on the session that the lock is seated on.
///
/// Which statement that is, is the driver's part; [`Sessions`](super::Sessions) says on which
/// session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// What it is about.
    pub subject: Subject,
    /// What to do.
    pub verb: Verb,
}

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Subject {
    /// One advisory lock.
    Lock(AdvisoryKey, Mode),
    /// Some permits of a semaphore.
    Permits(Permits),
}

/// Some permits of a semaphore, each of which is an advisory lock of its own.
///
/// Takers queue at the gate, an advisory lock as well. Whoever has it is the next to be served, and
/// keeps what it gets until it has enough; nobody else takes a permit meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permits {
    /// The locks of the semaphore.
    pub keys: PermitKeys,
    /// How many more to take.
    pub wanted: u32,
    /// Those that this acquisition has: not to be taken, or to be given back.
    pub ours: Vec<u32>,
    /// Whether it has the gate, or may have it.
    pub inside: bool,
    /// Whether it may have more of its session's permits than `ours`.
    pub doubt: bool,
}

/// The advisory locks that make a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitKeys {
    gate: i64,
    limit: u32,
}

/// How much of an advisory lock is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Mode {
    /// All of it: a mutex, or a writer.
    Exclusive,
    /// A share of it: a reader.
    Shared,
}

/// What to do about an advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Verb {
    /// Take it if it is free, with `pg_try_advisory_lock`.
    Try,
    /// Stand in the server's queue for it, with `pg_advisory_lock`: for so long, or for ever.
    Wait {
        /// The `lock_timeout`; at least a millisecond.
        limit: Option<Duration>,
    },
    /// End the unanswered wait. The session says nothing more until the server has taken note.
    Cancel,
    /// Give it back, with `pg_advisory_unlock`, whether it is held or not.
    Unlock,
    /// End the session, and whatever is held or waited for on it.
    Close,
}

/// What came of a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever answers must choose among all")]
pub enum Reply {
    /// It is ours.
    Granted {
        /// The fencing token, if one was to be minted.
        fence: Option<u64>,
    },
    /// These permits are ours: all that were wanted, or inside the gate some. The gate was given
    /// back with the last.
    Took(Vec<u32>),
    /// It is somebody else's, and nothing of ours is left.
    Busy,
    /// The pool has no session on which that could be asked.
    Full,
    /// Nor has this, but it will when others of us have heard: then the lock is nudged.
    Soon,
    /// The `lock_timeout` came. The lock may have been granted at the same moment.
    Expired,
    /// The wait was cancelled, by us or by somebody else. The lock may have been granted at the
    /// same moment.
    Cancelled,
    /// Two sessions wait for each other, and this is the one that shall not; in the server's words.
    Deadlock(String),
    /// It was given back; whether it had been held.
    Unlocked(bool),
    /// The cancel, or the end of the session, is through.
    Done,
}

impl Command {
    /// To do `verb` about `subject`.
    #[must_use]
    pub fn new(subject: Subject, verb: Verb) -> Self {
        Self { subject, verb }
    }

    /// The key under which the acquisition has its seat.
    #[must_use]
    pub fn key(&self) -> AdvisoryKey {
        match &self.subject {
            Subject::Lock(key, _) => *key,
            Subject::Permits(permits) => permits.keys.gate(),
        }
    }
}

impl Permits {
    /// The first `wanted` permits of an acquisition, outside the gate.
    #[must_use]
    pub fn new(keys: PermitKeys, wanted: u32) -> Self {
        Self { keys, wanted, ours: Vec::new(), inside: false, doubt: false }
    }
}

impl PermitKeys {
    /// The locks of the semaphore `name` of `limit` permits.
    #[must_use]
    pub fn new(name: &LockName, limit: u32) -> Self {
        // Half of the range is left, so that the number of no permit overflows.
        Self { gate: hash(&format!("{name}:dlock:permits")) >> 1, limit }
    }

    /// The lock at which takers queue.
    #[must_use]
    pub fn gate(&self) -> AdvisoryKey {
        AdvisoryKey::Single(self.gate)
    }

    /// How many permits there are.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The lock of one permit; the first is number 1.
    #[must_use]
    pub fn permit(&self, number: u32) -> i64 {
        self.gate + i64::from(number)
    }

    /// What whoever gives a permit back tells whoever waits inside the gate.
    #[must_use]
    pub fn channel(&self) -> String {
        format!("{CHANNEL}{}", self.gate())
    }

    /// The gate of the semaphore whose channel that is.
    #[must_use]
    pub fn gate_of(channel: &str) -> Option<AdvisoryKey> {
        AdvisoryKey::from_exact_name(channel.strip_prefix(CHANNEL)?).ok()
    }
}
