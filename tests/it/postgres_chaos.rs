//! Real PostgreSQL servers, sessions, networks and processes that end while locks are held and
//! wanted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cancels;
mod clients;
mod loss;
mod networks;
mod pool;
mod semaphores;
mod statements;
mod threads;

use std::future::Future;
use std::time::{Duration, Instant};

use async_std::task;
use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::{PostgresServer, Session};
use lock_tests::redis::PATIENCE;
use lock_tokio::prelude::*;

/// Long enough for whatever ends in the end.
pub(crate) const LONG: Option<Duration> = Some(Duration::from_secs(30));
/// What a busy machine may add to what should take no time.
pub(crate) const SLACK: Duration = Duration::from_secs(2);

/// Makes a test of each check on tokio, and of some on async-std as well.
macro_rules! tests {
    (tokio: $($check:ident),+ $(,)?; async_std: $($both:ident),+ $(,)?) => {
        mod on_tokio {
            $(#[test]
            fn $check() {
                crate::postgres_chaos::on_tokio(super::$check());
            })+
        }

        mod on_async_std {
            $(#[test]
            fn $both() {
                async_std::task::block_on(super::$both());
            })+
        }
    };
}
use tests;

pub(crate) fn on_tokio(check: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(check);
}

/// A provider on the runtime that runs the test.
pub(crate) async fn provider(url: &str) -> PostgresLockProvider {
    PostgresLockProvider::new(url).await.unwrap()
}

/// What must be there within `limit`, and some.
pub(crate) async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> T {
    let limit = limit + SLACK;
    let done = async_std::future::timeout(limit, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"))
}

/// Waits for `condition` without keeping a thread of the runtime.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        task::sleep(Duration::from_millis(5)).await;
    }
}

/// The process of the server that holds `name`.
pub(crate) fn holder(server: &PostgresServer, name: &str) -> Option<u32> {
    let key = AdvisoryKey::from_name(name);
    let locks = server.advisory_locks().into_iter();
    locks.filter(|lock| lock.key == key && lock.granted).map(|lock| lock.pid).next()
}

/// The processes of the server that wait for `name`.
pub(crate) fn waiters(server: &PostgresServer, name: &str) -> Vec<u32> {
    let key = AdvisoryKey::from_name(name);
    let locks = server.advisory_locks().into_iter();
    locks.filter(|lock| lock.key == key && !lock.granted).map(|lock| lock.pid).collect()
}

/// Waits until so many of the server's processes wait for `name`.
pub(crate) async fn until_waiting(server: &PostgresServer, name: &str, count: usize) {
    until("all in the queue", || waiters(server, name).len() == count).await;
}

/// Waits until so many locks are held that nobody shares: whoever tries for permits shares the
/// gate for a moment, and is not inside.
pub(crate) async fn until_inside(server: &PostgresServer, count: usize) {
    let held = || server.advisory_locks().into_iter().filter(|lock| lock.exclusive && lock.granted);
    until("somebody is inside", || held().count() == count).await;
}

/// Waits until the server knows of no lock.
pub(crate) async fn until_none_left(server: &PostgresServer) {
    until("no lock is left", || server.advisory_locks().is_empty()).await;
}

/// How a function of the server takes the key of `name`.
pub(crate) fn arguments(name: &str) -> String {
    match AdvisoryKey::from_name(name) {
        AdvisoryKey::Single(key) => key.to_string(),
        AdvisoryKey::Pair(first, second) => format!("{first}, {second}"),
    }
}

/// Somebody else who holds `name`.
pub(crate) fn foreigner(server: &PostgresServer, name: &str) -> Session {
    let session = server.session();
    session.ask(&format!("SELECT pg_advisory_lock({})", arguments(name))).unwrap();
    session
}

pub(crate) fn give_back(foreigner: &Session, name: &str) {
    let sql = format!("SELECT pg_advisory_unlock({})", arguments(name));
    assert_eq!(foreigner.ask(&sql).unwrap(), [["t"]]);
}
