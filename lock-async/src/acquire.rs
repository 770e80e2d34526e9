//! Acquiring, as a future that can be dropped at any point.

use std::future::poll_fn;
use std::time::Duration;

use lock_engine::{Target, tried};
use lock_proto::{AcquireOptions, Demand, LockError};

use crate::LockHandle;

/// From here on the lock is attended: dropping the future lets it go, whatever its state.
pub(crate) async fn acquire_with(
    target: &Target,
    demand: Demand,
    options: &AcquireOptions,
) -> Result<LockHandle, LockError> {
    let mut acquisition = target.acquire(demand, options);
    let (attended, fence) = poll_fn(|cx| acquisition.poll(cx)).await?;
    Ok(LockHandle::new(attended, fence))
}

pub(crate) async fn acquire(
    target: &Target,
    demand: Demand,
    timeout: Option<Duration>,
) -> Result<LockHandle, LockError> {
    acquire_with(target, demand, &AcquireOptions::new().with_timeout(timeout)).await
}

pub(crate) async fn try_acquire(
    target: &Target,
    demand: Demand,
) -> Result<Option<LockHandle>, LockError> {
    tried(acquire(target, demand, Some(Duration::ZERO)).await)
}
