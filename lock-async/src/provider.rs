//! What every backend offers, and what every lock can do.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use lock_engine::{Endpoint, Target, tried};
use lock_proto::{AcquireOptions, LockError, LockInfo};

use self::sealed::HasClient;
use crate::{InMemoryLockProvider, Lock, LockHandle, ReaderWriterLock, Semaphore};

/// A future in a box, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A backend that makes locks from names.
///
/// Write against it, and choose the backend where the program starts:
///
/// ```
/// use std::time::Duration;
/// # use lock_async as lock_tokio;
/// use lock_tokio::prelude::*;
///
/// async fn protected(provider: &dyn LockProvider) -> Result<(), LockError> {
///     let handle = provider.create_lock("orders").acquire(Some(Duration::from_secs(5))).await?;
///     // … nobody else is here …
///     handle.release().await
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
    fn list(&self) -> BoxFuture<'_, Result<Vec<LockInfo>, LockError>>;

    /// Takes no more locks, fails what waits with [`LockError::Cancelled`], releases what is held,
    /// and waits until nothing is left to clean up. What a program awaits before it ends.
    ///
    /// # Cancel safety
    ///
    /// Once it was polled the provider is closed; dropping it only ends the wait.
    fn close(&self) -> BoxFuture<'_, ()>;
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

    fn list(&self) -> BoxFuture<'_, Result<Vec<LockInfo>, LockError>> {
        Box::pin(self.client().list())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.client().close();
            poll_fn(|cx| self.client().poll_idle(cx)).await;
        })
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
    fn acquire_with(
        &self,
        options: AcquireOptions,
    ) -> impl Future<Output = Result<LockHandle, LockError>> + Send;

    /// Acquires the lock, and waits at most `timeout` for it, or for ever.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`].
    fn acquire(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<LockHandle, LockError>> + Send {
        self.acquire_with(AcquireOptions::new().with_timeout(timeout))
    }

    /// Acquires the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`].
    fn try_acquire(&self) -> impl Future<Output = Result<Option<LockHandle>, LockError>> + Send {
        async { tried(self.acquire(Some(Duration::ZERO)).await) }
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
pub async fn connect(url: &str) -> Result<Box<dyn LockProvider>, LockError> {
    match Endpoint::parse(url)? {
        Endpoint::Memory => Ok(Box::new(InMemoryLockProvider::new())),
        #[cfg(feature = "file")]
        Endpoint::File(directory) => Ok(Box::new(crate::FileLockProvider::new(directory)?)),
        #[cfg(any(feature = "postgres-tokio", feature = "postgres-async-std"))]
        Endpoint::Postgres(url) => {
            Ok(Box::new(crate::PostgresLockProvider::new(url.reveal()).await?))
        }
        #[cfg(any(feature = "redis-tokio", feature = "redis-async-std"))]
        Endpoint::Redis(url) => Ok(Box::new(crate::RedisLockProvider::new(url.reveal()).await?)),
        _ => Err(LockError::Unsupported("build with the feature of this URL's backend".into())),
    }
}
