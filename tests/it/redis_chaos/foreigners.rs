//! Clients that know nothing of us: of .NET's DistributedLock.Redis, and of redis-py.

use std::time::{Duration, Instant};

use lock_tests::redis::{Server, eventually};
use lock_tokio::prelude::*;
use lock_tokio::{Lock, LossReason};
use redis::Value;

use super::{LONG, REFRESH, SLACK, expiring, number, provider};

/// How both give a lock back.
const COMPARE_AND_DELETE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return \
                                  redis.call('del', KEYS[1]) else return 0 end";

/// How .NET takes a permit: for 30 seconds, of so many.
const TAKE_A_PERMIT: &str = "redis.replicate_commands() local time = redis.call('time') local now \
                             = (time[1] * 1000.0) + (time[2] / 1000.0) \
                             redis.call('zremrangebyscore', KEYS[1], '-inf', now) if \
                             redis.call('zcard', KEYS[1]) < tonumber(ARGV[1]) then \
                             redis.call('zadd', KEYS[1], now + tonumber(ARGV[2]), ARGV[3]) local \
                             expiry = 3 * tonumber(ARGV[2]) if redis.call('pttl', KEYS[1]) < \
                             expiry then redis.call('pexpire', KEYS[1], expiry) end return 1 end \
                             return 0";

fn takes(server: &Server, name: &str, value: &str, milliseconds: &str) -> bool {
    let set = server.command(&["SET", name, value, "NX", "PX", milliseconds]).unwrap();
    set != Value::Nil
}

fn gives_back(server: &Server, name: &str, value: &str) -> bool {
    number(server, &["EVAL", COMPARE_AND_DELETE, "1", name, value]) == 1
}

fn takes_a_permit(server: &Server, name: &str, limit: &str, id: &str) -> bool {
    number(server, &["EVAL", TAKE_A_PERMIT, "1", name, limit, "30000", id]) == 1
}

fn waiting(lock: Lock) -> tokio::task::JoinHandle<LockHandle> {
    tokio::spawn(async move { lock.acquire(LONG).await.unwrap() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_lock_of_others_keeps_us_out_until_it_is_given_back() {
    let server = Server::start();
    let lock = provider(&server).await.create_lock("orders");
    assert!(takes(&server, "orders", "machine_7_guid", "30000"));
    assert!(lock.try_acquire().await.unwrap().is_none());
    let error = lock.acquire(Some(Duration::from_millis(300))).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let info = lock.info().await.unwrap();
    assert!(info.locked);
    let next = waiting(lock.clone());
    super::until_waiting(&server, "orders", 1).await;
    assert!(gives_back(&server, "orders", "machine_7_guid"));
    let free = Instant::now();
    let held = next.await.unwrap();
    assert!(free.elapsed() < REFRESH + SLACK, "{:?}", free.elapsed());
    held.release().await.unwrap();
    assert!(takes(&server, "orders", "redis-py", "30000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_lock_of_others_that_expires_lets_us_in_at_once() {
    let server = Server::start();
    let lock = provider(&server).await.create_lock("orders");
    assert!(takes(&server, "orders", "dead", "300"));
    let started = Instant::now();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(290), "{:?}", started.elapsed());
    assert!(started.elapsed() < REFRESH, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_lock_keeps_others_out_and_they_can_not_give_it_back() {
    let server = Server::start();
    let provider = expiring(&server.url(), Duration::from_secs(1)).await;
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    assert!(!takes(&server, "orders", "theirs", "30000"));
    assert!(!gives_back(&server, "orders", "theirs"));
    // Through two renewals.
    let acquired = Instant::now();
    eventually("renewals", || (acquired.elapsed() > Duration::from_secs(1)).then_some(()));
    assert!(!takes(&server, "orders", "theirs", "30000"));
    assert!(held.is_valid());
    held.release().await.unwrap();
    assert!(takes(&server, "orders", "theirs", "30000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_never_get_in_while_we_hand_a_lock_on() {
    let server = Server::start();
    let (here, there) = (provider(&server).await, provider(&server).await);
    let held = there.create_lock("orders").acquire(LONG).await.unwrap();
    let next = waiting(here.create_lock("orders"));
    super::until_waiting(&server, "orders", 1).await;
    let release = tokio::spawn(held.release());
    while !next.is_finished() {
        assert!(!takes(&server, "orders", "theirs", "30000"));
    }
    release.await.unwrap().unwrap();
    next.await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_deletes_our_lock_by_force_is_noticed_at_the_next_renewal() {
    let server = Server::start();
    let ttl = Duration::from_secs(2);
    let provider = expiring(&server.url(), ttl).await;
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    server.command(&["DEL", "orders"]).unwrap();
    assert!(takes(&server, "orders", "theirs", "30000"));
    let taken = Instant::now();
    assert_eq!(held.lost_token().changed().await, LossReason::Revoked);
    assert!(taken.elapsed() < ttl / 3 + SLACK, "{:?}", taken.elapsed());
    drop(held);
    provider.close().await;
    assert!(gives_back(&server, "orders", "theirs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_of_others_and_ours_count_together() {
    let server = Server::start();
    let provider = provider(&server).await;
    let semaphore = provider.create_semaphore("permits", 3);
    assert!(takes_a_permit(&server, "permits", "3", "one"));
    let ours = semaphore.acquire_many(2, LONG).await.unwrap();
    assert!(!takes_a_permit(&server, "permits", "3", "two"));
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    let next = semaphore.clone();
    let next = tokio::spawn(async move { next.acquire(LONG).await.unwrap() });
    eventually("a taker", || {
        (number(&server, &["ZCARD", "{permits}:dlock:writers"]) == 1).then_some(())
    });
    assert_eq!(number(&server, &["ZREM", "permits", "one"]), 1);
    let free = Instant::now();
    let next = next.await.unwrap();
    assert!(free.elapsed() < REFRESH + SLACK, "{:?}", free.elapsed());
    assert!(!takes_a_permit(&server, "permits", "3", "two"));
    ours.release().await.unwrap();
    assert!(takes_a_permit(&server, "permits", "3", "two"));
    assert!(takes_a_permit(&server, "permits", "3", "three"));
    assert!(!takes_a_permit(&server, "permits", "3", "four"));
    assert!(next.is_valid());
    next.release().await.unwrap();
    assert_eq!(number(&server, &["ZCARD", "permits"]), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_of_others_that_runs_out_is_ours() {
    let server = Server::start();
    let semaphore = provider(&server).await.create_semaphore("permits", 1);
    let take = TAKE_A_PERMIT;
    assert_eq!(number(&server, &["EVAL", take, "1", "permits", "1", "300", "dead"]), 1);
    let started = Instant::now();
    let held = semaphore.acquire(LONG).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(290), "{:?}", started.elapsed());
    assert!(started.elapsed() < REFRESH, "{:?}", started.elapsed());
    held.release().await.unwrap();
}
