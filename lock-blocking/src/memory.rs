//! Locks inside this process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lock_engine::{Client, Clock, ManualClock, Memory};
use lock_proto::LossReason;

use crate::provider::sealed::HasClient;

/// Locks inside this process: for programs that run alone, and as the double of any other backend
/// in tests.
///
/// Every clone is the same provider; another [`new`](Self::new) is another.
///
/// ```
/// use std::time::Duration;
/// use lock_blocking::prelude::*;
/// use lock_blocking::LossReason;
///
/// # fn main() -> Result<(), LockError> {
/// let provider = InMemoryLockProvider::new();
/// let handle = provider.create_lock("orders").acquire(None)?;
/// let lost = handle.lost_token();
///
/// provider.expire("orders");
/// assert_eq!(lost.changed(None), Some(LossReason::Expired));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InMemoryLockProvider {
    memory: Memory,
    client: Arc<dyn Client>,
}

/// What an [`InMemoryLockProvider`] is made of.
#[derive(Clone, Debug, Default)]
pub struct InMemoryLockProviderBuilder {
    clock: Option<ManualClock>,
}

impl InMemoryLockProvider {
    /// A provider of locks that nobody holds.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A provider whose clock is to be chosen.
    #[must_use]
    pub fn builder() -> InMemoryLockProviderBuilder {
        InMemoryLockProviderBuilder::default()
    }

    /// Ends the lease of everybody who holds `name`, as lock or as semaphore; says of how many.
    pub fn expire(&self, name: &str) -> usize {
        self.lose(name, LossReason::Expired)
    }

    /// Takes `name` away from everybody who holds it, as lock or as semaphore; says from how many.
    pub fn lose(&self, name: &str, reason: LossReason) -> usize {
        self.memory.revoke(name, &reason)
    }

    /// From now on carries out every request this much later, as a slow backend would.
    pub fn delay_requests(&self, delay: Duration) {
        self.memory.delay_requests(delay);
    }
}

impl InMemoryLockProviderBuilder {
    /// Lets leases, time-outs and delays pass on `clock` instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// The provider.
    #[must_use]
    pub fn build(self) -> InMemoryLockProvider {
        let memory = Memory::new(self.clock.map_or(Clock::System, Clock::Manual));
        let client = memory.client();
        InMemoryLockProvider { memory, client }
    }
}

impl Default for InMemoryLockProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryLockProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryLockProvider").finish_non_exhaustive()
    }
}

impl HasClient for InMemoryLockProvider {
    fn client(&self) -> &Arc<dyn Client> {
        &self.client
    }
}
