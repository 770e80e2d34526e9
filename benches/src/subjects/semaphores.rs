//! Semaphores on Redis: the least that one can do, and that of another crate.

use std::time::Duration;

use distributed_lock_core::{DistributedSemaphore as _, LockHandle as _, SemaphoreProvider as _};
use distributed_lock_redis::{RedisDistributedSemaphore, RedisLockProvider, RedisSemaphoreHandle};
use redis::aio::MultiplexedConnection;
use redis::cmd;

use super::redis_floor::{connect, fresh_token};
use crate::workload::Lockable;

const TAKE: &str = "
    local time = redis.call('time')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('zremrangebyscore', KEYS[1], '-inf', now)
    if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
    return redis.call('zadd', KEYS[1], now + 30000, ARGV[1])";

/// A sorted set of holders, and whoever finds it full asks again 10 ms later.
pub struct SemaphoreFloor {
    connection: MultiplexedConnection,
    script: String,
    key: String,
    limit: u32,
}

impl SemaphoreFloor {
    pub async fn new(url: &str, key: &str, limit: u32) -> Self {
        let mut connection = connect(url).await;
        let load = cmd("SCRIPT").arg("LOAD").arg(TAKE).to_owned();
        let script = load.query_async(&mut connection).await.expect("a script that compiles");
        Self { connection, script, key: key.to_owned(), limit }
    }
}

impl Lockable for SemaphoreFloor {
    type Held = String;

    async fn acquire(&self) -> String {
        let token = fresh_token();
        let mut take = cmd("EVALSHA");
        take.arg(&self.script).arg(1).arg(&self.key).arg(&token).arg(self.limit);
        while take.query_async::<i64>(&mut self.connection.clone()).await.expect("it is up") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        token
    }

    async fn release(&self, token: String) {
        let removed = cmd("ZREM").arg(&self.key).arg(token).to_owned();
        removed.query_async::<i64>(&mut self.connection.clone()).await.expect("the server is up");
    }
}

/// distributed-lock-redis.
pub struct DistributedSemaphore(RedisDistributedSemaphore);

impl DistributedSemaphore {
    pub async fn new(url: &str, key: &str, limit: u32) -> Self {
        let provider = RedisLockProvider::new(url).await.expect("the server is up");
        Self(provider.create_semaphore(key, limit))
    }
}

impl Lockable for DistributedSemaphore {
    type Held = RedisSemaphoreHandle;

    async fn acquire(&self) -> RedisSemaphoreHandle {
        self.0.acquire(None).await.expect("the server is up")
    }

    async fn release(&self, held: RedisSemaphoreHandle) {
        let _ = held.release().await;
    }
}
