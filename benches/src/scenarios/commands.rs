//! What Redis servers are sent, which no noise changes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_tests::redis::Server;
use lock_tokio::LockProvider as _;

use crate::bench::Bench;
use crate::metric::Metric;
use crate::round::{Sample, Scenario};
use crate::servers::traffic::{Traffic, reads};
use crate::subjects::redis_floor::RedisFloor;
use crate::subjects::redis_peers::{AsyncRedisLock, DistributedLock, Rslock};
use crate::subjects::{
    ASYNC_REDIS_LOCK, DISTRIBUTED_LOCK, FLOOR, POLLING, RSLOCK, TOKIO, UNFENCED, ours,
};
use crate::workload::{Alone, Lockable, alone};

const KEY: &str = "orders";
const CYCLES: u32 = 200;
const WAITERS: usize = 8;
/// By then everybody waits.
const SETTLED: Duration = Duration::from_millis(300);

/// What one acquire + release sends.
pub fn each_cycle(bench: &Bench) -> Scenario<'_> {
    let server = Arc::new(Server::start());
    let urls = [server.url()];
    let (floor, unfenced, fenced, rslock, scripted, distributed) = bench.block_on(async {
        (
            Arc::new(RedisFloor::new(&urls, "floor").await),
            Arc::new(ours::redis(&urls, false).await.create_lock("unfenced")),
            Arc::new(ours::redis(&urls, true).await.create_lock("fenced")),
            Arc::new(Rslock::new(&urls, "rslock")),
            Arc::new(AsyncRedisLock::new(&urls[0], "async-redis-lock").await),
            Arc::new(DistributedLock::new(&urls, "distributed-lock").await),
        )
    });
    let about = "one Redis server: commands that clients send for one acquire + release";
    let watched = |server: &Arc<Server>| Arc::clone(server);
    let [one, two, three, four, five, six] = [(); 6].map(|()| watched(&server));
    Scenario::new("redis-commands", about, 2)
        .with(FLOOR, move || count(bench, &one, &floor))
        .with(UNFENCED, move || count(bench, &two, &unfenced))
        .with(TOKIO, move || count(bench, &three, &fenced))
        .with(RSLOCK, move || count(bench, &four, &rslock))
        .with(ASYNC_REDIS_LOCK, move || count(bench, &five, &scripted))
        .with(DISTRIBUTED_LOCK, move || count(bench, &six, &distributed))
}

fn count<L: Lockable>(bench: &Bench, server: &Server, lock: &Arc<L>) -> Sample {
    let pace = Alone { cycles: CYCLES, batch: 1, limit: Duration::MAX };
    let before = reads(server);
    alone(bench.tokio(), lock, pace);
    // The question itself is one.
    let writes = reads(server) - before - 1;
    let traffic = Traffic::count(server);
    alone(bench.tokio(), lock, pace);
    thread::sleep(Duration::from_millis(50));
    let per_cycle = |count: u64| count as f64 / f64::from(CYCLES);
    vec![
        (Metric::CommandsPerCycle, per_cycle(traffic.end())),
        (Metric::WritesPerCycle, per_cycle(writes)),
    ]
}

/// What one holder and eight clients that wait for it send.
pub fn idle(bench: &Bench) -> Scenario<'_> {
    let about = "one Redis server: commands a second while one client holds and 8 wait";
    let urls = |server: &Server| [server.url()];
    let ours = move || {
        let server = Server::start();
        wait(bench, &server, || bench.block_on(ours::redis(&urls(&server), true)).create_lock(KEY))
    };
    let scenario = Scenario::new("redis-idle", about, 1);
    if bench.is_quick() {
        return scenario.with(TOKIO, ours);
    }
    scenario
        .with(POLLING, move || {
            let server = Server::start();
            let lock = bench.block_on(RedisFloor::new(&urls(&server), KEY));
            wait(bench, &server, || lock.for_key(KEY))
        })
        .with(TOKIO, ours)
        .with(RSLOCK, move || {
            let server = Server::start();
            wait(bench, &server, || Rslock::new(&urls(&server), KEY))
        })
        .with(ASYNC_REDIS_LOCK, move || {
            let server = Server::start();
            wait(bench, &server, || bench.block_on(AsyncRedisLock::new(&server.url(), KEY)))
        })
        .with(DISTRIBUTED_LOCK, move || {
            let server = Server::start();
            wait(bench, &server, || bench.block_on(DistributedLock::new(&urls(&server), KEY)))
        })
}

fn wait<L: Lockable>(bench: &Bench, server: &Server, client: impl Fn() -> L) -> Sample {
    let holder = Arc::new(client());
    let holds = Arc::clone(&holder);
    let held = bench.tokio().run(async move { holds.acquire().await });
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let lock = client();
            bench.runtime().spawn(async move {
                let held = lock.acquire().await;
                lock.release(held).await;
            })
        })
        .collect();
    thread::sleep(SETTLED);
    let span = bench.span(5000, 3000);
    let traffic = Traffic::count(server);
    thread::sleep(span);
    let sent = traffic.end() as f64 / span.as_secs_f64();
    waiters.iter().for_each(tokio::task::JoinHandle::abort);
    bench.tokio().run(async move { holder.release(held).await });
    vec![(Metric::CommandsPerSecond, sent)]
}
