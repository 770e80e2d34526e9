//! One Redis server, and nobody in the way.

use std::sync::Arc;

use lock_tests::redis::Server;
use lock_tokio::LockProvider as _;

use crate::bench::{Bench, confine, first_core};
use crate::round::Scenario;
use crate::subjects::redis_floor::RedisFloor;
use crate::subjects::redis_peers::{AsyncRedisLock, DistributedLock, Rslock};
use crate::subjects::{ASYNC_REDIS_LOCK, DISTRIBUTED_LOCK, FLOOR, RSLOCK, TOKIO, UNFENCED, ours};
use crate::workload::{Executor, alone, side_by_side};

const TASKS: usize = 64;

/// One task, one acquire + release after another, with both ends of each connection on one core:
/// elsewhere it is measured where the kernel happens to place them.
pub fn one_task(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    confine(server.pid(), &first_core());
    let (urls, runtime) = ([server.url()], bench.runtime_on_one_core());
    let (floor, unfenced, fenced, rslock, scripted, distributed) = runtime.block_on(async {
        (
            Arc::new(RedisFloor::new(&urls, "floor").await),
            Arc::new(ours::redis(&urls, false).await.create_lock("unfenced")),
            Arc::new(ours::redis(&urls, true).await.create_lock("fenced")),
            Arc::new(Rslock::new(&urls, "rslock")),
            Arc::new(AsyncRedisLock::new(&urls[0], "async-redis-lock").await),
            Arc::new(DistributedLock::new(&urls, "distributed-lock").await),
        )
    });
    let (executor, pace) = (Executor::Tokio(runtime), bench.alone(60, 20));
    let about = "one Redis server, one task, all on one core: SET NX PX, and a script that compares \
                 and deletes";
    Scenario::new("redis-uncontended", about, bench.pick(41, 15))
        .with(FLOOR, move || {
            let _ = &server;
            alone(executor, &floor, pace)
        })
        .with(UNFENCED, move || alone(executor, &unfenced, pace))
        .with(TOKIO, move || alone(executor, &fenced, pace))
        .with(RSLOCK, move || alone(executor, &rslock, pace))
        .with(ASYNC_REDIS_LOCK, move || alone(executor, &scripted, pace))
        .with(DISTRIBUTED_LOCK, move || alone(executor, &distributed, pace))
}

/// A task for each of many keys, all on one connection.
pub fn many_keys(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let urls = [server.url()];
    let (floor, unfenced, fenced, rslock, scripted, distributed) = bench.block_on(async {
        let floor = RedisFloor::new(&urls, "").await;
        let rslock = Rslock::new(&urls, "");
        let scripted = AsyncRedisLock::new(&urls[0], "").await;
        let distributed = DistributedLock::new(&urls, "first").await;
        (
            keys("floor", |key| floor.for_key(key)),
            ours::locks(&ours::redis(&urls, false).await, "unfenced", TASKS),
            ours::locks(&ours::redis(&urls, true).await, "fenced", TASKS),
            keys("rslock", |key| rslock.for_key(key)),
            keys("async-redis-lock", |key| scripted.for_key(key)),
            keys("distributed-lock", |key| distributed.for_key(key)),
        )
    });
    let (executor, span) = (bench.tokio(), bench.span(150, 50));
    let about = "one Redis server, 64 tasks, a key for each";
    Scenario::new("redis-64-keys", about, bench.pick(25, 9))
        .with(FLOOR, move || {
            let _ = &server;
            side_by_side(executor, &floor, span)
        })
        .with(UNFENCED, move || side_by_side(executor, &unfenced, span))
        .with(TOKIO, move || side_by_side(executor, &fenced, span))
        .with(RSLOCK, move || side_by_side(executor, &rslock, span))
        .with(ASYNC_REDIS_LOCK, move || side_by_side(executor, &scripted, span))
        .with(DISTRIBUTED_LOCK, move || side_by_side(executor, &distributed, span))
}

fn keys<L>(names: &str, lock: impl Fn(&str) -> L) -> Vec<Arc<L>> {
    (0..TASKS).map(|number| Arc::new(lock(&format!("{names} {number}")))).collect()
}
