//! The three adapters side by side, on one Redis server. Their locks have fences, and so have the
//! floors.

use std::sync::Arc;

use lock_blocking::LockProvider as _;
use lock_tests::redis::Server;
use lock_tokio::{Lock, LockProvider as _};

use crate::bench::Bench;
use crate::round::Scenario;
use crate::subjects::pieces::Pieces;
use crate::subjects::redis_floor::RedisFloor;
use crate::subjects::threads::Baton;
use crate::subjects::{ASYNC_STD, ASYNC_STD_FLOOR, BLOCKING, FLOOR, THREADS_FLOOR, TOKIO, ours};
use crate::workload::{Executor, alone, alone_blocking, side_by_side, side_by_side_blocking};

/// One task or thread.
pub fn one(bench: &Bench) -> Scenario<'_> {
    let three = Adapters::start(bench, 1, false);
    let pace = bench.alone(60, 20);
    let Adapters { server, tokio, async_std, blocking } = three;
    let urls = [server.url()];
    let floor = Arc::new(bench.block_on(RedisFloor::new(&urls, "floor")).fenced());
    let floor_async_std = async_std::task::block_on(RedisFloor::new(&urls, "floor, async-std"));
    let floor_async_std = Arc::new(floor_async_std.fenced());
    let about = "one Redis server, one task or thread: the adapters beside each other";
    Scenario::new("adapters-uncontended", about, bench.pick(41, 21))
        .with(TOKIO, move || {
            let _ = &server;
            alone(bench.tokio(), &tokio[0], pace)
        })
        .with(ASYNC_STD, move || alone(Executor::AsyncStd, &async_std[0], pace))
        .with(BLOCKING, move || alone_blocking(&*blocking[0], pace))
        .with(FLOOR, move || alone(bench.tokio(), &floor, pace))
        .with(ASYNC_STD_FLOOR, move || alone(Executor::AsyncStd, &floor_async_std, pace))
}

/// Sixty-four tasks or threads, a key for each.
pub fn many_keys(bench: &Bench) -> Scenario<'_> {
    let about = "one Redis server, 64 tasks or threads, a key for each";
    let scenario = Scenario::new("adapters-64-keys", about, bench.pick(25, 11));
    let three = Adapters::start(bench, 64, false);
    let threads = Pieces::connect(&three.server.address(), 64);
    let async_std = async_std::task::block_on(RedisFloor::new(&[three.server.url()], ""));
    let key = |number| async_std.for_key(&format!("floor, async-std {number}"));
    let tasks: Vec<_> = (0..64).map(|number| Arc::new(key(number).fenced())).collect();
    let span = bench.span(200, 70);
    together(bench, scenario, three)
        .with(THREADS_FLOOR, move || side_by_side_blocking(&threads, span))
        .with(ASYNC_STD_FLOOR, move || side_by_side(Executor::AsyncStd, &tasks, span))
}

/// Eight tasks or threads that want one key.
pub fn one_key(bench: &Bench) -> Scenario<'_> {
    let about = "one Redis server, 8 tasks or threads of one process, one key";
    let scenario = Scenario::new("adapters-one-key", about, bench.pick(25, 11));
    let three = Adapters::start(bench, 8, true);
    let baton = Arc::new(Baton::new(&three.server.url(), "floor of threads"));
    let threads: Vec<_> = (0..8).map(|_| Arc::clone(&baton)).collect();
    let span = bench.span(200, 70);
    together(bench, scenario, three)
        .with(THREADS_FLOOR, move || side_by_side_blocking(&threads, span))
}

fn together<'b>(bench: &'b Bench, scenario: Scenario<'b>, three: Adapters) -> Scenario<'b> {
    let span = bench.span(200, 70);
    let Adapters { server, tokio, async_std, blocking } = three;
    scenario
        .with(TOKIO, move || {
            let _ = &server;
            side_by_side(bench.tokio(), &tokio, span)
        })
        .with(ASYNC_STD, move || side_by_side(Executor::AsyncStd, &async_std, span))
        .with(BLOCKING, move || side_by_side_blocking(&blocking, span))
}

/// A provider of each, and so many locks.
struct Adapters {
    server: Server,
    tokio: Vec<Arc<Lock>>,
    async_std: Vec<Arc<Lock>>,
    blocking: Vec<Arc<lock_blocking::Lock>>,
}

impl Adapters {
    fn start(bench: &Bench, count: usize, same: bool) -> Self {
        let server = Server::start();
        let urls = [server.url()];
        let tokio = bench.block_on(ours::redis(&urls, true));
        let async_std = async_std::task::block_on(ours::redis(&urls, true));
        let blocking = lock_blocking::RedisLockProvider::new(&urls[0]).expect("it is up");
        let name = |adapter: &str, number: usize| {
            let number = if same { 0 } else { number };
            format!("{adapter} {number}")
        };
        let numbers = || 0..count;
        Self {
            tokio: numbers().map(|n| Arc::new(tokio.create_lock(&name("tokio", n)))).collect(),
            async_std: numbers()
                .map(|n| Arc::new(async_std.create_lock(&name("async-std", n))))
                .collect(),
            blocking: numbers()
                .map(|n| Arc::new(blocking.create_lock(&name("blocking", n))))
                .collect(),
            server,
        }
    }
}
