//! Locks inside one process: a lock table, and the machine that asks it.
//!
//! The [`LockTable`] is the server: mutexes, reader-writer locks and semaphores as one weighted
//! queue per name. [`MemoryLock`] is the client: one acquisition's life. The same table is the
//! queue in which the tasks of one process stand before they try a lock file, and the model that
//! other backends are held against.

mod machine;
mod table;

pub use machine::{MemoryLock, Wish};
pub use table::{LockTable, Notice};

use alloc::sync::Arc;
use core::time::Duration;

use crate::{Demand, Instant};

/// What a [`LockTable`] is asked about one of its locks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Command {
    /// Take the lock, or stand in its queue.
    Enter {
        /// How much of it.
        demand: Demand,
        /// Whether to stand in the queue; otherwise a held lock is [`Reply::Busy`].
        wait: bool,
        /// The lease; `None` lasts until [`Command::Leave`].
        ttl: Option<Duration>,
        /// What the holder calls itself.
        owner: Option<Arc<str>>,
    },
    /// Prolong the lease to `ttl` from the moment this is carried out.
    Extend {
        /// How much of it is held.
        demand: Demand,
        /// The lease.
        ttl: Duration,
    },
    /// Give the lock up, or leave its queue. Harmless when neither is so.
    Leave {
        /// How much of it was asked for.
        demand: Demand,
    },
}

/// What a [`LockTable`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The fencing token: larger than any that this table gave before.
    pub fence: u64,
    /// The end of the lease on the table's clock, which is the machine's own.
    pub valid_until: Option<Instant>,
}

/// What a [`LockTable`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Reply {
    /// The lock is yours.
    Granted {
        /// See [`Grant::fence`].
        fence: u64,
        /// See [`Grant::valid_until`].
        valid_until: Option<Instant>,
    },
    /// Somebody else has it, and you did not want to wait.
    Busy,
    /// You left the queue before your turn came.
    Withdrawn,
    /// The lease was prolonged.
    Extended {
        /// The end of the lease.
        valid_until: Option<Instant>,
    },
    /// You don't hold the lock.
    NotHeld,
    /// You hold nothing and wait for nothing.
    Left,
}

impl From<Grant> for Reply {
    fn from(Grant { fence, valid_until }: Grant) -> Self {
        Self::Granted { fence, valid_until }
    }
}
