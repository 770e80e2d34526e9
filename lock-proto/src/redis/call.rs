//! What a server is asked, and what it answers.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Keys, Token};
use crate::{Demand, LockError};

/// One thing to ask one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// Which of the provider's servers, counted from zero.
    pub server: usize,
    /// The lock's keys.
    pub keys: Keys,
    /// Whose acquisition it is.
    pub token: Token,
    /// What is asked.
    pub verb: Verb,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Verb {
    /// `SET lock token NX PX ttl` and, in the same write, `INCR fence` if there is to be a fence.
    ///
    /// Answer: `[1, fence]` if it was set, `[0, _]` if somebody else holds the lock. The first
    /// number that a connection draws of a counter is drawn by [`Verb::Mint`] in place of `INCR`,
    /// since the server may have come back with an older counter. A fence that was not
    /// answered is 0.
    Take {
        /// How long it is to be ours.
        ttl: Duration,
        /// Whether to mint a fencing token.
        fencing: bool,
    },
    /// `acquire.lua` or `permits_acquire.lua`.
    Enter {
        /// How much of the lock.
        side: Side,
        /// How long it is to be ours.
        ttl: Duration,
        /// Whether to stand in the queue.
        wait: bool,
        /// Numbers the refreshes of one place in the queue.
        stamp: u64,
    },
    /// `extend.lua` or `permits_extend.lua`.
    Extend {
        /// How much of the lock.
        side: Side,
        /// How long it is to stay ours.
        ttl: Duration,
    },
    /// `mint.lua`: the fencing token of a mutex that is held without one.
    Mint,
    /// `give_back.lua`: a mutex that was never waited for, unless somebody else waits for it.
    GiveBack,
    /// `release.lua` or `permits_release.lua`.
    Leave {
        /// How much of the lock.
        side: Side,
        /// Refuse the token for this long: a request to take the lock may still be on its way.
        refuse_for: Option<Duration>,
    },
    /// `vote.lua`: asks one of several servers for its vote.
    Vote {
        /// How much of the lock.
        side: Side,
        /// Only votes at one and the same ballot count together.
        ballot: u64,
        /// How long it is to be ours.
        ttl: Duration,
        /// Whether to stand in the queue.
        wait: bool,
        /// The place in the queue: when the waiter came, in microseconds of its own wall clock.
        came: u64,
    },
    /// `vote_keep.lua`: prolongs on one of several servers what is held, and takes what is
    /// missing there.
    Keep {
        /// How much of the lock.
        side: Side,
        /// The ballot at which it is held.
        ballot: u64,
        /// How long it is to stay ours.
        ttl: Duration,
    },
    /// `vote_yield.lua`: gives back a vote that was not enough.
    StepBack {
        /// How much of the lock.
        side: Side,
        /// A vote at a higher ballot stays: it was given later.
        ballot: u64,
        /// Whether to keep the place in the queue.
        stay: bool,
    },
    /// `vote_yield.lua`: gives back whatever is there, the place in the queue as well.
    Quit {
        /// How much of the lock.
        side: Side,
        /// Refuse the token for this long: a request to take the lock may still be on its way.
        refuse_for: Option<Duration>,
    },
}

/// How much of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Side {
    /// All of it: a mutex, or the write side of a reader-writer lock.
    Exclusive,
    /// A share of it: the read side of a reader-writer lock.
    Shared,
    /// So many permits of a semaphore of so many.
    Permits {
        /// How many to take.
        count: u32,
        /// How many may be out at once.
        limit: u32,
    },
}

impl From<Demand> for Side {
    fn from(demand: Demand) -> Self {
        match demand {
            Demand::Exclusive => Self::Exclusive,
            Demand::Shared => Self::Shared,
            Demand::Permits { count, limit } => Self::Permits { count, limit },
        }
    }
}

/// Each permit is a member of a set, and a server serves nobody else meanwhile.
const MOST_PERMITS: u32 = 1_000;

/// How long a waiter that was let in has to say that it is there.
pub const CLAIM: Duration = Duration::from_secs(3);
/// How long a waiter counts as alive after it was last heard of.
pub const LIVENESS: Duration = Duration::from_millis(2500);

/// What a server answers: up to three numbers, as the head of the script says.
pub type Reply = [i64; 3];

/// What a server says unasked, in the inbox of the client: a waiter was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is what the wire has")]
pub struct Message {
    /// Its fencing token.
    pub fence: u64,
    /// The stamp of the refresh from which its claim counts.
    pub stamp: u64,
}

impl Message {
    /// Reads `<token> <fence> <stamp>`, and says for whom it is.
    #[must_use]
    pub fn parse(text: &str) -> Option<(&str, Self)> {
        // An owner may have spaces in it, and stands in front.
        let (rest, stamp) = text.rsplit_once(' ')?;
        let (token, fence) = rest.rsplit_once(' ')?;
        Some((token, Self { fence: fence.parse().ok()?, stamp: stamp.parse().ok()? }))
    }
}

/// A Lua script of a server.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Script {
    /// The file in which it stands.
    pub name: &'static str,
    /// What the server is to run.
    pub source: &'static str,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($common:literal),*] $file:literal;)*) => {
        $($(#[$doc])*
        pub(super) static $name: Script = Script {
            name: $file,
            source: concat!(
                $(include_str!(concat!("lua/", $common, ".lua")),)*
                include_str!(concat!("lua/", $file, ".lua")),
            ),
        };)*

        /// Every script, so that a connection can load them before they are needed.
        pub static SCRIPTS: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    /// Takes a mutex or one side of a reader-writer lock.
    ACQUIRE = ["acquire_usual", "common"] "acquire";
    /// Prolongs a mutex or one side of a reader-writer lock.
    EXTEND = ["common"] "extend";
    /// Gives a mutex or one side of a reader-writer lock back.
    RELEASE = ["release_usual", "common"] "release";
    /// Gives a mutex back that nobody waits for.
    GIVE_BACK = [] "give_back";
    /// Mints a fencing token.
    MINT = ["common"] "mint";
    /// Says who holds a mutex or a reader-writer lock.
    INFO = ["common"] "info";
    /// Takes permits.
    PERMITS_ACQUIRE = ["permits_common"] "permits_acquire";
    /// Prolongs permits.
    PERMITS_EXTEND = ["permits_common"] "permits_extend";
    /// Gives permits back.
    PERMITS_RELEASE = ["permits_common"] "permits_release";
    /// Says who holds permits.
    PERMITS_INFO = ["permits_common"] "permits_info";
    /// Asks one of several servers for its vote.
    VOTE = ["vote_plain", "common", "vote_common"] "vote";
    /// Prolongs or takes on one of several servers what is held.
    VOTE_KEEP = ["common", "vote_common"] "vote_keep";
    /// Gives a vote back.
    VOTE_YIELD = ["vote_yield_plain", "common", "vote_common"] "vote_yield";
}

/// The words of one script call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptCall {
    /// Which script.
    pub script: &'static Script,
    /// Its KEYS.
    pub keys: Vec<String>,
    /// Its ARGV.
    pub args: Vec<String>,
}

impl Command {
    /// A command; machines make them, and so do tests.
    #[must_use]
    pub fn new(server: usize, keys: &Keys, token: &Token, verb: Verb) -> Self {
        Self { server, keys: keys.clone(), token: token.clone(), verb }
    }

    /// Whether the answer may come as a message to the client's inbox: subscribe to it before.
    #[must_use]
    pub fn listens(&self) -> bool {
        matches!(self.verb, Verb::Enter { wait: true, .. } | Verb::Vote { wait: true, .. })
    }

    /// Whether it could make the lock ours, or put us in its queue.
    #[must_use]
    pub fn takes(&self) -> bool {
        match self.verb {
            Verb::Take { .. } | Verb::Enter { .. } | Verb::Vote { .. } | Verb::Keep { .. } => true,
            Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. }
            | Verb::StepBack { .. }
            | Verb::Quit { .. } => false,
        }
    }

    /// The script that does it, for a client with this `inbox`; [`Verb::Take`] needs none.
    #[must_use]
    pub fn script(&self, inbox: &str) -> Option<ScriptCall> {
        let mut call = None;
        self.spell(inbox, &mut call);
        call
    }
}

impl Side {
    pub(super) fn checked(self) -> Result<Self, LockError> {
        if let Self::Permits { count, limit } = self {
            Demand::permits(count, limit)?;
            if count > MOST_PERMITS {
                let problem = format!("at most {MOST_PERMITS} can be taken at once, not {count}");
                return Err(LockError::config("permits", problem));
            }
        }
        Ok(self)
    }

    /// The script that says who holds this much of a lock.
    #[must_use]
    pub fn info(self, keys: &Keys) -> ScriptCall {
        let script = match self {
            Self::Exclusive | Self::Shared => &INFO,
            Self::Permits { .. } => &PERMITS_INFO,
        };
        let (all, count) = self.keys(keys);
        let keys = all[..count].iter().copied().map(String::from).collect();
        ScriptCall { script, keys, args: Vec::new() }
    }

    /// How scripts call it.
    pub(super) fn letter(self) -> &'static str {
        if self == Self::Shared { "s" } else { "x" }
    }

    /// The keys that its scripts are given, and how many they are.
    pub(super) fn keys(self, keys: &Keys) -> ([&str; 6], usize) {
        let all = [
            keys.lock(),
            keys.fence(),
            keys.waiting(),
            keys.writers(),
            keys.queue(),
            keys.readers(),
        ];
        (all, if let Self::Permits { .. } = self { 4 } else { 6 })
    }
}

/// The name of an inbox that nobody else has.
#[must_use]
pub fn inbox(seed: &crate::Seed) -> Arc<str> {
    let mut digits = seed.jitter();
    alloc::format!("dlock:inbox:{:016x}{:016x}", digits.next_u64(), digits.next_u64()).into()
}
