#![doc = include_str!("../README.md")]

mod acquire;
mod handle;
mod lock;
mod memory;
mod provider;
mod reader_writer;
mod semaphore;
mod wait;

#[cfg(feature = "file")]
mod file;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

pub use handle::{LockHandle, LostToken};
pub use lock::Lock;
pub use memory::{InMemoryLockProvider, InMemoryLockProviderBuilder};
pub use provider::{DistributedLock, LockProvider, connect};
pub use reader_writer::ReaderWriterLock;
pub use semaphore::Semaphore;

#[cfg(feature = "file")]
pub use file::{FileLockProvider, FileLockProviderBuilder};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresAdvisoryLock, PostgresLockProvider, PostgresLockProviderBuilder};
#[cfg(feature = "redis")]
pub use redis::{RedisLockProvider, RedisLockProviderBuilder};

pub use lock_engine::ManualClock;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub use lock_proto::Severity;
#[cfg(feature = "postgres")]
pub use lock_proto::postgres::{AdvisoryKey, Finding as PostgresFinding};
#[cfg(feature = "redis")]
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
    #[cfg(feature = "redis")]
    pub use crate::RedisLockProvider;
    #[cfg(feature = "postgres")]
    pub use crate::{PostgresAdvisoryLock, PostgresLockProvider};
}
