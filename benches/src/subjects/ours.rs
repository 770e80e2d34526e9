//! Our locks, by what their users see.

use std::sync::Arc;

use lock_tokio::{
    Lock, LockHandle, LockProvider, PostgresLockProvider, RedisLockProvider, Semaphore,
};

use crate::workload::{BlockingLockable, Lockable};

// lock-async-std shows the same type under its own name.
impl Lockable for Lock {
    type Held = LockHandle;

    async fn acquire(&self) -> LockHandle {
        self.acquire(None).await.expect("the backend is up")
    }

    async fn release(&self, held: LockHandle) {
        held.release().await.expect("nobody takes it away");
    }
}

impl Lockable for Semaphore {
    type Held = LockHandle;

    async fn acquire(&self) -> LockHandle {
        self.acquire(None).await.expect("the backend is up")
    }

    async fn release(&self, held: LockHandle) {
        held.release().await.expect("nobody takes it away");
    }
}

impl BlockingLockable for lock_blocking::Lock {
    type Held = lock_blocking::LockHandle;

    fn acquire(&self) -> Self::Held {
        self.acquire(None).expect("the backend is up")
    }

    fn release(&self, held: Self::Held) {
        held.release().expect("nobody takes it away");
    }
}

/// A provider for one Redis server, or for several that vote.
pub async fn redis(urls: &[String], fencing: bool) -> RedisLockProvider {
    let builder = RedisLockProvider::builder().urls(urls).fencing(fencing);
    builder.build().await.expect("the servers are up")
}

/// A provider for a PostgreSQL server.
pub async fn postgres(url: &str, fencing: bool) -> PostgresLockProvider {
    let builder = PostgresLockProvider::builder().url(url).fencing(fencing);
    builder.build().await.expect("the server is up")
}

/// So many locks of different names.
pub fn locks(provider: &dyn LockProvider, names: &str, count: usize) -> Vec<Arc<Lock>> {
    (0..count).map(|number| Arc::new(provider.create_lock(&format!("{names} {number}")))).collect()
}
