//! What went wrong in other libraries for Redis locks, each once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;
use lock_tests::redis::{Mode, Proxy, Server, eventually};
use lock_tokio::prelude::*;
use lock_tokio::{LossReason, RedisLockProviderBuilder};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::redis_chaos::{LONG, SLACK, expiring, keys_left, number, provider, until};

/// How long a server may be silent.
const QUIET: Duration = Duration::from_millis(500);

fn servers<const N: usize>() -> [Server; N] {
    [(); N].map(|()| Server::start())
}

fn voting(servers: &[Server]) -> RedisLockProviderBuilder {
    let builder = RedisLockProvider::builder().urls(servers.iter().map(Server::url));
    builder.connect_timeout(QUIET).response_timeout(QUIET)
}

async fn until_clean(servers: &[Server]) {
    for server in servers.iter().filter(|server| server.is_running()) {
        until("a clean server", || keys_left(server).is_empty()).await;
    }
}

/// How often scripts were run.
fn scripts(server: &Server) -> u64 {
    server.commands_sent().get("evalsha").copied().unwrap_or(0)
}

// distributed-lock-redis: an acquisition with a time-out tried once and said it had timed out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_wait_waits_until_the_deadline() {
    let limit = Duration::from_millis(300);
    let servers = servers::<3>();
    let (one, three) = (provider(&servers[0]).await, voting(&servers).build().await.unwrap());
    for (name, provider) in [("one", one), ("three", three)] {
        let lock = provider.create_reader_writer_lock(name);
        let held = lock.acquire_write(LONG).await.unwrap();
        let started = Instant::now();
        assert!(lock.acquire_read(Some(limit)).await.unwrap_err().is_timeout());
        assert!(lock.acquire_write(Some(limit)).await.unwrap_err().is_timeout());
        let taken = started.elapsed();
        assert!(taken >= 2 * limit && taken < 2 * limit + SLACK, "{taken:?}");
        held.release().await.unwrap();
    }
}

// distributed-lock-redis: a failed quorum left the keys of the minority for their whole lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_quorum_leaves_nothing_on_any_server() {
    let servers = servers::<3>();
    let lock = voting(&servers).build().await.unwrap().create_lock("orders");
    for server in &servers[1..] {
        server.command(&["SET", "orders", "another's", "PX", "60000"]).unwrap();
    }
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert!(lock.acquire(Some(Duration::from_millis(200))).await.unwrap_err().is_timeout());
    for server in &servers[1..] {
        server.command(&["DEL", "orders"]).unwrap();
    }
    until_clean(&servers).await;
}

// distributed-lock-redis: success at the quorum forgot the votes that came later, and their keys
// stayed: most free locks could not be had any more. redlock: one dead server was a failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rounds_leave_no_vote_behind() {
    let all = servers::<5>();
    for servers in [&all[..3], &all] {
        let provider = voting(servers).build().await.unwrap();
        for round in 0..100 {
            let lock = provider.create_lock(&format!("lock {}", round % 10));
            lock.acquire(LONG).await.unwrap().release().await.unwrap();
        }
        until_clean(servers).await;
    }
    let provider = voting(&all[..3]).build().await.unwrap();
    all[2].kill();
    for round in 0..10 {
        let lock = provider.create_lock(&format!("lock {round}"));
        lock.try_acquire().await.unwrap().expect("nobody holds it").release().await.unwrap();
    }
    until_clean(&all).await;
}

// distributed-lock-redis: renewals counted a majority of those servers that had said yes, so that
// two holders went on for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_holders_after_an_amnesia_are_one_within_a_lease() {
    let ttl = Duration::from_secs(1);
    let servers = servers::<5>();
    let (one, other) = (
        voting(&servers).expiry(ttl).build().await.unwrap(),
        voting(&servers).expiry(ttl).build().await.unwrap(),
    );
    servers[3].kill();
    servers[4].kill();
    let first = one.create_lock("orders").acquire(LONG).await.unwrap();
    for server in &servers[2..] {
        server.restart();
    }
    let lock = other.create_lock("orders");
    match lock.acquire(Some(2 * ttl)).await {
        Ok(second) => {
            let lost = timeout(ttl + SLACK, first.lost_token().changed()).await;
            assert!(lost.is_ok() || !second.is_valid(), "both are inside");
        }
        Err(error) => assert!(error.is_timeout() && first.is_valid(), "{error:?}"),
    }
}

// distributed-lock-redis: answers that came far apart made the renewal panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_different_speed_are_renewed_alike() {
    let ttl = Duration::from_secs(3);
    let servers = servers::<3>();
    let proxies = [0, 1, 2].map(|server: usize| Proxy::to(&servers[server]));
    let builder = RedisLockProvider::builder().urls(proxies.iter().map(Proxy::url));
    let provider = builder.expiry(ttl).build().await.unwrap();
    for (proxy, millis) in proxies.iter().zip([10, 100, 400]) {
        proxy.delay(Duration::ZERO, Duration::from_millis(millis));
    }
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    for server in &servers {
        server.reset_statistics();
    }
    until("two renewals", || servers.iter().all(|server| scripts(server) >= 2)).await;
    assert!(held.is_valid() && !held.lost_token().is_lost());
    for server in &servers {
        assert_eq!(number(server, &["EXISTS", "orders"]), 1);
    }
}

// distributed-lock-redis: leases shorter than a fixed minimum left no time for an attempt. All
// keys were written, and none was counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_lease_is_had_over_a_slow_network() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let provider = expiring(&proxy.url(), Duration::from_millis(500)).await;
    proxy.delay(Duration::from_millis(2), Duration::from_millis(2));
    for round in 0..20 {
        let held = provider.create_lock(&format!("lock {round}")).try_acquire().await.unwrap();
        held.expect("nobody holds it").release().await.unwrap();
    }
}

// distributed-lock-redis: each acquisition left a task that slept for its whole time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_outlives_an_acquisition() {
    let server = Server::start();
    let lock = provider(&server).await.create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..200 {
        lock.acquire(LONG).await.unwrap().release().await.unwrap();
    }
    until("no more tasks", || tasks() <= before).await;
}

// distributed-lock-redis: reader-writer locks were several commands, with others in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_never_overlap() {
    let server = Server::start();
    let providers = [provider(&server).await, provider(&server).await];
    // How many readers are inside, or -1 for a writer.
    let inside = Arc::new(AtomicI64::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|task: usize| {
            let lock = providers[task % 2].create_reader_writer_lock("orders");
            let inside = Arc::clone(&inside);
            tokio::spawn(async move {
                for _ in 0..40 {
                    if task < 5 {
                        let held = lock.acquire_read(LONG).await.unwrap();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) >= 0, "a writer is inside");
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        held.release().await.unwrap();
                    } else {
                        let held = lock.acquire_write(LONG).await.unwrap();
                        assert_eq!(inside.swap(-1, Ordering::SeqCst), 0, "somebody is inside");
                        tokio::task::yield_now().await;
                        assert_eq!(inside.swap(0, Ordering::SeqCst), -1, "somebody came in");
                        held.release().await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(keys_left(&server), [""; 0]);
}

// distributed-lock-core: tiny time-outs became none, and the longest became a negative number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shortest_and_the_longest_durations_are_what_they_say() {
    let server = Server::start();
    let lock = provider(&server).await.create_lock("orders");
    let held = lock.acquire(Some(Duration::MAX)).await.unwrap();
    let started = Instant::now();
    for short in [Duration::from_nanos(1), Duration::from_micros(999), Duration::ZERO] {
        assert!(lock.acquire(Some(short)).await.unwrap_err().is_timeout());
    }
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    held.extend(Duration::MAX).await.unwrap();
    held.extend(Duration::ZERO).await.unwrap();
    assert!(held.is_valid());
    let waiter = provider(&server).await.create_lock("orders");
    let waiting = tokio::spawn(async move { waiter.acquire(Some(Duration::MAX)).await });
    until("a waiter", || crate::redis_chaos::waiters(&server, "orders") == 1).await;
    held.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

// All of them: an acquisition that was dropped at the wrong moment left its key for a lease.
// rustfs-lock: likewise on several servers, where the granted votes were forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquisition_that_is_dropped_at_any_moment_leaves_nothing() {
    let servers = servers::<3>();
    let one = provider(&servers[0]).await;
    let three = voting(&servers).build().await.unwrap();
    for (provider, name) in [(&one, "one"), (&three, "three")] {
        for round in 0..100 {
            let lock = provider.create_lock(&format!("{name} {round}"));
            let mut acquiring = Box::pin(lock.acquire(LONG));
            if poll_once(&mut acquiring).await.is_none() {
                let _ = timeout(Duration::from_micros(round * 15), &mut acquiring).await;
            }
        }
    }
    until_clean(&servers).await;
}

// rslock: an extension that failed on a majority gave a lock back that was valid for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_renewal_gives_nothing_back() {
    let ttl = Duration::from_secs(3);
    let servers = servers::<3>();
    let proxies = [0, 1, 2].map(|server: usize| Proxy::to(&servers[server]));
    let builder = RedisLockProvider::builder().urls(proxies.iter().map(Proxy::url));
    let held = builder.expiry(ttl).build().await.unwrap();
    let held = held.create_lock("orders").acquire(LONG).await.unwrap();
    for proxy in &proxies[1..] {
        proxy.set(Mode::Refuse);
        proxy.cut();
    }
    // A renewal was due when two thirds were left.
    until("a failed renewal", || held.remaining().unwrap() < ttl / 2).await;
    let other = voting(&servers).build().await.unwrap().create_lock("orders");
    assert!(other.try_acquire().await.unwrap().is_none());
    assert!(held.is_valid());
    proxies.iter().for_each(|proxy| proxy.set(Mode::Pass));
    until("a renewal", || held.remaining().unwrap() > ttl / 2).await;
    assert!(!held.lost_token().is_lost());
    held.release().await.unwrap();
}

// rslock: with all servers down it tried again without a pause, and never stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_pause_when_every_server_is_down() {
    let servers = servers::<3>();
    let proxies = [0, 1, 2].map(|server: usize| Proxy::to(&servers[server]));
    let builder = RedisLockProvider::builder().urls(proxies.iter().map(Proxy::url));
    let lock = builder.build().await.unwrap().create_lock("orders");
    proxies.iter().for_each(|proxy| proxy.set(Mode::Refuse));
    proxies.iter().for_each(Proxy::cut);
    let before: u64 = proxies.iter().map(Proxy::accepted).sum();
    lock.acquire(Some(2 * QUIET)).await.unwrap_err();
    let tries = proxies.iter().map(Proxy::accepted).sum::<u64>() - before;
    assert!(tries < 100, "{tries}");
}

// rslock and redlock: a retry delay of nothing panicked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rests_of_no_length_are_named_or_harmless() {
    let servers = servers::<3>();
    let none = Duration::ZERO;
    match voting(&servers).busy_wait_sleep_range(none..=none).build().await {
        Ok(provider) => {
            let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
            let lock = provider.create_lock("orders");
            lock.acquire(Some(Duration::from_millis(50))).await.unwrap_err();
            assert!(held.is_valid());
        }
        Err(error) => assert!(matches!(error, LockError::InvalidConfig { .. }), "{error:?}"),
    }
}

// rslock: whether a lock is held was what the first server said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_says_whether_a_lock_is_held() {
    let servers = servers::<3>();
    let lock = voting(&servers).build().await.unwrap().create_lock("orders");
    let held = lock.acquire(LONG).await.unwrap();
    servers[0].command(&["DEL", "orders"]).unwrap();
    assert!(lock.is_locked().await.unwrap());
    servers[0].kill();
    assert!(lock.is_locked().await.unwrap());
    servers[0].restart();
    held.release().await.unwrap();
    servers[1].command(&["SET", "orders", "left", "PX", "60000"]).unwrap();
    assert!(!lock.is_locked().await.unwrap());
}

// rslock: each step waited for the slowest server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_slows_nobody() {
    let servers = servers::<3>();
    let lock = voting(&servers).build().await.unwrap().create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    servers[1].pause();
    let mut times: Vec<_> = Vec::new();
    for _ in 0..11 {
        let started = Instant::now();
        let held = lock.acquire(LONG).await.unwrap();
        times.push(started.elapsed());
        drop(held);
    }
    times.sort();
    assert!(times[5] < Duration::from_millis(100), "{times:?}");
    servers[1].resume();
}

// rslock, redlock, async-redis-lock: an answer that came later than the lease was a success, for
// 2^64 ms in one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_after_the_lease_is_no_lock() {
    let servers = servers::<3>();
    let proxies = [0, 1, 2].map(|server: usize| Proxy::to(&servers[server]));
    let short = Duration::from_millis(200);
    let one = expiring(&proxies[0].url(), short).await;
    let builder = RedisLockProvider::builder().urls(proxies.iter().map(Proxy::url));
    let three = builder.expiry(short).build().await.unwrap();
    proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO, Duration::from_millis(350)));
    for provider in [one, three] {
        let lock = provider.create_lock("orders");
        let started = Instant::now();
        match lock.try_acquire().await {
            Ok(None) | Err(LockError::Timeout(_) | LockError::Connection(_)) => {}
            other => panic!("{other:?}"),
        }
        let error = lock.acquire(Some(short)).await.unwrap_err();
        assert!(started.elapsed() < 2 * SLACK, "{:?}: {error:?}", started.elapsed());
    }
    until_clean(&servers).await;
}

// rslock: leases of half a second were renewed each millisecond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_leases_are_renewed_at_a_third_of_their_length() {
    let server = Server::start();
    let ttl = Duration::from_millis(450);
    let provider = expiring(&server.url(), ttl).await;
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    server.reset_statistics();
    let started = Instant::now();
    sleep(2 * ttl).await;
    let most = started.elapsed().as_millis() / (ttl / 3).as_millis() + 1;
    let renewals = u128::from(scripts(&server));
    assert!((4..=most).contains(&renewals), "{renewals} of {most}");
    assert!(held.is_valid());
}

// redlock: its async acquisition blocked the runtime.
#[tokio::test]
async fn nothing_keeps_the_runtime_from_its_other_tasks() {
    let server = Server::start();
    let builder = RedisLockProvider::builder().url(server.url()).response_timeout(2 * QUIET);
    let lock = builder.build().await.unwrap().create_lock("orders");
    let ticker = tokio::spawn(async {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        loop {
            sleep(Duration::from_millis(5)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if longest > QUIET {
                return longest;
            }
        }
    });
    server.pause();
    lock.acquire(Some(2 * QUIET)).await.unwrap_err();
    server.resume();
    for _ in 0..50 {
        lock.acquire(LONG).await.unwrap().release().await.unwrap();
    }
    assert!(!ticker.is_finished(), "a stall of {:?}", ticker.await);
    ticker.abort();
}

// async-redis-lock: a short time-out was exceeded, and the lock stayed taken by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_came_too_late_is_undone() {
    let server = Server::start();
    let (proxy, limit) = (Proxy::to(&server), Duration::from_millis(100));
    let lock = provider(&server).await.create_lock("orders");
    let slow = RedisLockProvider::new(&proxy.url()).await.unwrap().create_lock("orders");
    proxy.delay(Duration::ZERO, Duration::from_millis(500));
    let started = Instant::now();
    assert!(slow.acquire(Some(limit)).await.unwrap_err().is_timeout());
    assert!(started.elapsed() < Duration::from_millis(450), "{:?}", started.elapsed());
    lock.acquire(Some(4 * QUIET)).await.unwrap().release().await.unwrap();
}

// async-redis-lock: a guard dropped as the last thing a program did stayed held for its lease.
#[test]
fn a_program_that_closes_its_provider_last_leaves_nothing() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lost = runtime.block_on(async {
        let provider = provider(&server).await;
        drop(provider.create_lock("dropped").acquire(LONG).await.unwrap());
        let held = provider.create_lock("held").acquire(LONG).await.unwrap();
        provider.close().await;
        held.lost_token().reason()
    });
    drop(runtime);
    assert_eq!(lost, Some(LossReason::Closed));
    assert_eq!(keys_left(&server), [""; 0]);
    eventually("nobody connected", || server.clients().is_empty().then_some(()));
}
