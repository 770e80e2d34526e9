//! Locks on files: `flock` on a whole file that is opened read-write and never truncated.
//!
//! [`FileLock`] is one acquisition's life. It first stands in its process's own queue (a
//! [`LockTable`](crate::memory::LockTable)), so that the tasks of one process are served in order
//! and only those whose turn has come touch the file system. Then it claims its files: a mutex or
//! one side of a reader-writer lock claims the lock file, a semaphore as many of its `limit` permit
//! files as are wanted. Any other program that uses `flock` on the same file is excluded, and
//! excludes us.

mod claims;
mod lock;
mod name;
mod record;
mod step;

pub use lock::{FileLock, FileLockOptions};
pub use name::file_name;
pub use record::{Identity, Record};

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Demand;

/// One of the files that belong to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum File {
    /// The lock file of a mutex or a reader-writer lock.
    Lock,
    /// The file behind which those queue that wait for permits.
    Gate,
    /// The file of one permit.
    Permit(u32),
}

impl File {
    /// What is appended to the path of the lock file.
    ///
    /// No [`file_name`] ends so, and a semaphore never meets a lock.
    #[must_use]
    pub fn suffix(self) -> String {
        match self {
            Self::Lock => String::new(),
            Self::Gate => String::from(".permits"),
            Self::Permit(permit) => format!(".permit{permit}"),
        }
    }
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Mode {
    /// `LOCK_EX`.
    Exclusive,
    /// `LOCK_SH`.
    Shared,
}

/// What the file system is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Command {
    /// Take a place in the process's own queue: [`Reply::Done`], [`Reply::Busy`] or
    /// [`Reply::Withdrawn`].
    Enter {
        /// How much of the lock.
        demand: Demand,
        /// Whether to stand in the queue.
        wait: bool,
    },
    /// Give the place in the process's queue back: [`Reply::Done`].
    Leave,
    /// Make the directory and its parents: [`Reply::Done`].
    CreateDirectory,
    /// Open or create the file, read-write, following no symbolic link: [`Reply::Done`] or
    /// [`Reply::NoDirectory`].
    Open(File),
    /// `flock` without waiting: [`Reply::Done`] or [`Reply::Busy`].
    TryLock(File, Mode),
    /// Nudge the machine whenever somebody closes the file: [`Reply::Done`].
    Watch(File),
    /// Whether the path still names the open file: [`Reply::Done`] or [`Reply::Replaced`].
    Verify(File),
    /// Read the start of the file: [`Reply::Contents`].
    Read(File),
    /// Write over the start of the file: [`Reply::Done`].
    Write(File, Vec<u8>),
    /// Delete the file by its name: [`Reply::Done`].
    Remove(File),
    /// Close the file, which unlocks it: [`Reply::Done`].
    Close(File),
}

/// What the file system answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Reply {
    /// It is done, or it is so.
    Done,
    /// Somebody else holds it.
    Busy,
    /// The place in the queue was given back before the turn came.
    Withdrawn,
    /// The path names another file than the one that is open, or none.
    Replaced,
    /// The directory doesn't exist.
    NoDirectory,
    /// The start of the file.
    Contents {
        /// At most [`Record::MAX_BYTES`].
        bytes: Vec<u8>,
        /// The wall clock, in microseconds since 1970.
        wall_micros: u64,
    },
}
