//! A lock that is held.

use std::fmt;
use std::time::Duration;

use lock_engine::{Attended, Loss};
use lock_proto::{LockError, LossReason};

use crate::wait::{starting, wait, wait_for};

/// How long a drop waits for a release that another thread finishes.
const LONGEST_DROP: Duration = Duration::from_secs(1);

/// A lock that is held, until it is [released](Self::release), dropped or lost.
///
/// Dropping it releases the lock on the spot, so a program may end right afterwards.
#[must_use = "the lock is released as soon as its handle is dropped"]
pub struct LockHandle {
    attended: Attended,
    fence: Option<u64>,
}

impl LockHandle {
    pub(crate) fn new(attended: Attended, fence: Option<u64>) -> Self {
        Self { attended, fence }
    }

    /// The fencing token: greater than that of every holder before, where the backend mints one.
    ///
    /// No lock can stop a holder that was paused for longer than its lease. What the lock protects
    /// can, if it remembers the greatest token it has seen and refuses smaller ones
    /// ([Kleppmann]).
    ///
    /// [Kleppmann]: https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        self.fence
    }

    /// Whether the lock is certainly still ours at this moment.
    ///
    /// It may be lost between this answer and what you do because of it; see
    /// [`fence`](Self::fence).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.attended.status().valid
    }

    /// For how long the lock certainly stays ours if nothing prolongs it.
    ///
    /// `None` where it lasts as long as this handle; zero when it is lost.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.attended.status().remaining
    }

    /// Makes the lock stay ours for at least `ttl` from now. Never shortens what it has.
    ///
    /// # Errors
    ///
    /// [`LockError::LockLost`] if it is not ours any more.
    pub fn extend(&self, ttl: Duration) -> Result<(), LockError> {
        starting(None, || self.attended.extend(ttl));
        wait(|cx| self.attended.poll_extended(cx))
    }

    /// Tells of the loss of the lock. A normal release is no loss.
    #[must_use]
    pub fn lost_token(&self) -> LostToken {
        LostToken { loss: self.attended.loss() }
    }

    /// Releases the lock, and waits until the backend has confirmed it.
    ///
    /// # Errors
    ///
    /// [`LockError::LockLost`] if it was lost before: somebody else may have held it meanwhile.
    pub fn release(mut self) -> Result<(), LockError> {
        wait(|cx| starting(None, || self.attended.poll_released(cx)))
    }
}

impl Drop for LockHandle {
    fn drop(&mut self) {
        // Another thread may be looking at the lock; then it finishes the release.
        let _ = wait_for(LONGEST_DROP, |cx| {
            starting(Some(LONGEST_DROP), || self.attended.poll_released(cx))
        });
    }
}

impl fmt::Debug for LockHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockHandle").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// The news that a held lock was lost; clones, and outlives its handle.
#[derive(Clone)]
pub struct LostToken {
    loss: Loss,
}

impl LostToken {
    /// Whether the lock was lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the lock was lost; `None` if it was not.
    #[must_use]
    pub fn reason(&self) -> Option<LossReason> {
        self.loss.reason()
    }

    /// Waits until the lock is lost, and at most `timeout`, or for ever; `None` if it was not lost
    /// in that time.
    #[must_use]
    pub fn changed(&self, timeout: Option<Duration>) -> Option<LossReason> {
        match timeout {
            Some(timeout) => wait_for(timeout, |cx| self.loss.poll(cx)),
            None => Some(wait(|cx| self.loss.poll(cx))),
        }
    }
}

impl LostToken {
    /// Whether the lease is about to run out, or has: nothing has prolonged it when that was due.
    /// A later renewal takes the warning back.
    #[must_use]
    pub fn is_expiring(&self) -> bool {
        self.loss.is_expiring()
    }

    /// Waits until the lease is about to run out, or the lock is lost, and at most `timeout`, or
    /// for ever; says whether it came to that. With the usual renewal that is when a third of the
    /// lease is left.
    #[must_use]
    pub fn expiring(&self, timeout: Option<Duration>) -> bool {
        match timeout {
            Some(timeout) => wait_for(timeout, |cx| self.loss.poll_expiring(cx)).is_some(),
            None => {
                wait(|cx| self.loss.poll_expiring(cx));
                true
            }
        }
    }
}

impl fmt::Debug for LostToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostToken").field("reason", &self.reason()).finish_non_exhaustive()
    }
}
