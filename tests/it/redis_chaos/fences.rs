//! Fencing tokens rise, whatever becomes of the counter.

use std::time::Duration;

use lock_tests::redis::{Server, ServerOptions};
use lock_tokio::prelude::*;
use lock_tokio::{LossReason, Renewal};

use super::{LONG, expiring, provider};

const FENCE: &str = "{orders}:dlock:fence";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fences_rise_through_every_loss_of_their_counter() {
    let server = Server::start();
    let remembering = ServerOptions::new().with_append_only().start();
    check_rises(&server, "release", || ()).await;
    check_rises(&server, "deletion", || drop(server.command(&["DEL", FENCE]).unwrap())).await;
    check_rises(&server, "eviction", || drop(server.command(&["UNLINK", FENCE]).unwrap())).await;
    check_rises(&server, "flush", || drop(server.command(&["FLUSHALL"]).unwrap())).await;
    check_rises(&server, "restart", || server.restart()).await;
    check_rises(&remembering, "restart with memory", || remembering.restart()).await;
    check_rises(&remembering, "restart without", || remembering.restart_empty()).await;
}

/// Takes the lock before and after `upset`, with plain commands, from the queue, and on a new
/// connection.
async fn check_rises(server: &Server, what: &str, upset: impl Fn()) {
    let (old, waiting) = (provider(server).await, provider(server).await);
    let mut last = 0;
    let mut check = |held: &LockHandle| {
        let fence = held.fence().unwrap();
        assert!(fence > last, "{what}: {fence} after {last}");
        last = fence;
    };
    for _ in 0..3 {
        let first = old.create_lock("orders").acquire(LONG).await.unwrap();
        check(&first);
        first.release().await.unwrap();
        upset();
        let second = old.create_lock("orders").acquire(LONG).await.unwrap();
        check(&second);
        let lock = waiting.create_lock("orders");
        let waiter = tokio::spawn(async move { lock.acquire(LONG).await.unwrap() });
        super::until_waiting(server, "orders", 1).await;
        second.release().await.unwrap();
        let third = waiter.await.unwrap();
        check(&third);
        third.release().await.unwrap();
        upset();
        let fourth = provider(server).await.create_lock("orders").acquire(LONG).await.unwrap();
        check(&fourth);
        fourth.release().await.unwrap();
    }
}

// A counter that went back to an older state, which is as plausible as the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_an_older_counter_mints_no_fence_twice() {
    let server = Server::start();
    let provider = provider(&server).await;
    let lock = provider.create_lock("orders");
    let mut last = 0;
    for _ in 0..3 {
        let old = server.command(&["DUMP", FENCE]).unwrap();
        for _ in 0..5 {
            let held = lock.acquire(LONG).await.unwrap();
            assert!(held.fence() > Some(last), "{:?} after {last}", held.fence());
            last = held.fence().unwrap();
            held.release().await.unwrap();
        }
        server.restart();
        if let redis::Value::BulkString(dump) = old {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(FENCE).arg(0).arg(dump);
            restore.exec(&mut server.connection().unwrap()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fences_rise_when_a_lease_runs_out() {
    let server = Server::start();
    let short = expiring(&server.url(), Duration::from_millis(200)).await;
    let lock = short.create_lock("orders");
    let (mut last, waiter) = (None, provider(&server).await.create_lock("orders"));
    for _ in 0..3 {
        let options = AcquireOptions::new().with_renewal(Renewal::Off);
        let first = lock.acquire_with(options).await.unwrap();
        let second = waiter.acquire(LONG).await.unwrap();
        assert!(last < first.fence() && first.fence() < second.fence());
        last = second.fence();
        assert_eq!(first.lost_token().changed().await, LossReason::Expired);
        second.release().await.unwrap();
    }
}
