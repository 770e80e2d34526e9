//! What can go wrong for the user of a lock.

use alloc::borrow::Cow;
use alloc::string::String;
use core::time::Duration;

use crate::{Fault, LossReason};

/// Why an operation on a lock failed.
///
/// `Display` says what is wrong and what to do, and never repeats what
/// [`source`](core::error::Error::source) says.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held the lock for the whole time that the caller allowed.
    #[error("the lock was not free within {0:?}: allow more time, or find out who holds it")]
    Timeout(Duration),
    /// The wait was ended from this side: the provider was closed.
    #[error("the acquisition was cancelled because its provider was closed")]
    Cancelled,
    /// Waiting would never have ended: the holder waits for a lock of ours.
    #[error("deadlock: {0}")]
    Deadlock(String),
    /// The backend can't be reached.
    #[error(transparent)]
    Connection(Fault),
    /// The lock was held and is no longer ours. Stop touching what it protects.
    #[error("the lock was lost: {0}")]
    LockLost(LossReason),
    /// The name can't name a lock.
    #[error("invalid lock name: {0}")]
    InvalidName(Cow<'static, str>),
    /// An option is out of its range, or contradicts another.
    #[error("invalid option {option}: {problem}")]
    InvalidConfig {
        /// The option's name.
        option: &'static str,
        /// What is wrong with its value, and which values are right.
        problem: Cow<'static, str>,
    },
    /// The backend has no such thing, or the program was built without it.
    #[error("unsupported: {0}")]
    Unsupported(Cow<'static, str>),
    /// The backend refused for a reason that is not somebody else's hold.
    #[error(transparent)]
    Backend(Fault),
}

impl LockError {
    /// Whether the lock was simply not free in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether the lock was lost while it was held.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::LockLost(_))
    }

    pub(crate) fn config(option: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidConfig { option, problem: problem.into() }
    }
}
