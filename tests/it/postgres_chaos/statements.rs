//! What the server is asked, counted in its log.

use std::time::Duration;

use async_std::task;
use lock_tests::postgres::{PostgresOptions, PostgresServer};
use lock_tokio::prelude::*;

use super::{LONG, foreigner, give_back, until_inside, until_none_left, until_waiting};

/// A server that writes down every statement before it carries it out.
fn server() -> PostgresServer {
    PostgresOptions::new().with_line("log_statement = 'all'").start()
}

/// The statements of ordinary users so far.
fn statements(server: &PostgresServer) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains(" locks@locks LOG:  "));
    let asked = lines.filter(|line| line.contains("execute ") || line.contains("statement: "));
    asked.map(str::to_owned).collect()
}

/// What `work` asks.
async fn asked(server: &PostgresServer, work: impl Future<Output = ()>) -> Vec<String> {
    let before = statements(server).len();
    work.await;
    statements(server).split_off(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncontended_acquire_and_its_release_are_one_statement_each() {
    let server = server();
    for (fencing, scope) in [(false, false), (true, false), (false, true)] {
        let builder = PostgresLockProvider::builder().url(server.url()).fencing(fencing);
        let provider = builder.use_transaction_scope(scope).build().await.unwrap();
        let lock = provider.create_lock("orders");
        let shared = provider.create_reader_writer_lock("reports");
        for first in [true, false] {
            let label = format!("fencing: {fencing}, scope: {scope}, first: {first}");
            let sent = asked(&server, async {
                let held = lock.acquire(LONG).await.unwrap();
                assert_eq!(held.fence().is_some(), fencing, "{label}");
                held.release().await.unwrap();
            });
            let sent = sent.await;
            assert_eq!(sent.len(), 2, "{label}: {sent:#?}");
            let sent = asked(&server, async {
                lock.try_acquire().await.unwrap().unwrap().release().await.unwrap();
            });
            let sent = sent.await;
            assert_eq!(sent.len(), 2, "{label}: {sent:#?}");
            let sent = asked(&server, async {
                shared.acquire_read(LONG).await.unwrap().release().await.unwrap();
                shared.acquire_write(LONG).await.unwrap().release().await.unwrap();
            });
            let sent = sent.await;
            assert_eq!(sent.len(), 4, "{label}: {sent:#?}");
        }
        until_none_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_that_are_free_are_one_statement_as_well() {
    let server = server();
    let provider = super::provider(&server.url()).await;
    let semaphore = provider.create_semaphore("permits", 5);
    for count in [1, 3] {
        let sent = asked(&server, async {
            semaphore.acquire_many(count, LONG).await.unwrap().release().await.unwrap();
        });
        let sent = sent.await;
        assert_eq!(sent.len(), 2, "{sent:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_lock_asks_for_nothing_meanwhile() {
    let server = server();
    let provider = super::provider(&server.url()).await;
    let other = foreigner(&server, "orders");
    let lock = provider.create_lock("orders");
    let sent = asked(&server, async {
        // All of a process stand behind one.
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let lock = lock.clone();
                task::spawn(async move { lock.acquire(LONG).await.unwrap().release().await })
            })
            .collect();
        until_waiting(&server, "orders", 1).await;
        task::sleep(Duration::from_secs(1)).await;
        give_back(&other, "orders");
        for waiting in waiting {
            waiting.await.unwrap();
        }
    });
    let sent = sent.await;
    let ours: Vec<_> = sent.iter().filter(|line| line.contains("advisory_lock(")).collect();
    let tries = ours.iter().filter(|line| line.contains("pg_try_advisory_lock(")).count();
    let waits = ours.len() - tries;
    // At most one try and one wait each; whoever has it passes it on without the server.
    assert!(waits >= 1 && tries <= 5 && waits <= 5, "{sent:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_permits_looks_once_a_second_at_most() {
    let server = server();
    let (here, there) =
        (super::provider(&server.url()).await, super::provider(&server.url()).await);
    let held = there.create_semaphore("permits", 2).acquire_many(2, LONG).await.unwrap();
    let semaphore = here.create_semaphore("permits", 2);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let semaphore = semaphore.clone();
            task::spawn(async move { semaphore.acquire(LONG).await.unwrap().release().await })
        })
        .collect();
    // Both permits, and the gate.
    until_inside(&server, 3).await;
    task::sleep(Duration::from_millis(200)).await;
    let started = std::time::Instant::now();
    let sent = asked(&server, task::sleep(Duration::from_millis(2500))).await;
    let seconds = started.elapsed().as_secs() as usize + 1;
    assert!(sent.len() <= seconds, "{} in {seconds} s: {sent:#?}", sent.len());
    held.release().await.unwrap();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    until_none_left(&server).await;
}
