//! Locks that many readers or one writer have at a time.

use std::fmt;
use std::time::Duration;

use lock_engine::Target;
use lock_proto::{AcquireOptions, Demand, LockError, LockInfo};

use crate::LockHandle;
use crate::acquire::{acquire, acquire_with, try_acquire};

/// A lock that many readers or one writer have at a time, the same type for every backend.
///
/// Neither side starves: while a writer waits no reader joins those that hold, and the readers that
/// waited for a writer go before the next.
#[derive(Clone)]
pub struct ReaderWriterLock {
    target: Target,
}

impl ReaderWriterLock {
    pub(crate) fn new(target: Target) -> Self {
        Self { target: target.shared() }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.target.name()
    }

    /// Acquires the lock for reading, and waits at most `timeout` for it, or for ever.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_read(&self, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        acquire(&self.target, Demand::Shared, timeout).await
    }

    /// Acquires the lock for reading if no writer has it or waits for it.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn try_acquire_read(&self) -> Result<Option<LockHandle>, LockError> {
        try_acquire(&self.target, Demand::Shared).await
    }

    /// Acquires the lock for reading as `options` say.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_with`](crate::Lock::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_read_with(
        &self,
        options: AcquireOptions,
    ) -> Result<LockHandle, LockError> {
        acquire_with(&self.target, Demand::Shared, &options).await
    }

    /// Acquires the lock for writing, and waits at most `timeout` for it, or for ever.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_write(&self, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        acquire(&self.target, Demand::Exclusive, timeout).await
    }

    /// Acquires the lock for writing if nobody has it.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn try_acquire_write(&self) -> Result<Option<LockHandle>, LockError> {
        try_acquire(&self.target, Demand::Exclusive).await
    }

    /// Acquires the lock for writing as `options` say.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_with`](crate::Lock::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_write_with(
        &self,
        options: AcquireOptions,
    ) -> Result<LockHandle, LockError> {
        acquire_with(&self.target, Demand::Exclusive, &options).await
    }

    /// Who holds the lock. By the time you read it, it may be somebody else.
    ///
    /// # Errors
    ///
    /// If the backend can't be asked.
    ///
    /// # Cancel safety
    ///
    /// Asking changes nothing.
    pub async fn info(&self) -> Result<LockInfo, LockError> {
        self.target.info(Demand::Exclusive).await
    }

    /// Whether anybody holds the lock. By the time you read it, it may be otherwise.
    ///
    /// # Errors
    ///
    /// If the backend can't be asked.
    ///
    /// # Cancel safety
    ///
    /// Asking changes nothing.
    pub async fn is_locked(&self) -> Result<bool, LockError> {
        Ok(self.info().await?.locked)
    }
}

impl fmt::Debug for ReaderWriterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderWriterLock").field("name", &self.name()).finish_non_exhaustive()
    }
}
