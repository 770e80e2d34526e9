//! Acquisitions that are given up, at every moment, and leave nothing behind.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_std::task;
use lock_tests::postgres::{PgBouncer, PoolMode, PostgresServer};
use lock_tokio::prelude::*;
use lock_tokio::{Lock, ReaderWriterLock, Semaphore};

use super::{LONG, tests, until_none_left};

const LANES: usize = 5;

/// What is wanted by many.
#[derive(Clone)]
enum Wanted {
    Mutex(Lock),
    ReaderWriter(ReaderWriterLock),
    Permits(Semaphore),
}

impl Wanted {
    async fn acquire(&self, draw: u64, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        match self {
            Self::Mutex(lock) => lock.acquire(timeout).await,
            Self::ReaderWriter(lock) if draw.is_multiple_of(3) => lock.acquire_write(timeout).await,
            Self::ReaderWriter(lock) => lock.acquire_read(timeout).await,
            Self::Permits(semaphore) => {
                semaphore.acquire_many(1 + (draw % 2) as u32, timeout).await
            }
        }
    }
}

/// Numbers without a pattern.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.next() % most)
    }

    /// Up to so much, and now and then as long as it takes.
    fn patience(&mut self, most: u64) -> Duration {
        if self.next().is_multiple_of(20) { LONG.unwrap() } else { self.micros(most) }
    }
}

/// How acquisitions ended.
#[derive(Debug, Default)]
struct Tally {
    granted: AtomicUsize,
    given_up: AtomicUsize,
}

impl Tally {
    fn check(&self, count: usize) {
        let (granted, given_up) =
            (self.granted.load(Ordering::SeqCst), self.given_up.load(Ordering::SeqCst));
        assert_eq!(granted + given_up, count);
        // Otherwise nothing was contended, or nobody was let in.
        assert!(granted > 0 && given_up > 0, "{self:?}");
    }
}

/// Has lanes, each on a provider of its own, give up `count` acquisitions together.
async fn check_lanes<P, F>(
    server: &PostgresServer,
    provider: impl Fn() -> P,
    wanted: fn(&PostgresLockProvider) -> Wanted,
    lane: fn(Wanted, usize, usize, Arc<Tally>) -> F,
    count: usize,
) where
    P: Future<Output = PostgresLockProvider>,
    F: Future<Output = ()> + Send + 'static,
{
    let tally = Arc::new(Tally::default());
    let (mut providers, mut lanes) = (Vec::new(), Vec::new());
    for number in 0..LANES {
        let provider = provider().await;
        lanes.push(task::spawn(lane(wanted(&provider), number, count / LANES, tally.clone())));
        providers.push(provider);
    }
    for lane in lanes {
        lane.await;
    }
    tally.check(count);
    until_none_left(server).await;
    // Nobody is in the way of anybody, and every pool is in order.
    for provider in &providers {
        let held = wanted(provider).acquire(0, LONG).await.unwrap();
        held.release().await.unwrap();
        provider.close().await;
    }
    until_none_left(server).await;
}

/// Drops each acquisition at a moment of its own, or holds what it got for a while.
async fn cancel(wanted: Wanted, lane: usize, count: usize, tally: Arc<Tally>) {
    let mut draws = Draws(0x9e37_79b9 + lane as u64);
    for _ in 0..count {
        let (draw, patience) = (draws.next(), draws.patience(20_000));
        let acquiring = wanted.acquire(draw, LONG);
        match async_std::future::timeout(patience, acquiring).await {
            Ok(held) => {
                let held = held.unwrap();
                tally.granted.fetch_add(1, Ordering::SeqCst);
                task::sleep(draws.micros(3_000)).await;
                if draw % 2 == 0 {
                    held.release().await.unwrap();
                }
            }
            Err(_) => {
                tally.given_up.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// Allows each acquisition a time of its own.
async fn time_out(wanted: Wanted, lane: usize, count: usize, tally: Arc<Tally>) {
    let mut draws = Draws(0x2545_f491 + lane as u64);
    for _ in 0..count {
        let (draw, limit) = (draws.next(), draws.patience(6_000));
        match wanted.acquire(draw, Some(limit)).await {
            Ok(held) => {
                tally.granted.fetch_add(1, Ordering::SeqCst);
                task::sleep(draws.micros(3_000)).await;
                held.release().await.unwrap();
            }
            Err(error) => {
                assert!(error.is_timeout(), "{error:?}");
                tally.given_up.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

fn mutex(provider: &PostgresLockProvider) -> Wanted {
    Wanted::Mutex(provider.create_lock("orders"))
}

fn reader_writer(provider: &PostgresLockProvider) -> Wanted {
    Wanted::ReaderWriter(provider.create_reader_writer_lock("reports"))
}

fn permits(provider: &PostgresLockProvider) -> Wanted {
    Wanted::Permits(provider.create_semaphore("permits", 3))
}

async fn two_thousand_cancels_leave_no_lock_behind() {
    let server = PostgresServer::start();
    let provider = || async { super::provider(&server.url()).await };
    check_lanes(&server, provider, mutex, cancel, 2000).await;
}

async fn cancels_of_readers_writers_and_takers_leave_nothing_behind() {
    let server = PostgresServer::start();
    let provider = || async { super::provider(&server.url()).await };
    check_lanes(&server, provider, reader_writer, cancel, 400).await;
    check_lanes(&server, provider, permits, cancel, 400).await;
}

async fn time_outs_of_everything_leave_nothing_behind() {
    let server = PostgresServer::start();
    let provider = || async { super::provider(&server.url()).await };
    check_lanes(&server, provider, mutex, time_out, 400).await;
    check_lanes(&server, provider, reader_writer, time_out, 400).await;
    check_lanes(&server, provider, permits, time_out, 400).await;
}

async fn cancels_and_time_outs_of_transactions_leave_nothing_behind() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Transaction, 20);
    for url in [server.url(), pool.url()] {
        let provider = || async {
            let builder = PostgresLockProvider::builder().url(&url).use_transaction_scope(true);
            builder.build().await.unwrap()
        };
        check_lanes(&server, provider, mutex, cancel, 400).await;
        check_lanes(&server, provider, reader_writer, time_out, 200).await;
    }
}

/// The time-out of a waiter and the release that lets it in are so close that now the one comes
/// first, and now the other.
async fn a_thousand_time_outs_at_the_moment_of_the_grant_leave_no_lock_behind() {
    const LIMIT: Duration = Duration::from_millis(5);
    let server = PostgresServer::start();
    let (here, there) =
        (super::provider(&server.url()).await, super::provider(&server.url()).await);
    let tally = Arc::new(Tally::default());
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let name = format!("orders {lane}");
            let (lock, other) = (here.create_lock(&name), there.create_lock(&name));
            let (mut draws, tally) = (Draws(0x1234_5678 + lane as u64), Arc::clone(&tally));
            task::spawn(async move {
                for _ in 0..1000 / LANES {
                    let held = other.acquire(LONG).await.unwrap();
                    let waiting = task::spawn({
                        let lock = lock.clone();
                        async move { lock.acquire(Some(LIMIT)).await }
                    });
                    task::sleep(LIMIT * 2 / 5 + draws.micros(5_000)).await;
                    held.release().await.unwrap();
                    match waiting.await {
                        Ok(held) => {
                            tally.granted.fetch_add(1, Ordering::SeqCst);
                            held.release().await.unwrap();
                        }
                        Err(error) => {
                            assert!(error.is_timeout(), "{error:?}");
                            tally.given_up.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await;
    }
    tally.check(1000);
    until_none_left(&server).await;
}

tests!(
    tokio:
        a_thousand_time_outs_at_the_moment_of_the_grant_leave_no_lock_behind,
        cancels_and_time_outs_of_transactions_leave_nothing_behind,
        cancels_of_readers_writers_and_takers_leave_nothing_behind,
        time_outs_of_everything_leave_nothing_behind,
        two_thousand_cancels_leave_no_lock_behind;
    async_std:
        time_outs_of_everything_leave_nothing_behind,
);

/// Threads that want one lock for so short a time that hardly any gets it in the first place.
#[test]
fn time_outs_of_threads_leave_nothing_behind() {
    use lock_blocking::prelude::*;

    let server = PostgresServer::start();
    let tally = Tally::default();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let (server, tally) = (&server, &tally);
                scope.spawn(move || {
                    let provider = PostgresLockProvider::new(&server.url()).unwrap();
                    let lock = provider.create_lock("orders");
                    let mut draws = Draws(0x5bd1_e995 + lane as u64);
                    for _ in 0..400 / LANES {
                        match lock.acquire(Some(draws.patience(6_000))) {
                            Ok(held) => {
                                tally.granted.fetch_add(1, Ordering::SeqCst);
                                thread::sleep(draws.micros(3_000));
                                held.release().unwrap();
                            }
                            Err(error) => {
                                assert!(error.is_timeout(), "{error:?}");
                                tally.given_up.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                    provider.close();
                })
            })
            .collect();
        for lane in lanes {
            lane.join().unwrap();
        }
    });
    tally.check(400);
    lock_tests::redis::eventually("no lock is left", || {
        server.advisory_locks().is_empty().then_some(())
    });
}
