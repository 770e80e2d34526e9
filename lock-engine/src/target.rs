//! One lock of one provider, and one acquisition of it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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

    /// The same, of a lock that has readers.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { address: self.address.shared(), ..self }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.address.name()
    }

    /// An acquisition, which begins when it is first polled.
    #[inline]
    pub fn acquire<O: Borrow<AcquireOptions>>(
        &self,
        demand: Demand,
        options: O,
    ) -> Acquisition<'_, O> {
        Acquisition { target: self, demand, options, started: None }
    }

    /// Who holds the lock; as [`Client::info`].
    pub fn info(&self, demand: Demand) -> Pending<Result<LockInfo, LockError>> {
        self.client.info(&self.address, demand)
    }
}

/// An acquisition of a lock; dropping it gives it up.
#[must_use = "it begins when it is polled"]
pub struct Acquisition<'a, O> {
    target: &'a Target,
    demand: Demand,
    options: O,
    started: Option<Attended>,
}

impl<O: Borrow<AcquireOptions>> Acquisition<'_, O> {
    /// Drives the acquisition; the lock and its fencing token when it is ours.
    #[inline]
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(Attended, Option<u64>), LockError>> {
        let Some(attended) = &self.started else { return self.start(cx) };
        let outcome = ready!(attended.client.poll_acquired(attended.lock, cx));
        let attended = self.started.take();
        Poll::Ready(outcome.map(|fence| (attended.expect("it was started"), fence)))
    }

    fn start(&mut self, cx: &Context<'_>) -> Poll<Result<(Attended, Option<u64>), LockError>> {
        let Target { client, address } = self.target;
        let (lock, outcome) = client.start(address, self.demand, self.options.borrow(), cx)?;
        let attended = Attended { client: Arc::clone(client), lock, stage: Stage::Wanted };
        match outcome {
            Poll::Ready(outcome) => Poll::Ready(outcome.map(|fence| (attended, fence))),
            Poll::Pending => {
                self.started = Some(attended);
                Poll::Pending
            }
        }
    }
}

/// A lock that somebody attends to; dropping it lets the lock go, whatever its state.
pub struct Attended {
    client: Arc<dyn Client>,
    lock: LockId,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Wanted,
    Releasing,
    /// Nobody may ask about the lock any more.
    Over,
}

impl Attended {
    /// Lets go of the lock, and drives the release; see [`Client::poll_released`].
    pub fn poll_released(&mut self, cx: &Context<'_>) -> Poll<Result<(), LockError>> {
        let released = match self.stage {
            Stage::Wanted => self.client.release(self.lock, cx),
            Stage::Releasing => self.client.poll_released(self.lock, cx),
            Stage::Over => return Poll::Ready(Ok(())),
        };
        self.stage = if released.is_ready() { Stage::Over } else { Stage::Releasing };
        released
    }

    /// Asks for the lock to stay ours for `ttl` from now.
    pub fn extend(&self, ttl: Duration) {
        self.client.extend(self.lock, ttl);
    }

    /// Drives the extension; see [`Client::poll_extended`].
    pub fn poll_extended(&self, cx: &Context<'_>) -> Poll<Result<(), LockError>> {
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

impl<O> fmt::Debug for Acquisition<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acquisition").field(&self.target.name()).finish()
    }
}

impl fmt::Debug for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attended").field(&self.lock).finish()
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        match self.stage {
            Stage::Wanted | Stage::Releasing => self.client.abandon(self.lock),
            Stage::Over => {}
        }
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
