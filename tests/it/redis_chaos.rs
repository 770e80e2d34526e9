//! Real Redis servers, and processes, that are killed, stopped and interfered with while locks are
//! held and wanted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowds;
mod fences;
mod foreigners;
mod processes;
mod quorums;
mod servers;
mod upheaval;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lock_tests::redis::{PATIENCE, Server};
use lock_tokio::prelude::*;

/// Long enough for whatever ends in the end.
pub(crate) const LONG: Option<Duration> = Some(Duration::from_secs(30));
/// What a busy machine may add to what should take no time.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// A waiter that was handed the lock has this long to claim it, and asks this often whether it was.
pub(crate) const CLAIM: Duration = Duration::from_secs(3);
pub(crate) const REFRESH: Duration = Duration::from_secs(1);

pub(crate) async fn provider(server: &Server) -> RedisLockProvider {
    RedisLockProvider::new(&server.url()).await.unwrap()
}

/// A provider whose locks are lost so soon after nothing prolongs them.
pub(crate) async fn expiring(url: &str, expiry: Duration) -> RedisLockProvider {
    RedisLockProvider::builder().url(url).expiry(expiry).build().await.unwrap()
}

/// How many wait for the mutex `name`, or to write.
pub(crate) fn waiters(server: &Server, name: &str) -> i64 {
    number(server, &["ZCARD", &format!("{{{name}}}:dlock:writers")])
}

/// The tokens of those that wait for the mutex `name`, or to write, in the order of their places.
pub(crate) fn places(server: &Server, name: &str) -> Vec<String> {
    let places = server.command(&["ZRANGE", &format!("{{{name}}}:dlock:writers"), "0", "-1"]);
    redis::from_redis_value(places.unwrap()).unwrap()
}

/// The answer to a command.
pub(crate) fn number(server: &Server, words: &[&str]) -> i64 {
    redis::from_redis_value(server.command(words).unwrap()).unwrap()
}

/// The keys on a server, aside from fences, and from the words about tokens that are gone, which
/// are forgotten in a while.
pub(crate) fn keys_left(server: &Server) -> Vec<String> {
    let keys = server.command(&["KEYS", "*"]).unwrap();
    let keys: Vec<String> = redis::from_redis_value(keys).unwrap();
    let (gone, mut left): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| key.contains(":dlock:gone:"));
    left.retain(|key| !key.ends_with(":dlock:fence"));
    for key in gone {
        assert!(number(server, &["PTTL", &key]) <= 10_000, "{key} stays");
    }
    left
}

/// Waits for `condition` without keeping a thread of the runtime.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until so many wait for the mutex `name`, or to write.
pub(crate) async fn until_waiting(server: &Server, name: &str, count: usize) {
    until("all in the queue", || waiters(server, name) == count as i64).await;
}

/// What only one may touch at a time.
#[derive(Debug, Default)]
pub(crate) struct Room {
    occupied: AtomicBool,
    count: AtomicU64,
}

impl Room {
    /// Counts a visit, during which others get their chance to come in as well.
    pub(crate) async fn visit(&self) {
        assert!(!self.occupied.swap(true, Ordering::SeqCst), "somebody is inside");
        let count = self.count.load(Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.count.store(count + 1, Ordering::SeqCst);
        assert!(self.occupied.swap(false, Ordering::SeqCst), "somebody was inside as well");
    }

    /// How many visits there were.
    pub(crate) fn visits(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}
