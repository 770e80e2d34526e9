//! Acquiring, on the caller's thread.

use std::time::Duration;

use lock_engine::{Target, tried};
use lock_proto::{AcquireOptions, Demand, LockError};

use crate::LockHandle;
use crate::wait::{starting, wait};

pub(crate) fn acquire_with(
    target: &Target,
    demand: Demand,
    options: &AcquireOptions,
) -> Result<LockHandle, LockError> {
    // A single try waits for its answer, however late that comes.
    let timeout = options.timeout().filter(|timeout| !timeout.is_zero());
    let mut acquisition = target.acquire(demand, options);
    let (attended, fence) = wait(|cx| starting(timeout, || acquisition.poll(cx)))?;
    Ok(LockHandle::new(attended, fence))
}

pub(crate) fn acquire(
    target: &Target,
    demand: Demand,
    timeout: Option<Duration>,
) -> Result<LockHandle, LockError> {
    acquire_with(target, demand, &AcquireOptions::new().with_timeout(timeout))
}

pub(crate) fn try_acquire(
    target: &Target,
    demand: Demand,
) -> Result<Option<LockHandle>, LockError> {
    tried(acquire(target, demand, Some(Duration::ZERO)))
}
