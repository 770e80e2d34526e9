//! One Redis server, and everybody wants the same lock.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lock_tests::redis::Server;
use lock_tokio::{Lock, LockProvider as _};

use crate::bench::Bench;
use crate::metric::Metric::{
    CyclesPerSecond, MostToLeastServed, Overlaps, OwnerChangesPerSecond, UtilisationPercent,
    WaitP99Ms,
};
use crate::round::{Sample, Scenario};
use crate::subjects::redis_floor::HandOff;
use crate::subjects::redis_peers::{AsyncRedisLock, DistributedLock, Rslock};
use crate::subjects::{
    ASYNC_REDIS_LOCK, DISTRIBUTED_LOCK, FLOOR, HAND_OFF, POLLING, QUEUE_FLOOR, RSLOCK, TOKIO, ours,
};
use crate::turns::{self, Turn};
use crate::worker::{Kind, processes};
use crate::workload::{Crowd, Executor, Lockable, crowd};

const KEY: &str = "orders";
const WAITERS: usize = 8;

/// Eight tasks of one program, which share its connection.
pub fn tasks(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let urls = [server.url()];
    let (hand_offs, ours, rslock, scripted, distributed) = bench.block_on(async {
        let ours = ours::redis(&urls, true).await;
        let rslock = Rslock::new(&urls, "rslock");
        let scripted = AsyncRedisLock::new(&urls[0], "async-redis-lock").await;
        let distributed = DistributedLock::new(&urls, "distributed-lock").await;
        (
            HandOffs::new(&urls[0], WAITERS).await,
            waiters(|| ours.create_lock(KEY)),
            waiters(|| rslock.for_key("rslock")),
            waiters(|| scripted.for_key("async-redis-lock")),
            waiters(|| distributed.for_key("distributed-lock")),
        )
    });
    let (executor, pace) = (bench.tokio(), at_once(bench.span(400, 80)));
    let about = "one Redis server, 8 tasks of one process, one key; the floor hands a token on";
    let scenario = Scenario::new("redis-8-tasks", about, bench.pick(11, 9))
        .with(FLOOR, move || {
            let _ = &server;
            of_tasks(&hand_offs.take_turns(executor, pace))
        })
        .with(TOKIO, move || of_tasks(&crowd(executor, &ours, pace)));
    if bench.is_quick() {
        return scenario;
    }
    scenario
        .with(RSLOCK, move || of_tasks(&crowd(executor, &rslock, pace)))
        .with(ASYNC_REDIS_LOCK, move || of_tasks(&crowd(executor, &scripted, pace)))
        .with(DISTRIBUTED_LOCK, move || of_tasks(&crowd(executor, &distributed, pace)))
}

/// Eight clients in one process, each with its own connection.
pub fn clients(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let url = server.url();
    let hand_offs = bench.block_on(HandOffs::new(&url, WAITERS));
    let ours = bench.block_on(clients_of(&url, WAITERS));
    let (executor, pace) = (bench.tokio(), at_once(bench.span(400, 120)));
    let about = "one Redis server, 8 clients in one process, one key; the floor hands a token on";
    Scenario::new("redis-8-clients", about, bench.pick(15, 9))
        .with(FLOOR, move || {
            let _ = &server;
            hand_over(&hand_offs.take_turns(executor, pace))
        })
        .with(TOKIO, move || hand_over(&crowd(executor, &ours, pace)))
}

/// Eight processes that want it again at once.
pub fn many_processes(bench: &Bench) -> Scenario<'_> {
    let about = "one Redis server, 8 processes, one key; the floor hands a token on";
    let scenario = Scenario::new("redis-8-processes", about, bench.pick(7, 5));
    let pace = at_once(bench.span(1000, 300));
    let floors = [(FLOOR, Kind::HandOff), (QUEUE_FLOOR, Kind::Queued)];
    with_processes(bench, scenario, &floors, pace, hand_over)
}

/// Eight processes that keep it for a while, and do something else in between.
pub fn many_holders(bench: &Bench) -> Scenario<'_> {
    let about = "one Redis server, 8 processes, one key, held for 2 ms; beside SET NX every 10 ms";
    let scenario = Scenario::new("redis-8-processes-hold", about, bench.pick(5, 3));
    let pace = Crowd {
        hold: Duration::from_millis(2),
        think: Duration::from_millis(1),
        span: bench.span(2000, 800),
    };
    with_processes(
        bench,
        scenario,
        &[(POLLING, Kind::Polling), (HAND_OFF, Kind::HandOff)],
        pace,
        |turns| {
            let metrics = [UtilisationPercent, WaitP99Ms, MostToLeastServed, Overlaps];
            turns::only(&turns::of_mutex(turns), &metrics)
        },
    )
}

/// Eight clients and 64: whether a longer queue costs more.
pub fn many_waiters(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let url = server.url();
    let few = bench.block_on(clients_of(&url, WAITERS));
    let many = bench.block_on(clients_of(&url, 64));
    let (executor, pace) = (bench.tokio(), at_once(bench.span(400, 150)));
    let about = "one Redis server, 64 clients in one process beside 8, one key";
    Scenario::new("redis-64-waiters", about, bench.pick(15, 9))
        .with("lock-tokio, 8 clients", move || {
            let _ = &server;
            hand_over(&crowd(executor, &few, pace))
        })
        .with("lock-tokio, 64 clients", move || hand_over(&crowd(executor, &many, pace)))
}

/// A thousand tasks of one program.
pub fn a_thousand(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let ours = bench.block_on(ours::redis(&[server.url()], true));
    let lock = Arc::new(ours.create_lock(KEY));
    let (few, many) = (vec![Arc::clone(&lock); WAITERS], vec![lock; 1000]);
    let (executor, pace) = (bench.tokio(), at_once(bench.span(1000, 400)));
    let about = "one Redis server, 1,000 tasks of one process beside 8, one key";
    Scenario::new("redis-1000-waiters", about, bench.pick(7, 3))
        .with("lock-tokio, 8 tasks", move || {
            let _ = &server;
            of_tasks(&crowd(executor, &few, pace))
        })
        .with("lock-tokio, 1000 tasks", move || of_tasks(&crowd(executor, &many, pace)))
}

fn with_processes<'b>(
    bench: &'b Bench,
    scenario: Scenario<'b>,
    floors: &[(&'static str, Kind)],
    pace: Crowd,
    sample: fn(&[Vec<Turn>]) -> Sample,
) -> Scenario<'b> {
    let server = Server::start();
    let url = server.url();
    let token = bench.block_on(HandOff::new(&url, KEY));
    let run = move |kind: Kind| {
        // Whoever was killed in the last round must not stand in the way of this one.
        server.command(&["FLUSHALL"]).expect("the server is up");
        if let Kind::HandOff = kind {
            bench.block_on(token.lay_down());
        }
        sample(&processes(kind, &url, WAITERS, pace))
    };
    let run = Rc::new(run);
    let ours = (TOKIO, Kind::Ours);
    let peers = [
        (RSLOCK, Kind::Rslock),
        (ASYNC_REDIS_LOCK, Kind::AsyncRedisLock),
        (DISTRIBUTED_LOCK, Kind::DistributedLock),
    ];
    // Who polls is slow to end.
    let peers = peers.into_iter().take(bench.pick(3, 0));
    let all = floors.iter().copied().chain([ours]).chain(peers);
    all.fold(scenario, |scenario, (subject, kind)| {
        let run = Rc::clone(&run);
        scenario.with(subject, move || run(kind))
    })
}

/// Waiters with a connection each for one token.
struct HandOffs(Vec<Arc<HandOff>>);

impl HandOffs {
    async fn new(url: &str, count: usize) -> Self {
        let mut waiters = Vec::with_capacity(count);
        for _ in 0..count {
            waiters.push(Arc::new(HandOff::new(url, "token").await));
        }
        Self(waiters)
    }

    fn take_turns(&self, executor: Executor<'_>, pace: Crowd) -> Vec<Vec<Turn>> {
        let first = Arc::clone(&self.0[0]);
        executor.run(async move { first.lay_down().await });
        crowd(executor, &self.0, pace)
    }
}

async fn clients_of(url: &str, count: usize) -> Vec<Arc<Lock>> {
    let mut locks = Vec::with_capacity(count);
    for _ in 0..count {
        locks.push(Arc::new(ours::redis(&[url.to_owned()], true).await.create_lock(KEY)));
    }
    locks
}

fn waiters<L: Lockable>(lock: impl Fn() -> L) -> Vec<Arc<L>> {
    (0..WAITERS).map(|_| Arc::new(lock())).collect()
}

fn at_once(span: Duration) -> Crowd {
    Crowd { hold: Duration::ZERO, think: Duration::ZERO, span }
}

fn hand_over(turns: &[Vec<Turn>]) -> Sample {
    let metrics = [OwnerChangesPerSecond, CyclesPerSecond, WaitP99Ms, MostToLeastServed, Overlaps];
    turns::only(&turns::of_mutex(turns), &metrics)
}

/// Tasks of one process may hand the lock on among themselves: what counts is how often anybody
/// has it.
fn of_tasks(turns: &[Vec<Turn>]) -> Sample {
    let metrics = [CyclesPerSecond, OwnerChangesPerSecond, WaitP99Ms, MostToLeastServed, Overlaps];
    turns::only(&turns::of_mutex(turns), &metrics)
}
