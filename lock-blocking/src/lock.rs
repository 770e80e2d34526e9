//! Locks that one holder has at a time.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use lock_engine::Target;
use lock_proto::{AcquireOptions, Demand, LockError, LockInfo};

use crate::acquire::{acquire, acquire_with, try_acquire};
use crate::wait::wait;
use crate::{DistributedLock, LockHandle};

/// A lock that one holder has at a time, the same type for every backend.
///
/// It is made by [`LockProvider::create_lock`](crate::LockProvider::create_lock); making it asks
/// the backend nothing. Two locks of one name are the same lock, and a lock is not re-entrant: who
/// holds it and acquires it again waits for itself.
#[derive(Clone)]
pub struct Lock {
    target: Target,
}

impl Lock {
    pub(crate) fn new(target: Target) -> Self {
        Self { target }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.target.name()
    }

    /// Acquires the lock, and waits at most `timeout` for it, or for ever.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`] if somebody else had it all the time; any other error if it could
    /// not be asked for.
    pub fn acquire(&self, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        acquire(&self.target, Demand::Exclusive, timeout)
    }

    /// Acquires the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// If it could not be asked for. That somebody has it is no error, but `None`.
    pub fn try_acquire(&self) -> Result<Option<LockHandle>, LockError> {
        try_acquire(&self.target, Demand::Exclusive)
    }

    /// Acquires the lock as `options` say.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range; else as
    /// [`acquire`](Self::acquire).
    pub fn acquire_with(&self, options: AcquireOptions) -> Result<LockHandle, LockError> {
        acquire_with(&self.target, Demand::Exclusive, &options)
    }

    /// Who holds the lock. By the time you read it, it may be somebody else.
    ///
    /// # Errors
    ///
    /// If the backend can't be asked.
    pub fn info(&self) -> Result<LockInfo, LockError> {
        let mut info = pin!(self.target.info(Demand::Exclusive));
        wait(|cx| info.as_mut().poll(cx))
    }

    /// Whether anybody holds the lock. By the time you read it, it may be otherwise.
    ///
    /// # Errors
    ///
    /// If the backend can't be asked.
    pub fn is_locked(&self) -> Result<bool, LockError> {
        Ok(self.info()?.locked)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl DistributedLock for Lock {
    fn name(&self) -> &str {
        self.name()
    }

    fn acquire_with(&self, options: AcquireOptions) -> Result<LockHandle, LockError> {
        self.acquire_with(options)
    }
}
