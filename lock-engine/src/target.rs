//! One lock of one provider, and one acquisition of it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lock_proto::{AcquireOptions, Demand, LockError, LockId, LockInfo};

use crate::{Address, Client, Loss, Pending, Status};

/// One lock of one provider.
#[derive(Clone)]
pub struct Target {
    client: Arc<dyn Client>,
    address: Address,
}

impl Target {
    /// The lock `name` of `client`.
    #[must_use]
    pub fn named(client: &Arc<dyn Client>, name: &str) -> Self {
        Self::at(client, client.locate(name))
    }

    /// The lock at `address`.
    #[must_use]
    pub fn at(client: &Arc<dyn Client>, address: Address) -> Self {
        Self { client: Arc::clone(client), address }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.address.name()
    }

    /// Begins to acquire the lock.
    ///
    /// # Errors
    ///
    /// As [`Client::start`].
    pub fn start(&self, demand: Demand, options: &AcquireOptions) -> Result<Attended, LockError> {
        let lock = self.client.start(&self.address, demand, options)?;
        Ok(Attended { client: Arc::clone(&self.client), lock })
    }

    /// Who holds the lock; as [`Client::info`].
    pub fn info(&self, demand: Demand) -> Pending<Result<LockInfo, LockError>> {
        self.client.info(&self.address, demand)
    }
}

/// A lock that somebody attends to; dropping it lets the lock go, whatever its state.
pub struct Attended {
    client: Arc<dyn Client>,
    lock: LockId,
}

impl Attended {
    /// Drives the acquisition; see [`Client::poll_acquired`].
    pub fn poll_acquired(&self, cx: &mut Context<'_>) -> Poll<Result<Option<u64>, LockError>> {
        self.client.poll_acquired(self.lock, cx)
    }

    /// Lets go of the lock.
    pub fn release(&self) {
        self.client.release(self.lock);
    }

    /// Drives the release; see [`Client::poll_closed`].
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<Result<(), LockError>> {
        self.client.poll_closed(self.lock, cx)
    }

    /// Asks for the lock to stay ours for `ttl` from now.
    pub fn extend(&self, ttl: Duration) {
        self.client.extend(self.lock, ttl);
    }

    /// Drives the extension; see [`Client::poll_extended`].
    pub fn poll_extended(&self, cx: &mut Context<'_>) -> Poll<Result<(), LockError>> {
        self.client.poll_extended(self.lock, cx)
    }

    /// Looks whether the lock is still ours.
    #[must_use]
    pub fn status(&self) -> Status {
        self.client.status(self.lock)
    }

    /// The news of the lock's loss.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.client.loss(self.lock)
    }
}

impl fmt::Debug for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attended").field(&self.lock).finish()
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.client.abandon(self.lock);
    }
}

/// What a single try answers: that somebody else has the lock is no error.
///
/// # Errors
///
/// Whatever else went wrong.
pub fn tried<H>(outcome: Result<H, LockError>) -> Result<Option<H>, LockError> {
    match outcome {
        Ok(handle) => Ok(Some(handle)),
        Err(LockError::Timeout(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
