//! What every backend offers, and what every lock can do.

use std::pin::pin;
use std::time::Duration;

use lock_engine::{Endpoint, Target, tried};
use lock_proto::{AcquireOptions, LockError, LockInfo};

use self::sealed::HasClient;
use crate::wait::wait;
use crate::{InMemoryLockProvider, Lock, LockHandle, ReaderWriterLock, Semaphore};

/// A backend that makes locks from names.
///
/// Write against it, and choose the backend where the program starts:
///
/// ```
/// use std::time::Duration;
/// use lock_blocking::prelude::*;
///
/// fn protected(provider: &dyn LockProvider) -> Result<(), LockError> {
///     let handle = provider.create_lock("orders").acquire(Some(Duration::from_secs(5)))?;
///     // … nobody else is here …
///     handle.release()
/// }
/// ```
pub trait LockProvider: Send + Sync {
    /// The lock `name`, which one holder has at a time.
    fn create_lock(&self, name: &str) -> Lock;

    /// The lock `name`, which many readers or one writer have at a time.
    ///
    /// On memory and files, its writers and the holders of the [`Lock`] of that name exclude each
    /// other.
    fn create_reader_writer_lock(&self, name: &str) -> ReaderWriterLock;

    /// The semaphore `name`, of which `limit` permits may be out at a time.
    ///
    /// It is independent of a lock of that name. A limit of zero is refused when it is acquired.
    fn create_semaphore(&self, name: &str, limit: u32) -> Semaphore;

    /// The locks that the backend knows of, held or not.
    ///
    /// # Errors
    ///
    /// If the backend can't be asked.
    fn list(&self) -> Result<Vec<LockInfo>, LockError>;

    /// Takes no more locks, fails what waits with [`LockError::Cancelled`], releases what is held,
    /// and waits until nothing is left to clean up. What a program calls before it ends.
    fn close(&self);
}

/// What every provider of this crate is made of.
pub(crate) mod sealed {
    use std::sync::Arc;

    use lock_engine::Client;

    #[expect(unnameable_types, reason = "other providers implement LockProvider themselves")]
    pub trait HasClient: Send + Sync {
        fn client(&self) -> &Arc<dyn Client>;
    }
}

impl<P: HasClient> LockProvider for P {
    fn create_lock(&self, name: &str) -> Lock {
        Lock::new(Target::named(self.client(), name))
    }

    fn create_reader_writer_lock(&self, name: &str) -> ReaderWriterLock {
        ReaderWriterLock::new(Target::named(self.client(), name))
    }

    fn create_semaphore(&self, name: &str, limit: u32) -> Semaphore {
        Semaphore::new(Target::named(self.client(), name), limit)
    }

    fn list(&self) -> Result<Vec<LockInfo>, LockError> {
        let mut list = pin!(self.client().list());
        wait(|cx| list.as_mut().poll(cx))
    }

    fn close(&self) {
        self.client().close();
        wait(|cx| self.client().poll_idle(cx));
    }
}

/// Something to acquire.
pub trait DistributedLock: Send + Sync {
    /// The lock's name.
    fn name(&self) -> &str;

    /// Acquires the lock as `options` say.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_with`].
    fn acquire_with(&self, options: AcquireOptions) -> Result<LockHandle, LockError>;

    /// Acquires the lock, and waits at most `timeout` for it, or for ever.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`].
    fn acquire(&self, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        self.acquire_with(AcquireOptions::new().with_timeout(timeout))
    }

    /// Acquires the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`].
    fn try_acquire(&self) -> Result<Option<LockHandle>, LockError> {
        tried(self.acquire(Some(Duration::ZERO)))
    }
}

/// Opens the backend that `url` names: `memory:`, `file:///directory` with the feature `file`,
/// `postgres://host/database` with the feature `postgres`, or `redis://host` and its relatives with
/// the feature `redis`.
///
/// # Errors
///
/// [`LockError::InvalidConfig`] if it is no URL, [`LockError::Unsupported`] if no backend has its
/// scheme or the program was built without it.
pub fn connect(url: &str) -> Result<Box<dyn LockProvider>, LockError> {
    match Endpoint::parse(url)? {
        Endpoint::Memory => Ok(Box::new(InMemoryLockProvider::new())),
        #[cfg(feature = "file")]
        Endpoint::File(directory) => Ok(Box::new(crate::FileLockProvider::new(directory)?)),
        #[cfg(feature = "postgres")]
        Endpoint::Postgres(url) => Ok(Box::new(crate::PostgresLockProvider::new(url.reveal())?)),
        #[cfg(feature = "redis")]
        Endpoint::Redis(url) => Ok(Box::new(crate::RedisLockProvider::new(url.reveal())?)),
        _ => Err(LockError::Unsupported("build with the feature of this URL's backend".into())),
    }
}
