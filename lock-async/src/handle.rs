//! A lock that is held.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use lock_engine::{Attended, Loss};
use lock_proto::{LockError, LossReason};

/// A lock that is held, until it is [released](Self::release), dropped or lost.
///
/// Dropping it releases the lock without waiting for the backend, inside or outside of a runtime.
/// A program that ends right afterwards awaits [`release`](Self::release), or its provider's
/// [`close`](crate::LockProvider::close).
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
    ///
    /// # Cancel safety
    ///
    /// The lease may be prolonged although the future was dropped.
    pub async fn extend(&self, ttl: Duration) -> Result<(), LockError> {
        self.attended.extend(ttl);
        poll_fn(|cx| self.attended.poll_extended(cx)).await
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
    ///
    /// # Cancel safety
    ///
    /// The lock is released also when the future is dropped.
    pub async fn release(mut self) -> Result<(), LockError> {
        poll_fn(|cx| self.attended.poll_released(cx)).await
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

    /// Waits until the lock is lost, for ever if it never is: for `select!`.
    ///
    /// # Cancel safety
    ///
    /// Waiting changes nothing.
    pub fn changed(&self) -> impl Future<Output = LossReason> + Send + Unpin + use<> {
        let loss = self.loss.clone();
        poll_fn(move |cx| loss.poll(cx))
    }
}

impl LostToken {
    /// Whether the lease is about to run out, or has: nothing has prolonged it when that was due.
    /// A later renewal takes the warning back.
    #[must_use]
    pub fn is_expiring(&self) -> bool {
        self.loss.is_expiring()
    }

    /// Waits until the lease is about to run out, or the lock is lost: the time to finish, or to
    /// stop in good order. With the usual renewal that is when a third of the lease is left.
    ///
    /// # Cancel safety
    ///
    /// Waiting changes nothing.
    pub fn expiring(&self) -> impl Future<Output = ()> + Send + Unpin + use<> {
        let loss = self.loss.clone();
        poll_fn(move |cx| loss.poll_expiring(cx))
    }
}

impl fmt::Debug for LostToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostToken").field("reason", &self.reason()).finish_non_exhaustive()
    }
}
