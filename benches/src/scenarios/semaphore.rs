//! Locks on Redis that several have at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lock_tests::redis::Server;
use lock_tokio::{LockHandle, LockProvider as _, ReaderWriterLock};

use crate::bench::Bench;
use crate::metric::Metric::{CyclesPerSecond, WaitP99Ms};
use crate::round::Scenario;
use crate::subjects::semaphores::{DistributedSemaphore, SemaphoreFloor};
use crate::subjects::{DISTRIBUTED_LOCK, POLLING, TOKIO, ours};
use crate::turns;
use crate::workload::{Crowd, Lockable, crowd};

const PERMITS: u32 = 5;
const TASKS: usize = 32;

/// Thirty-two tasks and five permits.
pub fn permits(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let url = server.url();
    let (floor, ours, distributed) = bench.block_on(async {
        let ours = ours::redis(&[server.url()], true).await;
        (
            Arc::new(SemaphoreFloor::new(&url, "floor", PERMITS).await),
            Arc::new(ours.create_semaphore("ours", PERMITS)),
            Arc::new(DistributedSemaphore::new(&url, "distributed-lock", PERMITS).await),
        )
    });
    let executor = bench.tokio();
    let pace = Crowd {
        hold: Duration::from_millis(2),
        think: Duration::ZERO,
        span: bench.span(1500, 600),
    };
    let about = "one Redis server, 5 permits, 32 tasks, held for 2 ms; the floor asks every 10 ms";
    let scenario = Scenario::new("redis-semaphore", about, bench.pick(7, 3))
        .with(POLLING, move || {
            let _ = &server;
            turns::of_shared(&crowd(executor, &vec![Arc::clone(&floor); TASKS], pace))
        })
        .with(TOKIO, move || {
            turns::of_shared(&crowd(executor, &vec![Arc::clone(&ours); TASKS], pace))
        });
    if bench.is_quick() {
        return scenario;
    }
    scenario.with(DISTRIBUTED_LOCK, move || {
        turns::of_shared(&crowd(executor, &vec![Arc::clone(&distributed); TASKS], pace))
    })
}

/// Sixteen tasks, of which each writes every tenth time; beside the same with a mutex.
pub fn readers(bench: &Bench) -> Scenario<'_> {
    let server = Server::start();
    let ours = bench.block_on(ours::redis(&[server.url()], true));
    let mutex = Arc::new(ours.create_lock("mutex"));
    let lock = || Arc::new(NineReadsOneWrite::new(ours.create_reader_writer_lock("orders")));
    let locks: Vec<_> = (0..16).map(|_| lock()).collect();
    let executor = bench.tokio();
    let pace = Crowd {
        hold: Duration::from_millis(2),
        think: Duration::ZERO,
        span: bench.span(1000, 500),
    };
    let about = "one Redis server, 16 tasks, 9 reads for each write, held for 2 ms; beside a mutex";
    let metrics = [CyclesPerSecond, WaitP99Ms];
    Scenario::new("redis-reader-writer", about, bench.pick(9, 3))
        .with("lock-tokio, mutex", move || {
            let _ = &server;
            let turns = crowd(executor, &vec![Arc::clone(&mutex); 16], pace);
            turns::only(&turns::of_shared(&turns), &metrics)
        })
        .with("lock-tokio, 90 % readers", move || {
            turns::only(&turns::of_shared(&crowd(executor, &locks, pace)), &metrics)
        })
}

/// A task's reader-writer lock: it is written to every tenth time.
struct NineReadsOneWrite {
    lock: ReaderWriterLock,
    times: AtomicU32,
}

impl NineReadsOneWrite {
    fn new(lock: ReaderWriterLock) -> Self {
        Self { lock, times: AtomicU32::new(0) }
    }
}

impl Lockable for NineReadsOneWrite {
    type Held = LockHandle;

    async fn acquire(&self) -> LockHandle {
        let writes = self.times.fetch_add(1, Ordering::Relaxed) % 10 == 9;
        let held = if writes {
            self.lock.acquire_write(None).await
        } else {
            self.lock.acquire_read(None).await
        };
        held.expect("the server is up")
    }

    async fn release(&self, held: LockHandle) {
        held.release().await.expect("nobody takes it away");
    }
}
