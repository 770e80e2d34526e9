//! Redis servers that vote: all of them well, and one of three not.

use std::sync::Arc;
use std::time::Duration;

use lock_tests::redis::{Proxy, Server};
use lock_tokio::{Lock, LockProvider as _};

use crate::bench::{Bench, confine, other_cores};
use crate::round::Scenario;
use crate::subjects::redis_floor::RedisFloor;
use crate::subjects::redis_peers::{DistributedLock, Rslock};
use crate::subjects::{DEAD, DISTRIBUTED_LOCK, FLOOR, HEALTHY, HUNG, RSLOCK, SLOW, TOKIO, ours};
use crate::workload::{Alone, Executor, alone};

const KEY: &str = "orders";
const RSLOCK_HEALTHY: &str = "rslock, healthy";

/// Three servers.
pub fn three(bench: &Bench) -> Scenario<'_> {
    let about = "3 Redis servers that vote, one task; the floor waits for all of them";
    healthy(bench, Scenario::new("redlock-3", about, bench.pick(41, 19)), 3)
}

/// Five servers.
pub fn five(bench: &Bench) -> Scenario<'_> {
    let about = "5 Redis servers that vote, one task; the floor waits for all of them";
    healthy(bench, Scenario::new("redlock-5", about, bench.pick(41, 19)), 5)
}

/// The client on one core and the servers on the others, as if they were machines of their own:
/// elsewhere it is measured where the kernel happens to place them.
fn healthy<'b>(bench: &'b Bench, scenario: Scenario<'b>, count: usize) -> Scenario<'b> {
    let servers: Vec<_> = (0..count).map(|_| Server::start()).collect();
    servers.iter().for_each(|server| confine(server.pid(), &other_cores()));
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let runtime = bench.runtime_on_one_core();
    let (floor, ours, rslock, distributed) = runtime.block_on(async {
        (
            Arc::new(RedisFloor::new(&urls, "floor").await),
            Arc::new(ours::redis(&urls, true).await.create_lock(KEY)),
            Arc::new(Rslock::new(&urls, "rslock")),
            Arc::new(DistributedLock::new(&urls, "distributed-lock").await),
        )
    });
    let (executor, pace) = (Executor::Tokio(runtime), bench.alone(60, 25));
    scenario
        .with(FLOOR, move || {
            let _ = &servers;
            alone(executor, &floor, pace)
        })
        .with(TOKIO, move || alone(executor, &ours, pace))
        .with(RSLOCK, move || alone(executor, &rslock, pace))
        .with(DISTRIBUTED_LOCK, move || alone(executor, &distributed, pace))
}

/// One of three was killed.
pub fn dead(bench: &Bench) -> Scenario<'_> {
    let trio = Trio::start(bench, None);
    trio.servers[2].kill();
    let about = "3 Redis servers that vote, one of them killed";
    trio.scenario(
        bench,
        Scenario::new("redlock-dead", about, bench.pick(15, 5)),
        [DEAD, "rslock, one dead"],
    )
}

/// One of three accepts what it is sent, and never answers.
pub fn hung(bench: &Bench) -> Scenario<'_> {
    let trio = Trio::start(bench, None);
    trio.servers[2].pause();
    let about = "3 Redis servers that vote, one of them stopped";
    trio.scenario(
        bench,
        Scenario::new("redlock-hung", about, bench.pick(9, 3)),
        [HUNG, "rslock, one hung"],
    )
}

/// One of three is 20 ms away.
pub fn slow(bench: &Bench) -> Scenario<'_> {
    let trio = Trio::start(bench, Some(Duration::from_millis(20)));
    let about = "3 Redis servers that vote, one of them 20 ms away";
    trio.scenario(
        bench,
        Scenario::new("redlock-slow", about, bench.pick(15, 5)),
        [SLOW, "rslock, one slow"],
    )
}

/// Clients of three servers, connected while all was well, and the same of another three that stay
/// well.
struct Trio {
    servers: Vec<Server>,
    well: Vec<Server>,
    proxy: Option<Proxy>,
    ours: Arc<Lock>,
    ours_well: Arc<Lock>,
    rslock: Arc<Rslock>,
    rslock_well: Arc<Rslock>,
}

impl Trio {
    fn start(bench: &Bench, delay: Option<Duration>) -> Self {
        let servers: Vec<_> = (0..3).map(|_| Server::start()).collect();
        let well: Vec<_> = (0..3).map(|_| Server::start()).collect();
        let proxy = delay.map(|delay| {
            let proxy = Proxy::to(&servers[2]);
            proxy.delay(Duration::ZERO, delay);
            proxy
        });
        let mut urls: Vec<_> = servers.iter().map(Server::url).collect();
        if let Some(proxy) = &proxy {
            urls[2] = proxy.url();
        }
        let urls_well: Vec<_> = well.iter().map(Server::url).collect();
        let (ours, ours_well) = bench.block_on(async {
            (ours::redis(&urls, true).await, ours::redis(&urls_well, true).await)
        });
        let trio = Self {
            ours: Arc::new(ours.create_lock(KEY)),
            ours_well: Arc::new(ours_well.create_lock(KEY)),
            rslock: Arc::new(Rslock::new(&urls, "rslock")),
            rslock_well: Arc::new(Rslock::new(&urls_well, "rslock")),
            servers,
            well,
            proxy,
        };
        let once = Alone { cycles: 1, batch: 1, limit: Duration::ZERO };
        alone(bench.tokio(), &trio.ours, once);
        alone(bench.tokio(), &trio.rslock, once);
        trio
    }

    fn scenario<'b>(
        self,
        bench: &'b Bench,
        scenario: Scenario<'b>,
        [name, rslock_name]: [&'static str; 2],
    ) -> Scenario<'b> {
        let Self { servers, well, proxy, ours, ours_well, rslock, rslock_well } = self;
        let (executor, pace) = (bench.tokio(), bench.alone(60, 25));
        scenario
            .with(HEALTHY, move || {
                let _ = (&servers, &well, &proxy);
                alone(executor, &ours_well, pace)
            })
            .with(name, move || alone(executor, &ours, pace))
            .beside(RSLOCK_HEALTHY, RSLOCK_HEALTHY, move || alone(executor, &rslock_well, pace))
            .beside(RSLOCK_HEALTHY, rslock_name, move || alone(executor, &rslock, pace))
    }
}
