//! Networks that swallow everything or end what is idle, and processes that are killed or stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_std::task;
use lock_tests::postgres::{PgBouncer, PoolMode, PostgresServer};
use lock_tests::redis::eventually;
use lock_tokio::LossReason;
use lock_tokio::prelude::*;

use super::{
    LONG, SLACK, foreigner, give_back, holder, tests, until, until_none_left, until_waiting,
    waiters, within,
};
use crate::worker::Worker;

/// Both sides are to notice within [`CUT`] that the other is gone.
const KEEPALIVE: &str =
    "?keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=1500";
const CUT: Duration = Duration::from_secs(2);
/// A session that waits for a lock finds out when it looks, or is let in.
const CHECK: Duration = Duration::from_millis(1500);

async fn a_network_that_is_cut_is_noticed_by_both_sides() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let provider = super::provider(&(proxy.url() + KEEPALIVE)).await;
    let held = provider.create_lock("held").acquire(LONG).await.unwrap();
    let other = foreigner(&server, "wanted");
    let wanted = provider.create_lock("wanted");
    let waiting = task::spawn(async move { wanted.acquire(LONG).await });
    until_waiting(&server, "wanted", 1).await;
    let before = waiters(&server, "wanted");

    proxy.unplug();
    let cut = Instant::now();
    let reason = within("the loss", CUT + SLACK, held.lost_token().changed()).await;
    assert_eq!(reason, LossReason::Disconnected);
    assert!(!held.is_valid());
    // What was shut in there is free again when the server has noticed as well.
    let again = provider.create_lock("held").acquire(LONG).await.unwrap();
    assert!(cut.elapsed() < CUT + 3 * SLACK, "{:?}", cut.elapsed());
    again.release().await.unwrap();
    until("it waits on another session", || {
        waiters(&server, "wanted").iter().any(|pid| !before.contains(pid))
    })
    .await;
    give_back(&other, "wanted");
    let next = within("the lock", CUT + CHECK, waiting).await.unwrap();
    assert!(next.is_valid());
    next.release().await.unwrap();
    until_none_left(&server).await;
}

async fn what_is_asked_meanwhile_ends_in_time_or_gets_through_later() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let provider = super::provider(&(proxy.url() + KEEPALIVE)).await;
    provider.create_lock("first").acquire(LONG).await.unwrap().release().await.unwrap();
    proxy.unplug();
    let cut = Instant::now();
    let limit = Duration::from_millis(600);
    let error = provider.create_lock("second").acquire(Some(limit)).await.unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    assert!(cut.elapsed() < limit + SLACK, "{:?}", cut.elapsed());
    let held = provider.create_lock("third").acquire(LONG).await.unwrap();
    assert!(cut.elapsed() < CUT + SLACK, "{:?}", cut.elapsed());
    held.release().await.unwrap();
    until_none_left(&server).await;
}

tests!(
    tokio:
        a_network_that_is_cut_is_noticed_by_both_sides,
        a_lock_that_is_spoken_for_outlives_whoever_ends_what_is_idle,
        what_is_asked_meanwhile_ends_in_time_or_gets_through_later;
    async_std:
        a_network_that_is_cut_is_noticed_by_both_sides,
);

#[test]
fn the_lock_of_a_killed_process_is_free_at_once() {
    let server = PostgresServer::start();
    let mut workers = [(); 3].map(|()| worker(&(server.url() + KEEPALIVE)));
    let [holder, waiter, next] = &mut workers;
    for what in ["lock - orders", "read - reports", "2/2 - permits"] {
        holder.hold(what);
    }
    waiter.tell("acquire lock - orders");
    eventually("a waiter", || (waiters(&server, "orders").len() == 1).then_some(()));
    next.tell("acquire lock - orders");
    eventually("two waiters", || (waiters(&server, "orders").len() == 2).then_some(()));
    let [holder, waiter, mut next] = workers;
    waiter.kill();
    eventually("one waiter", || (waiters(&server, "orders").len() == 1).then_some(()));
    holder.kill();
    let killed = Instant::now();
    next.held();
    next.hold("write - reports");
    next.hold("2/2 - permits");
    assert!(killed.elapsed() < SLACK, "{:?}", killed.elapsed());
}

#[test]
fn a_process_that_ends_without_a_release_blocks_nobody() {
    let server = PostgresServer::start();
    let (mut holder, mut next) = (worker(&server.url()), worker(&server.url()));
    holder.hold("lock - orders");
    holder.tell("exit");
    holder.finish();
    let ended = Instant::now();
    next.hold("lock - orders");
    assert!(ended.elapsed() < SLACK, "{:?}", ended.elapsed());
}

#[test]
fn a_stopped_process_keeps_its_lock_as_long_as_its_network_answers() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let mut stopped = worker(&(proxy.url() + KEEPALIVE));
    let mut next = worker(&server.url());
    stopped.hold("lock - orders");
    stopped.stop();
    // Its kernel answers the server's probes.
    let limit = CUT + CHECK / 2;
    assert_eq!(next.ask(&format!("acquire lock {} orders", limit.as_millis())), "busy");
    proxy.unplug();
    let cut = Instant::now();
    next.hold("lock - orders");
    assert!(cut.elapsed() < CUT + SLACK, "{:?}", cut.elapsed());
    stopped.resume();
    assert_eq!(stopped.ask("lost 10000"), "lost Disconnected");
    assert_eq!(stopped.ask("status"), "invalid Some(0ns)");
    stopped.refuses("release", "LockLost", "session");
    assert!(next.ask("status").starts_with("valid"));
}

/// Ends sessions that have been silent for half a second, as some firewalls and some administrators
/// do, until it is dropped.
struct IdleKiller {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl IdleKiller {
    fn begin(server: &PostgresServer) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, session) = (Arc::clone(&over), server.session());
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                session.ask(END_IDLE).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for IdleKiller {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

const END_IDLE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE state LIKE 'idle%' AND application_name LIKE 'dlock%' \
                        AND state_change < clock_timestamp() - interval '500 ms'";

async fn a_lock_that_is_spoken_for_outlives_whoever_ends_what_is_idle() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Transaction, 5);
    let cadence = Duration::from_millis(100);
    let spoken = |url| PostgresLockProvider::builder().url(url).keepalive_cadence(cadence);
    let silent = super::provider(&server.url()).await;
    let providers = [
        spoken(server.url()).build().await.unwrap(),
        spoken(server.url()).use_transaction_scope(true).build().await.unwrap(),
        spoken(pool.url()).use_transaction_scope(true).build().await.unwrap(),
    ];
    let other = foreigner(&server, "wanted");
    let waiter = providers[0].create_lock("wanted");
    let _killer = IdleKiller::begin(&server);
    let waiting = task::spawn(async move { waiter.acquire(LONG).await });
    let mut held = Vec::new();
    for (number, provider) in providers.iter().enumerate() {
        held.push(provider.create_lock(&format!("{number}")).acquire(LONG).await.unwrap());
    }
    let lost = silent.create_lock("silent").acquire(LONG).await.unwrap();
    let reason = within("the loss", SLACK, lost.lost_token().changed()).await;
    assert_eq!(reason, LossReason::Disconnected);
    task::sleep(Duration::from_secs(1)).await;
    for held in held {
        assert!(held.is_valid() && !held.lost_token().is_lost());
        held.release().await.unwrap();
    }
    give_back(&other, "wanted");
    waiting.await.unwrap().release().await.unwrap();
    until_none_left(&server).await;
}

fn worker(url: &str) -> Worker {
    let mut worker = Worker::start();
    assert_eq!(worker.ask(&format!("open-postgres {url}")), "opened");
    worker
}

/// Settings of the server that would end what holds a lock are overruled.
#[test]
fn time_outs_of_the_server_are_not_those_of_a_lock() {
    let server = PostgresServer::start();
    for setting in [
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
        "statement_timeout",
        "lock_timeout",
    ] {
        server.psql(&format!("ALTER SYSTEM SET {setting} = '300ms'"));
    }
    server.psql("SELECT pg_reload_conf()");
    eventually("settings", || {
        (server.session().ask("SHOW lock_timeout").unwrap() == [["300ms"]]).then_some(())
    });
    let (mut session, mut next) = (worker(&server.url()), worker(&server.url()));
    session.hold("lock - orders");
    next.tell("acquire lock - orders");
    eventually("a waiter", || (waiters(&server, "orders").len() == 1).then_some(()));
    thread::sleep(Duration::from_millis(900));
    assert!(holder(&server, "orders").is_some());
    assert_eq!(session.ask("release"), "released");
    next.held();
}
