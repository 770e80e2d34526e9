//! Acquiring, as a future that can be dropped at any point.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lock_engine::{Acquisition, Target, tried};
use lock_proto::{AcquireOptions, Demand, LockError};

use crate::LockHandle;

/// An acquisition. From its first poll on the lock is attended: dropping it lets the lock go,
/// whatever its state.
pub(crate) struct Acquire<'a, O>(Acquisition<'a, O>);

impl<O: Borrow<AcquireOptions> + Unpin> Future for Acquire<'_, O> {
    type Output = Result<LockHandle, LockError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let acquired = self.0.poll(cx);
        acquired.map_ok(|(attended, fence)| LockHandle::new(attended, fence))
    }
}

pub(crate) fn acquire_with<O: Borrow<AcquireOptions>>(
    target: &Target,
    demand: Demand,
    options: O,
) -> Acquire<'_, O> {
    Acquire(target.acquire(demand, options))
}

pub(crate) fn acquire(
    target: &Target,
    demand: Demand,
    timeout: Option<Duration>,
) -> Acquire<'_, AcquireOptions> {
    acquire_with(target, demand, AcquireOptions::new().with_timeout(timeout))
}

pub(crate) async fn try_acquire(
    target: &Target,
    demand: Demand,
) -> Result<Option<LockHandle>, LockError> {
    tried(acquire(target, demand, Some(Duration::ZERO)).await)
}
