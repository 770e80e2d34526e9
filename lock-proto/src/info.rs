//! Who holds a lock, for people who ask.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// A lock as it was at the moment of asking. Nothing may be decided by it: it can be out of date
/// before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// The lock's name, where it is known.
    pub name: Option<String>,
    /// Whether anybody holds it, or any permit of it.
    pub locked: bool,
    /// Those of its holders that the backend knows by name.
    pub holders: Vec<Holder>,
    /// How many wait for it; `None` where the backend can't tell.
    pub waiters: Option<usize>,
}

/// One holder of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// What the holder calls itself: see
    /// [`AcquireOptions::with_owner`](crate::AcquireOptions::with_owner).
    pub owner: Option<String>,
    /// The machine it runs on.
    pub host: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// How long it has held the lock, by the backend's clock.
    pub held_for: Option<Duration>,
    /// How long its lease still runs.
    pub remaining: Option<Duration>,
    /// Its fencing token.
    pub fence: Option<u64>,
}

impl LockInfo {
    /// Nobody holds the lock.
    #[must_use]
    pub fn free() -> Self {
        Self::default()
    }
}
