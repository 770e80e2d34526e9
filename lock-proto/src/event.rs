//! What a machine tells the caller.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::{Instant, LockError};

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

/// What a machine has told and nobody has taken yet: the newest of a kind stands for all, and the
/// kinds come in the order of the grammar, since an extension takes a warning back.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    outcome: Option<Outcome>,
    extended: Option<Option<Instant>>,
    warned: Option<Instant>,
    /// Boxed, as `Outcome::Failed` is.
    lost: Option<Box<LossReason>>,
    released: bool,
    closed: Option<bool>,
}

#[derive(Clone, Debug)]
enum Outcome {
    Acquired {
        valid_until: Option<Instant>,
        fence: Option<u64>,
    },
    /// Boxed, because every lock has room for it and few fail.
    Failed(Box<LockError>),
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            outcome: None,
            extended: None,
            warned: None,
            lost: None,
            released: false,
            closed: None,
        }
    }

    /// Tells one more thing.
    #[inline]
    pub(crate) fn push(&mut self, event: Event) {
        match event {
            Event::Acquired { valid_until, fence } => {
                self.outcome = Some(Outcome::Acquired { valid_until, fence });
            }
            Event::Failed(error) => self.outcome = Some(Outcome::Failed(Box::new(error))),
            Event::Extended { valid_until } => self.extended(valid_until),
            Event::Warned { valid_until } => self.warned(Some(valid_until)),
            Event::Lost(reason) => self.lost = Some(Box::new(reason)),
            Event::Released => self.released = true,
            Event::Closed { clean } => self.closed = Some(clean),
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Event> {
        if let Some(outcome) = self.outcome.take() {
            return Some(match outcome {
                Outcome::Acquired { valid_until, fence } => Event::Acquired { valid_until, fence },
                Outcome::Failed(error) => Event::Failed(*error),
            });
        }
        if let Some(valid_until) = self.extended.take() {
            return Some(Event::Extended { valid_until });
        }
        if let Some(valid_until) = self.warned.take() {
            return Some(Event::Warned { valid_until });
        }
        if let Some(reason) = self.lost.take() {
            return Some(Event::Lost(*reason));
        }
        if core::mem::take(&mut self.released) {
            return Some(Event::Released);
        }
        self.closed.take().map(|clean| Event::Closed { clean })
    }

    /// The lease was prolonged; a warning that nobody has heard is no news any more.
    pub(crate) fn extended(&mut self, valid_until: Option<Instant>) {
        self.warned = None;
        self.extended = Some(valid_until);
    }

    /// The lease is about to run out.
    pub(crate) fn warned(&mut self, valid_until: Option<Instant>) {
        self.warned = valid_until.or(self.warned);
    }
}
