//! The locks of other crates on Redis, each as its documentation has it.

use std::sync::Arc;
use std::time::Duration;

use async_redis_lock::{Locker, Options};
use distributed_lock_core::{DistributedLock as _, LockHandle as _, LockProvider as _};
use distributed_lock_redis::{RedisDistributedLock, RedisLockHandle, RedisLockProvider};
use rslock::LockManager;

use crate::workload::Lockable;

const LEASE: Duration = Duration::from_secs(30);

/// rslock: a vote, also on one server; it rests up to 200 ms between tries.
pub struct Rslock {
    manager: Arc<LockManager>,
    key: String,
}

impl Rslock {
    pub fn new(urls: &[String], key: &str) -> Self {
        let urls = urls.iter().map(String::as_str).collect();
        Self { manager: Arc::new(LockManager::new(urls)), key: key.to_owned() }
    }

    pub fn for_key(&self, key: &str) -> Self {
        Self { manager: Arc::clone(&self.manager), key: key.to_owned() }
    }
}

impl Lockable for Rslock {
    type Held = rslock::Lock;

    async fn acquire(&self) -> rslock::Lock {
        let lock = self.manager.acquire_no_guard(self.key.as_str(), LEASE).await;
        lock.expect("the lease is not too long")
    }

    async fn release(&self, held: rslock::Lock) {
        self.manager.unlock(&held).await;
    }
}

/// async-redis-lock: scripts on both sides, and a task for each lock that is held.
pub struct AsyncRedisLock {
    locker: Locker,
    options: Options,
    key: String,
}

impl AsyncRedisLock {
    pub async fn new(url: &str, key: &str) -> Self {
        let locker = Locker::from_redis_url(url).await.expect("the server is up");
        let options = Options::new().timeout(None).ttl(LEASE).extend(LEASE / 3);
        Self { locker, options, key: key.to_owned() }
    }

    pub fn for_key(&self, key: &str) -> Self {
        let (locker, options) = (self.locker.clone(), self.options.clone());
        Self { locker, options, key: key.to_owned() }
    }
}

impl Lockable for AsyncRedisLock {
    type Held = async_redis_lock::Lock;

    async fn acquire(&self) -> async_redis_lock::Lock {
        let lock = self.locker.acquire_with_options(&self.options, &self.key).await;
        lock.expect("the server is up")
    }

    async fn release(&self, held: async_redis_lock::Lock) {
        held.release().await.expect("the lease has not run out");
    }
}

/// distributed-lock-redis, whose mutex can't wait: its caller tries every 10 ms.
pub struct DistributedLock {
    provider: Arc<RedisLockProvider>,
    lock: RedisDistributedLock,
}

impl DistributedLock {
    pub async fn new(urls: &[String], key: &str) -> Self {
        let builder = RedisLockProvider::builder().urls(urls);
        let provider = builder.build().await.expect("the servers are up");
        Self { lock: provider.create_lock(key), provider: Arc::new(provider) }
    }

    pub fn for_key(&self, key: &str) -> Self {
        Self { lock: self.provider.create_lock(key), provider: Arc::clone(&self.provider) }
    }
}

impl Lockable for DistributedLock {
    type Held = RedisLockHandle;

    async fn acquire(&self) -> RedisLockHandle {
        loop {
            if let Ok(Some(held)) = self.lock.try_acquire().await {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn release(&self, held: RedisLockHandle) {
        // One server of several may have failed; that is not what is measured.
        let _ = held.release().await;
    }
}
