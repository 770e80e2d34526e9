//! What a machine tells the caller.

use alloc::string::String;
use core::fmt;

use crate::outbox::Outbox;
use crate::{Instant, LockError};

/// Acquired, Extended, Warned, Lost, Released, Closed: the newest of a kind stands for all.
const EVENTS: usize = 6;

/// One thing that the caller of a machine should know.
///
/// The events of one life follow the grammar
/// `( Acquired ( Extended | Warned )* Lost? | Failed | nothing ) Released? Closed`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The lock is ours.
    Acquired {
        /// Until when; `None` where the lock lasts as long as its holder.
        valid_until: Option<Instant>,
        /// The fencing token, where the backend mints one.
        fence: Option<u64>,
    },
    /// The lease was prolonged.
    Extended {
        /// Until when; `None` where the lock lasts as long as its holder.
        valid_until: Option<Instant>,
    },
    /// The lease is about to run out, and nothing has prolonged it yet. Finish, or prepare to; an
    /// [`Event::Extended`] takes the warning back.
    Warned {
        /// When it runs out.
        valid_until: Instant,
    },
    /// The lock is no longer ours. Stop touching what it protects.
    Lost(LossReason),
    /// We never got it.
    Failed(LockError),
    /// Others can have the lock; what is still to be cleaned up hinders nobody.
    Released,
    /// The last event.
    Closed {
        /// Nothing of ours is left behind. Otherwise the lease, or the end of the session,
        /// clears what remains.
        clean: bool,
    },
}

/// Why a held lock is no longer ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// The lease ran out before it could be prolonged.
    Expired,
    /// The hold reached the `max_hold` of its options.
    HoldLimit,
    /// The lock file was deleted or replaced while the lock was held.
    Replaced,
    /// The session in which the lock lived is gone.
    Disconnected,
    /// Somebody with the right to do so took the lock away.
    Revoked,
    /// The provider was closed while the lock was held.
    Closed,
    /// What the backend, or the program, says.
    Other(String),
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its lease ran out",
            Self::HoldLimit => "it was held for as long as max_hold allows",
            Self::Replaced => "its lock file was deleted or replaced",
            Self::Disconnected => "its session is gone",
            Self::Revoked => "it was taken away",
            Self::Closed => "its provider was closed",
            Self::Other(reason) => reason,
        })
    }
}

impl From<&str> for LossReason {
    fn from(reason: &str) -> Self {
        Self::Other(reason.into())
    }
}

impl From<String> for LossReason {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// What a machine has told and nobody has taken yet, in bounded room.
#[derive(Clone, Debug)]
pub(crate) struct Events(Outbox<Event, EVENTS>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Outbox::new())
    }

    /// Tells what happens once in a life.
    pub(crate) fn push(&mut self, event: Event) {
        self.0.push(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.0.pop()
    }

    /// The lease was prolonged; a warning that nobody has heard is no news any more.
    pub(crate) fn extended(&mut self, valid_until: Option<Instant>) {
        self.0.pop_last_if(|last| matches!(last, Event::Warned { .. }));
        self.0.pop_last_if(|last| matches!(last, Event::Extended { .. }));
        self.0.push(Event::Extended { valid_until });
    }

    /// The lease is about to run out.
    pub(crate) fn warned(&mut self, valid_until: Option<Instant>) {
        if let Some(valid_until) = valid_until {
            self.0.pop_last_if(|last| matches!(last, Event::Warned { .. }));
            self.0.push(Event::Warned { valid_until });
        }
    }
}
