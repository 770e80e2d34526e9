//! Many waiters, many locks, and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;
use lock_tests::redis::{Server, eventually};
use lock_tokio::prelude::*;
use lock_tokio::{Lock, LossReason};
use tokio::task::JoinSet;

use super::{LONG, PATIENCE, REFRESH, keys_left, provider};

const CROWD: usize = 1000;
const LOCKS: usize = 10_000;

/// Who was served, in order, with the fences.
type Order = Arc<Mutex<Vec<(usize, u64)>>>;

/// Puts a crowd in the server's queue of `lock`, where each has a place since it has a name; each
/// notes when it was let in, and leaves.
fn crowd(lock: &Lock, size: usize) -> (JoinSet<()>, Order) {
    let (mut crowd, order) = (JoinSet::new(), Order::default());
    for number in 0..size {
        let (lock, order) = (lock.clone(), Arc::clone(&order));
        let mut turn = Box::pin(async move {
            let options = AcquireOptions::new().with_owner(&format!("number {number}"));
            let held = lock.acquire_with(options).await.unwrap();
            order.lock().unwrap().push((number, held.fence().unwrap()));
            held.release().await.unwrap();
        });
        assert!(futures_lite::future::block_on(poll_once(&mut turn)).is_none());
        crowd.spawn(turn);
    }
    (crowd, order)
}

/// Checks that exactly those were served that should have been, in their order.
fn check_order(order: &Order, expected: &[usize]) {
    let order = order.lock().unwrap();
    let numbers: Vec<_> = order.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, expected);
    assert!(order.is_sorted_by_key(|(_, fence)| fence));
}

/// The numbers of a crowd of `size` in the order of the server's queue, once all are in it. Who
/// finds others waiting asks for a place at once, and so before some that came a moment earlier.
async fn queued(server: &Server, size: usize) -> Vec<usize> {
    super::until_waiting(server, "orders", size).await;
    let places = super::places(server, "orders");
    let numbers: Vec<usize> = places
        .iter()
        .map(|token| token.strip_prefix("number ").unwrap().split_once('@').unwrap())
        .map(|(number, _)| number.parse().unwrap())
        .collect();
    let everybody: BTreeSet<_> = numbers.iter().copied().collect();
    assert!(everybody.into_iter().eq(0..size), "{numbers:?}");
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_are_served_once_each_and_in_order() {
    let server = Server::start();
    let (here, there) = (provider(&server).await, provider(&server).await);
    let held = there.create_lock("orders").acquire(LONG).await.unwrap();
    let came = Instant::now();
    let (crowd, order) = crowd(&here.create_lock("orders"), CROWD);
    let numbers = queued(&server, CROWD).await;
    server.reset_statistics();
    held.release().await.unwrap();
    crowd.join_all().await;
    check_order(&order, &numbers);
    let sent = server.commands_sent();
    // Everybody claims, releases, and says once a second at most that it is still there.
    let seconds = came.elapsed().as_secs() as usize + 2;
    let most = CROWD * (2 + seconds);
    assert!(count(&sent, "evalsha") <= most, "{} of {most}", count(&sent, "evalsha"));
    assert_eq!(count(&sent, "publish"), CROWD);
    assert_eq!(server.clients().len(), 2);
    here.close().await;
    assert_eq!(keys_left(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_is_a_release_a_message_and_a_claim() {
    const SIZE: usize = 20;
    let server = Server::start();
    let (here, there) = (provider(&server).await, provider(&server).await);
    let (lock, other) = (here.create_lock("orders"), there.create_lock("orders"));
    for attempt in 0.. {
        let held = other.acquire(LONG).await.unwrap();
        let came = Instant::now();
        let (crowd, order) = crowd(&lock, SIZE);
        let numbers = queued(&server, SIZE).await;
        server.reset_statistics();
        held.release().await.unwrap();
        crowd.join_all().await;
        check_order(&order, &numbers);
        let mut sent = server.commands_sent();
        sent.remove("zcard");
        // A waiter that had to wait for long has said that it is still there.
        if came.elapsed() < REFRESH * 9 / 10 {
            // The first of all did not know that anybody waits, and those that had the lock for
            // long have claimed it.
            let asked = count(&sent, "evalsha");
            assert!((SIZE + 2..=2 * SIZE + 2).contains(&asked), "{sent:?}");
            assert_eq!(count(&sent, "publish"), SIZE, "{sent:?}");
            break;
        }
        assert!(attempt < 20, "the machine is too slow for this test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_of_one_process_trouble_the_server_like_one() {
    let server = Server::start();
    let (here, there) = (provider(&server).await, provider(&server).await);
    let held = there.create_lock("orders").acquire(LONG).await.unwrap();
    let lock = here.create_lock("orders");
    let order = Order::default();
    let mut tasks = JoinSet::new();
    for number in 0..CROWD {
        let (lock, order) = (lock.clone(), Arc::clone(&order));
        let mut turn = Box::pin(async move {
            let held = lock.acquire(None).await.unwrap();
            order.lock().unwrap().push((number, held.fence().unwrap()));
            held.release().await.unwrap();
        });
        assert!(poll_once(&mut turn).await.is_none());
        tasks.spawn(turn);
    }
    super::until_waiting(&server, "orders", 1).await;
    assert_eq!(lock.info().await.unwrap().waiters, Some(CROWD));
    let listed = here.list().await.unwrap();
    assert_eq!(listed[0].waiters, Some(CROWD));
    server.reset_statistics();
    held.release().await.unwrap();
    tasks.join_all().await;
    check_order(&order, &(0..CROWD).collect::<Vec<_>>());
    let sent = server.commands_sent();
    // One grant is for as many as it has fences, unless the machine is so slow that time is up.
    assert!(count(&sent, "evalsha") < CROWD, "{sent:?}");
    assert_eq!(count(&sent, "publish"), 1, "{sent:?}");
    here.close().await;
    assert_eq!(keys_left(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncontended_cycle_is_two_writes_and_publishes_nothing() {
    let server = Server::start();
    // The server reads the end of a connection as well, so none ends meanwhile.
    let mut providers = Vec::new();
    for fencing in [true, false] {
        let builder = RedisLockProvider::builder().url(server.url()).fencing(fencing);
        let provider = builder.build().await.unwrap();
        let lock = provider.create_lock("orders");
        providers.push(provider);
        for first in [true, false] {
            server.reset_statistics();
            let before = reads(&server);
            let held = lock.acquire(LONG).await.unwrap();
            assert_eq!(held.fence().is_some(), fencing);
            held.release().await.unwrap();
            // The question itself is read as well.
            assert_eq!(reads(&server) - before - 1, 2, "fencing: {fencing}, first: {first}");
            let sent = server.commands_sent();
            let known = ["set", "incr", "evalsha", "publish", "subscribe"];
            let counts = known.map(|name| count(&sent, name));
            match (fencing, first) {
                // The first fence of a connection is minted by a script, which sets the counter.
                (true, true) => assert_eq!(counts, [2, 0, 2, 0, 0], "{sent:?}"),
                (true, false) => assert_eq!(counts, [1, 1, 1, 0, 0], "{sent:?}"),
                (false, _) => assert_eq!(counts, [1, 0, 1, 0, 0], "{sent:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_waiters_send_two_commands_a_second_at_most() {
    const WAITERS: usize = 8;
    let server = Server::start();
    let (here, there) = (provider(&server).await, provider(&server).await);
    let held = there.create_lock("orders").acquire(LONG).await.unwrap();
    let (crowd, order) = crowd(&here.create_lock("orders"), WAITERS);
    let numbers = queued(&server, WAITERS).await;
    server.reset_statistics();
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent = server.commands_sent();
    let most = (2.0 * started.elapsed().as_secs_f64()).ceil() as usize * WAITERS;
    assert!(count(&sent, "evalsha") <= most, "{sent:?}");
    for absent in ["ping", "publish", "subscribe", "eval", "script|load", "client|setinfo"] {
        assert_eq!(count(&sent, absent), 0, "{sent:?}");
    }
    held.release().await.unwrap();
    crowd.join_all().await;
    check_order(&order, &numbers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_somebody_has_just_waited_the_next_asks_for_a_place_at_once() {
    let server = Server::start();
    let (here, there) = (provider(&server).await, provider(&server).await);
    let held = there.create_lock("orders").acquire(LONG).await.unwrap();
    let lock = here.create_lock("orders");
    // Who has a name asks the server for itself.
    let wait_as = |name| {
        let (lock, options) = (lock.clone(), AcquireOptions::new().with_owner(name));
        tokio::spawn(async move { lock.acquire_with(options).await.map(drop) })
    };
    let mut waited = Instant::now();
    for attempt in 0.. {
        let first = wait_as("first");
        super::until_waiting(&server, "orders", 1).await;
        // What the first was answered has come before what is answered later.
        lock.info().await.unwrap();
        waited = Instant::now();
        server.reset_statistics();
        let second = wait_as("second");
        super::until_waiting(&server, "orders", 2).await;
        let sent = server.commands_sent();
        for waiter in [first, second] {
            waiter.abort();
            assert!(waiter.await.unwrap_err().is_cancelled());
        }
        if waited.elapsed() < Duration::from_millis(50) {
            assert_eq!(count(&sent, "set"), 0, "{sent:?}");
            break;
        }
        super::until_waiting(&server, "orders", 0).await;
        assert!(attempt < 20, "the machine is too slow for this test");
    }
    held.release().await.unwrap();
    // And once nobody has waited for a while, with plain commands again: no script makes a place.
    let quiet = Instant::now();
    loop {
        server.reset_statistics();
        lock.acquire(LONG).await.unwrap().release().await.unwrap();
        if count(&server.commands_sent(), "zadd") == 0 {
            break;
        }
        assert!(quiet.elapsed() < PATIENCE, "it stands in the queue for ever");
    }
    assert!(waited.elapsed() >= Duration::from_millis(90), "it is not the same as never");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_locks_are_renewed_over_one_connection() {
    let server = Server::start();
    let builder = RedisLockProvider::builder().url(server.url()).expiry(Duration::from_secs(12));
    let provider = builder.extension_cadence(Duration::from_secs(1)).build().await.unwrap();
    let mut acquiring = JoinSet::new();
    for number in 0..LOCKS {
        let lock = provider.create_lock(&format!("lock {number}"));
        acquiring.spawn(async move { lock.acquire(LONG).await.unwrap() });
    }
    let held = acquiring.join_all().await;
    assert_eq!(keys_left(&server).len(), LOCKS);
    server.reset_statistics();
    eventually("everything renewed twice", || {
        (count(&server.commands_sent(), "evalsha") >= 2 * LOCKS).then_some(())
    });
    for held in &held {
        assert!(held.is_valid() && !held.lost_token().is_lost());
    }
    assert_eq!(server.clients().len(), 1);
    provider.close().await;
    assert_eq!(keys_left(&server), [""; 0]);
    assert!(held.iter().all(|held| held.lost_token().reason() == Some(LossReason::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_twenty_thousand_locks_is_closed_before_it_gives_up_on_any() {
    let server = Server::start();
    let provider = provider(&server).await;
    let acquire = |number| {
        let lock = provider.create_lock(&format!("lock {number}"));
        async move { lock.acquire(LONG).await.unwrap() }
    };
    let held = (0..2 * LOCKS).map(acquire).collect::<JoinSet<_>>().join_all().await;
    provider.close().await;
    assert_eq!(keys_left(&server), [""; 0]);
    assert_eq!(held.len(), 2 * LOCKS);
}

fn count(sent: &BTreeMap<String, u64>, name: &str) -> usize {
    sent.get(name).copied().unwrap_or(0) as usize
}

/// How often the server has read from its clients.
fn reads(server: &Server) -> u64 {
    server.info("stats")["total_reads_processed"].parse().unwrap()
}
