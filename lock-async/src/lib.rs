//! The async types of distributed-lock, for any runtime.
//!
//! Use `lock-tokio` or `lock-async-std`: they show everything that is here under their own names.

mod acquire;
mod handle;
mod lock;
mod memory;
mod provider;
mod reader_writer;
mod semaphore;

#[cfg(feature = "file")]
mod file;
#[cfg(any(feature = "postgres-tokio", feature = "postgres-async-std"))]
mod postgres;
#[cfg(any(feature = "redis-tokio", feature = "redis-async-std"))]
mod redis;

pub use handle::{LockHandle, LostToken};
pub use lock::Lock;
pub use memory::{InMemoryLockProvider, InMemoryLockProviderBuilder};
pub use provider::{BoxFuture, DistributedLock, LockProvider, connect};
pub use reader_writer::ReaderWriterLock;
pub use semaphore::Semaphore;

#[cfg(feature = "file")]
pub use file::{FileLockProvider, FileLockProviderBuilder};
#[cfg(any(feature = "postgres-tokio", feature = "postgres-async-std"))]
pub use postgres::{PostgresAdvisoryLock, PostgresLockProvider, PostgresLockProviderBuilder};
#[cfg(any(feature = "redis-tokio", feature = "redis-async-std"))]
pub use redis::{RedisLockProvider, RedisLockProviderBuilder};

pub use lock_engine::ManualClock;
#[cfg(any(
    feature = "postgres-tokio",
    feature = "postgres-async-std",
    feature = "redis-tokio",
    feature = "redis-async-std"
))]
pub use lock_proto::Severity;
#[cfg(any(feature = "postgres-tokio", feature = "postgres-async-std"))]
pub use lock_proto::postgres::{AdvisoryKey, Finding as PostgresFinding};
#[cfg(any(feature = "redis-tokio", feature = "redis-async-std"))]
pub use lock_proto::redis::Finding;
pub use lock_proto::{
    AcquireOptions, Backoff, Fault, FaultKind, Holder, LockError, LockInfo, LossReason, Renewal,
};

/// What most programs need: `use …::prelude::*;`.
pub mod prelude {
    pub use crate::{
        AcquireOptions, DistributedLock, InMemoryLockProvider, Lock, LockError, LockHandle,
        LockProvider, LostToken, ReaderWriterLock, Semaphore, connect,
    };

    #[cfg(feature = "file")]
    pub use crate::FileLockProvider;
    #[cfg(any(feature = "redis-tokio", feature = "redis-async-std"))]
    pub use crate::RedisLockProvider;
    #[cfg(any(feature = "postgres-tokio", feature = "postgres-async-std"))]
    pub use crate::{PostgresAdvisoryLock, PostgresLockProvider};
}
