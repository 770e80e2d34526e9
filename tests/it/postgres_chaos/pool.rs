//! How many connections there are, and what they bear.

use std::time::Duration;

use async_std::task;
use lock_tests::postgres::{PostgresOptions, PostgresServer};
use lock_tests::redis::Mode;
use lock_tokio::prelude::*;
use lock_tokio::{LossReason, PostgresLockProviderBuilder};
use tokio::task::JoinSet;

use super::{LONG, SLACK, arguments, foreigner, give_back, tests, until, until_none_left, within};

const LOCKS: usize = 10_000;

fn builder(url: &str, connections: usize) -> PostgresLockProviderBuilder {
    PostgresLockProvider::builder().url(url).max_connections(connections)
}

async fn a_thousand_rounds_use_one_connection() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let provider = super::provider(&proxy.url()).await;
    for round in 0..1000 {
        let lock = provider.create_lock(&format!("orders {}", round % 7));
        lock.acquire(LONG).await.unwrap().release().await.unwrap();
    }
    assert_eq!((proxy.accepted(), server.backends().len()), (1, 1));
    assert_eq!(server.advisory_locks(), []);
}

/// Whoever finds its lock taken waits beside the first connection, and gives its own back.
async fn a_thousand_contended_rounds_use_a_handful_of_connections() {
    const TASKS: usize = 10;
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let (here, there) = (super::provider(&proxy.url()).await, super::provider(&proxy.url()).await);
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let provider = if number % 2 == 0 { &here } else { &there };
            let lock = provider.create_lock(&format!("orders {}", number % 3));
            task::spawn(async move {
                for _ in 0..1000 / TASKS {
                    lock.acquire(LONG).await.unwrap().release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        within("all rounds", LONG.unwrap(), task).await;
    }
    // One to share, and one for each of the three locks that somebody waits for.
    assert!(proxy.accepted() <= 2 * 4, "{}", proxy.accepted());
    assert_eq!(server.advisory_locks(), []);
}

async fn a_pool_of_one_connection_serves_twenty_names() {
    const NAMES: usize = 20;
    let server = PostgresServer::start();
    let (here, there) = (server.proxy(), server.proxy());
    let providers = [
        builder(&here.url(), 1).build().await.unwrap(),
        builder(&there.url(), 1).build().await.unwrap(),
    ];
    let mut tasks = Vec::new();
    for number in 0..NAMES {
        for provider in &providers {
            let lock = provider.create_lock(&format!("orders {number}"));
            tasks.push(task::spawn(async move {
                for round in 0..3 {
                    let held = lock.acquire(LONG).await.unwrap();
                    task::sleep(Duration::from_millis(2)).await;
                    assert!(held.is_valid());
                    if round == 1 {
                        drop(held);
                    } else {
                        held.release().await.unwrap();
                    }
                    if let Some(held) = lock.try_acquire().await.unwrap() {
                        held.release().await.unwrap();
                    }
                }
            }));
        }
    }
    for task in tasks {
        within("its rounds", LONG.unwrap(), task).await;
    }
    until_none_left(&server).await;
    assert_eq!((here.accepted(), there.accepted()), (1, 1));
}

async fn a_hundred_waiters_keep_to_the_bound_and_all_get_in() {
    const WAITERS: usize = 100;
    const CONNECTIONS: usize = 4;
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let provider = builder(&proxy.url(), CONNECTIONS).build().await.unwrap();
    let names: Vec<_> = (0..WAITERS).map(|number| format!("orders {number}")).collect();
    let psql = server.session();
    for name in &names {
        psql.ask(&format!("SELECT pg_advisory_lock({})", arguments(name))).unwrap();
    }
    let waiting: Vec<_> = names
        .iter()
        .map(|name| {
            let lock = provider.create_lock(name);
            task::spawn(async move { lock.acquire(LONG).await })
        })
        .collect();
    let waits = || server.advisory_locks().iter().filter(|lock| !lock.granted).count();
    // One is left for those that need not wait.
    until("all places are taken", || waits() == CONNECTIONS - 1).await;
    let free = provider.create_lock("free").try_acquire().await.unwrap().expect("it is free");
    task::sleep(Duration::from_millis(300)).await;
    assert!(waits() < CONNECTIONS);
    free.release().await.unwrap();
    psql.ask("SELECT pg_advisory_unlock_all()").unwrap();
    let mut held = Vec::new();
    for waiting in waiting {
        held.push(within("a lock", LONG.unwrap(), waiting).await.unwrap());
    }
    assert!(held.iter().all(LockHandle::is_valid));
    drop(held);
    until_none_left(&server).await;
    assert!(proxy.accepted() <= CONNECTIONS as u64, "{}", proxy.accepted());
}

async fn locks_with_a_connection_each_wait_for_one() {
    let server = PostgresServer::start();
    let proxies = [server.proxy(), server.proxy()];
    for (proxy, scope) in proxies.iter().zip([true, false]) {
        let builder = builder(&proxy.url(), 2).use_multiplexing(false);
        let provider = builder.use_transaction_scope(scope).build().await.unwrap();
        let first = provider.create_lock("first").acquire(LONG).await.unwrap();
        let second = provider.create_lock("second").acquire(LONG).await.unwrap();
        let third = provider.create_lock("third");
        let error = third.try_acquire().await.unwrap_err();
        assert!(matches!(error, LockError::Connection(_)), "{error:?}");
        assert!(error.to_string().contains("max_connections"), "{error}");
        let limit = Duration::from_millis(200);
        let error = third.acquire(Some(limit)).await.unwrap_err();
        assert!(matches!(error, LockError::Timeout(_) | LockError::Connection(_)), "{error:?}");
        let waiting = task::spawn(async move { third.acquire(LONG).await });
        task::sleep(Duration::from_millis(50)).await;
        first.release().await.unwrap();
        let third = within("a connection", Duration::ZERO, waiting).await.unwrap();
        second.release().await.unwrap();
        third.release().await.unwrap();
        assert!(proxy.accepted() <= 2);
    }
    until_none_left(&server).await;
}

/// Each try is answered, however many there are beside it.
async fn tries_at_the_same_time_are_in_nobodys_way() {
    const TRIES: usize = 40;
    let server = PostgresServer::start();
    for connections in [1, 2, 16] {
        let provider = builder(&server.url(), connections).build().await.unwrap();
        let (lock, semaphore) =
            (provider.create_lock("orders"), provider.create_semaphore("permits", 10));
        let tries = (0..TRIES).map(|_| {
            let (lock, semaphore) = (lock.clone(), semaphore.clone());
            task::spawn(async move {
                (lock.try_acquire().await.unwrap(), semaphore.try_acquire().await.unwrap())
            })
        });
        let (mut locks, mut permits) = (Vec::new(), Vec::new());
        for tried in tries.collect::<Vec<_>>() {
            let (lock, permit) = tried.await;
            locks.extend(lock);
            permits.extend(permit);
        }
        assert_eq!((locks.len(), permits.len()), (1, 10), "{connections}");
        assert!(lock.try_acquire().await.unwrap().is_none(), "{connections}");
        assert!(semaphore.try_acquire().await.unwrap().is_none(), "{connections}");
        drop((locks, permits));
        provider.close().await;
        until_none_left(&server).await;
    }
}

/// The connections are fewer than the readers, and one of them has to stay outside. The rest is left
/// to those that wait, of whom some got a hundredth of the others' turns.
async fn readers_that_come_at_the_same_time_are_all_let_in() {
    const READERS: usize = 40;
    let server = PostgresServer::start();
    for connections in [2, 16] {
        let provider = builder(&server.url(), connections).build().await.unwrap();
        let lock = provider.create_reader_writer_lock("orders");
        let readers = (0..READERS).map(|reader| {
            let lock = lock.clone();
            task::spawn(async move {
                if reader % 2 == 0 {
                    lock.try_acquire_read().await.unwrap().expect("nobody writes")
                } else {
                    lock.acquire_read(LONG).await.unwrap()
                }
            })
        });
        let mut held = Vec::new();
        for reader in readers.collect::<Vec<_>>() {
            held.push(within("a share", SLACK, reader).await);
        }
        assert!(held.iter().all(LockHandle::is_valid));
        assert!(server.backends().len() <= 3, "{:?}", server.backends());
        assert!(lock.try_acquire_write().await.unwrap().is_none());
        drop(held);
        provider.close().await;
        until_none_left(&server).await;
    }
}

/// A question that came to a connection after a wait would have its answer when that ends.
async fn who_asks_never_waits_behind_who_waits() {
    const ROUNDS: usize = 1_000;
    let server = PostgresServer::start();
    let foreigner = foreigner(&server, "orders");
    let provider = builder(&server.url(), 1).use_multiplexing(false).build().await.unwrap();
    let lock = provider.create_lock("orders");
    for _ in 0..ROUNDS {
        let waiter = lock.clone();
        let waiting = task::spawn(async move { waiter.acquire(LONG).await });
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let lock = lock.clone();
                // The only connection may be taken by the wait, which is an answer as well.
                task::spawn(async move { drop(lock.info().await) })
            })
            .collect();
        for asking in asking {
            within("an answer", SLACK, asking).await;
        }
        drop(waiting.cancel().await);
    }
    give_back(&foreigner, "orders");
}

async fn idle_connections_are_closed_and_opened_again() {
    let server = PostgresServer::start();
    let idle = Duration::from_millis(200);
    let provider = builder(&server.url(), 4).idle_timeout(idle).build().await.unwrap();
    let lock = provider.create_lock("orders");
    for _ in 0..3 {
        let held = lock.acquire(LONG).await.unwrap();
        task::sleep(2 * idle).await;
        assert_eq!(server.backends().len(), 1);
        held.release().await.unwrap();
        until("no connection is left", || server.backends().is_empty()).await;
    }
}

/// A connection that is still being opened has nobody to close it for being idle.
async fn a_slow_connection_outlasts_a_short_idle_time() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    proxy.set(Mode::HoldAnswers);
    let idle = Duration::from_millis(100);
    let builder = builder(&proxy.url(), 4).idle_timeout(idle);
    let building = task::spawn(builder.build());
    task::sleep(4 * idle).await;
    proxy.set(Mode::Pass);
    let provider = building.await.unwrap();
    provider.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
}

async fn a_handle_keeps_what_it_needs_and_the_last_one_closes_everything() {
    let server = PostgresServer::start();
    let provider = super::provider(&server.url()).await;
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    let waiter = provider.create_lock("orders");
    let waiting = task::spawn(async move { waiter.acquire(LONG).await });
    drop(provider);
    task::sleep(Duration::from_millis(50)).await;
    assert!(held.is_valid());
    held.release().await.unwrap();
    drop(waiting.await.unwrap());
    until("no connection is left", || server.backends().is_empty()).await;
}

tests!(
    tokio:
        a_handle_keeps_what_it_needs_and_the_last_one_closes_everything,
        a_hundred_waiters_keep_to_the_bound_and_all_get_in,
        a_pool_of_one_connection_serves_twenty_names,
        a_slow_connection_outlasts_a_short_idle_time,
        a_thousand_contended_rounds_use_a_handful_of_connections,
        a_thousand_rounds_use_one_connection,
        idle_connections_are_closed_and_opened_again,
        locks_with_a_connection_each_wait_for_one,
        readers_that_come_at_the_same_time_are_all_let_in,
        tries_at_the_same_time_are_in_nobodys_way,
        who_asks_never_waits_behind_who_waits;
    async_std:
        a_handle_keeps_what_it_needs_and_the_last_one_closes_everything,
        a_pool_of_one_connection_serves_twenty_names,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_locks_are_held_over_one_connection() {
    let server = PostgresOptions::new().with_line("max_locks_per_transaction = 256").start();
    let provider = super::provider(&server.url()).await;
    let mut acquiring = JoinSet::new();
    for number in 0..LOCKS {
        let lock = provider.create_lock(&format!("lock {number}"));
        acquiring.spawn(async move { lock.acquire(LONG).await.unwrap() });
    }
    let held = acquiring.join_all().await;
    assert_eq!(server.advisory_locks().len(), LOCKS);
    assert_eq!(server.backends().len(), 1);
    assert!(held.iter().all(LockHandle::is_valid));
    let again = provider.create_lock("lock 17").try_acquire().await.unwrap();
    assert!(again.is_none());
    provider.close().await;
    until_none_left(&server).await;
    assert!(held.iter().all(|held| held.lost_token().reason() == Some(LossReason::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_another_lock_says_what_to_raise() {
    let server = PostgresOptions::new()
        .with_max_connections(10)
        .with_line("max_locks_per_transaction = 10")
        .start();
    let provider = super::provider(&server.url()).await;
    let mut held = Vec::new();
    let error = loop {
        let lock = provider.create_lock(&format!("lock {}", held.len()));
        match lock.acquire(LONG).await {
            Ok(handle) => held.push(handle),
            Err(error) => break error,
        }
        assert!(held.len() < LOCKS, "it has room for everything");
    };
    assert!(matches!(error, LockError::Backend(_)), "{error:?}");
    assert!(error.to_string().contains("max_locks_per_transaction"), "{error}");
    assert!(held.iter().all(LockHandle::is_valid));
    assert_eq!(server.advisory_locks().len(), held.len());
    // Waits have no room either, and neither have permits.
    let error = provider.create_semaphore("permits", 1).acquire(Some(SLACK)).await.unwrap_err();
    assert!(error.to_string().contains("max_locks_per_transaction"), "{error}");

    let rest = held.split_off(held.len() / 2);
    for handle in rest {
        handle.release().await.unwrap();
    }
    let lock = provider.create_lock("late");
    let late = lock.acquire(LONG).await.unwrap();
    let waiting = task::spawn(async move { lock.acquire(LONG).await });
    drop(held);
    late.release().await.unwrap();
    waiting.await.unwrap().release().await.unwrap();
    until_none_left(&server).await;
    assert!(server.backends().len() <= 2);
}
