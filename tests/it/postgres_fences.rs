//! Fencing tokens of PostgreSQL rise, whatever happens to the server.

use lock_tests::postgres::{PostgresOptions, PostgresServer, USER};
use lock_tests::redis::eventually;
use lock_tokio::prelude::*;

/// Many enough that a log which is written five times a second misses some.
const CRASHES: usize = 5;

#[tokio::test]
async fn fences_rise_across_crashes_although_commits_need_not_be_kept() {
    let server = PostgresServer::start();
    server.psql(&format!("alter role {USER} set synchronous_commit = off"));
    let mut last = 0;
    for _ in 0..CRASHES {
        for _ in 0..3 {
            let fence = fence_of(&server.url(), "orders").await;
            assert!(fence > last, "{fence} after {last}");
            last = fence;
        }
        server.kill();
        server.restart();
    }
}

#[tokio::test]
async fn fences_rise_when_a_standby_takes_over() {
    let primary = PostgresServer::start();
    let standby = PostgresOptions::new().with_primary(&primary).start();
    let before = fence_of(&primary.url(), "orders").await;
    let written = primary.psql("select pg_current_wal_lsn()");
    let lsn = written[0][0].clone();
    eventually("a standby that has all of the log", || {
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{lsn}'");
        (standby.psql(&replayed) == [["t"]]).then_some(())
    });
    primary.kill();
    assert_eq!(standby.psql("select pg_promote()"), [["t"]]);
    let after = fence_of(&standby.url(), "orders").await;
    assert!(after > before, "{after} after {before}");
    // Even if the number of the transaction had gone back.
    assert!(after >> 48 > before >> 48, "{after} after {before}");
}

#[tokio::test]
async fn fences_rise_over_all_locks_of_a_database() {
    let server = PostgresServer::start();
    let first = fence_of(&server.url(), "orders").await;
    let second = fence_of(&server.url(), "invoices").await;
    assert!(second > first);
}

#[tokio::test]
async fn a_role_without_rights_is_given_fences() {
    let server = PostgresOptions::new().with_role("plain", "secret").start();
    fence_of(&server.url_for("plain", USER), "orders").await;
}

#[tokio::test]
async fn fences_are_refused_where_a_transaction_holds() {
    let server = PostgresServer::start();
    let builder = PostgresLockProvider::builder().url(server.url());
    let refused = builder.use_transaction_scope(true).fencing(true).build().await.map(drop);
    assert!(matches!(refused, Err(LockError::InvalidConfig { option: "fencing", .. })));
}

async fn fence_of(url: &str, name: &str) -> u64 {
    let provider = PostgresLockProvider::builder().url(url).fencing(true).build().await;
    let lock = provider.expect("the server is up").create_lock(name);
    let held = lock.acquire(None).await.expect("it is free");
    let fence = held.fence().expect("it was asked for");
    held.release().await.expect("nobody takes it away");
    fence
}
