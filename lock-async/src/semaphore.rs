//! Locks that a limited number of holders have at a time.

use std::fmt;
use std::time::Duration;

use lock_engine::Target;
use lock_proto::{AcquireOptions, Demand, LockError, LockInfo};

use crate::acquire::{acquire, acquire_with, try_acquire};
use crate::{DistributedLock, LockHandle};

/// A semaphore, of which a limited number of permits may be out at a time; the same type for every
/// backend.
///
/// Whoever asks for several permits gets all or none, and is not overtaken by those who ask for
/// fewer. Programs that disagree about the limit are each held to their own.
#[derive(Clone)]
pub struct Semaphore {
    target: Target,
    limit: u32,
}

impl Semaphore {
    pub(crate) fn new(target: Target, limit: u32) -> Self {
        Self { target, limit }
    }

    /// The semaphore's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.target.name()
    }

    /// How many permits may be out at a time.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Acquires a permit, and waits at most `timeout` for it, or for ever.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire(&self, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        self.acquire_many(1, timeout).await
    }

    /// Acquires a permit if one is free.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn try_acquire(&self) -> Result<Option<LockHandle>, LockError> {
        self.try_acquire_many(1).await
    }

    /// Acquires a permit as `options` say.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_with`](crate::Lock::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_with(&self, options: AcquireOptions) -> Result<LockHandle, LockError> {
        self.acquire_many_with(1, options).await
    }

    /// Acquires `permits` at once, and waits at most `timeout` for them, or for ever.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if `permits` is zero or more than the limit; else as
    /// [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_many(
        &self,
        permits: u32,
        timeout: Option<Duration>,
    ) -> Result<LockHandle, LockError> {
        acquire(&self.target, self.demand(permits)?, timeout).await
    }

    /// Acquires `permits` at once if that many are free.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), less the time-out.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<LockHandle>, LockError> {
        try_acquire(&self.target, self.demand(permits)?).await
    }

    /// Acquires `permits` at once as `options` say.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), and [`LockError::InvalidConfig`] if an option is
    /// out of its range.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire_many_with(
        &self,
        permits: u32,
        options: AcquireOptions,
    ) -> Result<LockHandle, LockError> {
        acquire_with(&self.target, self.demand(permits)?, &options).await
    }

    /// Who holds permits. By the time you read it, it may be somebody else.
    ///
    /// # Errors
    ///
    /// If the backend can't be asked.
    ///
    /// # Cancel safety
    ///
    /// Asking changes nothing.
    pub async fn info(&self) -> Result<LockInfo, LockError> {
        self.target.info(self.demand(1)?).await
    }

    /// Whether any permit is out. By the time you read it, it may be otherwise.
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

    fn demand(&self, permits: u32) -> Result<Demand, LockError> {
        Demand::permits(permits, self.limit)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("name", &self.name())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl DistributedLock for Semaphore {
    fn name(&self) -> &str {
        self.name()
    }

    async fn acquire_with(&self, options: AcquireOptions) -> Result<LockHandle, LockError> {
        self.acquire_with(options).await
    }
}
