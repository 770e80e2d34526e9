//! Several servers that vote, some of which fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lock_tests::redis::{Server, ServerOptions};
use lock_tokio::LossReason;
use lock_tokio::prelude::*;
use tokio::time::timeout;

use super::{LONG, Room, SLACK, keys_left};

fn servers<const N: usize>() -> [Server; N] {
    [(); N].map(|()| ServerOptions::new().with_append_only().start())
}

async fn provider(servers: &[Server], expiry: Duration) -> RedisLockProvider {
    let builder = RedisLockProvider::builder().urls(servers.iter().map(Server::url));
    let builder = builder.response_timeout(Duration::from_millis(500));
    builder.expiry(expiry).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_that_fails_is_no_trouble() {
    for fail in [Server::kill, Server::pause] {
        let servers = servers::<3>();
        let provider = provider(&servers, Duration::from_secs(1)).await;
        let lock = provider.create_lock("orders");
        let held = lock.acquire(LONG).await.unwrap();
        fail(&servers[0]);
        // Through some renewals.
        let past = held.lost_token();
        let lost = timeout(Duration::from_secs(2), past.changed()).await;
        assert!(lost.is_err(), "{lost:?}");
        assert!(held.is_valid());
        let fence = held.fence();
        let releasing = tokio::spawn(held.release());
        let next = lock.acquire(LONG).await.unwrap();
        assert!(next.fence() > fence);
        drop((next, releasing));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_majority_fails_learns_of_its_loss_at_the_deadline() {
    for fail in [Server::kill, Server::pause] {
        let servers = servers::<3>();
        let provider = provider(&servers, Duration::from_secs(1)).await;
        let lock = provider.create_lock("orders");
        let held = lock.acquire(LONG).await.unwrap();
        let fence = held.fence();
        fail(&servers[0]);
        fail(&servers[2]);
        let (failed, remaining) = (Instant::now(), held.remaining().unwrap());
        let reason = timeout(remaining + SLACK, held.lost_token().changed()).await.unwrap();
        assert_eq!(reason, LossReason::Expired);
        assert!(failed.elapsed() >= remaining, "{:?} of {remaining:?}", failed.elapsed());
        let limit = Duration::from_millis(700);
        let (started, outcome) = (Instant::now(), lock.acquire(Some(limit)).await);
        assert!(started.elapsed() < limit + SLACK, "{:?}", started.elapsed());
        let error = outcome.unwrap_err();
        assert!(matches!(error, LockError::Connection(_) | LockError::Timeout(_)), "{error:?}");
        drop(held);
        for server in [&servers[0], &servers[2]] {
            if server.is_running() { server.resume() } else { server.restart() }
        }
        let (back, next) = (Instant::now(), lock.acquire(LONG).await.unwrap());
        assert!(back.elapsed() < 3 * SLACK, "{:?}", back.elapsed());
        assert!(next.fence() > fence);
        next.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_fail_one_after_another_let_never_two_in() {
    let servers = Arc::new(servers::<3>());
    let providers = [
        provider(&*servers, Duration::from_secs(30)).await,
        provider(&*servers, Duration::from_secs(30)).await,
    ];
    let (room, done) = (Arc::new(Room::default()), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let lock = providers[number % 2].create_lock("orders");
            let (room, done) = (Arc::clone(&room), Arc::clone(&done));
            tokio::spawn(async move {
                let mut turns = 0;
                while turns < 2 || !done.load(Ordering::SeqCst) {
                    let held = lock.acquire(LONG).await.unwrap();
                    room.visit().await;
                    held.release().await.unwrap();
                    turns += 1;
                }
                turns
            })
        })
        .collect();
    for round in 0..6 {
        let server = &servers[round % 3];
        match round / 2 {
            0 => server.restart(),
            1 => {
                server.pause();
                tokio::time::sleep(Duration::from_millis(100)).await;
                server.resume();
            }
            _ => {
                server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
                server.command(&["SCRIPT", "FLUSH"]).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut turns = 0;
    for task in tasks {
        turns += task.await.unwrap();
    }
    assert_eq!(room.visits(), turns);
    for provider in providers {
        provider.close().await;
    }
    for server in &*servers {
        assert_eq!(keys_left(server), [""; 0]);
    }
}
