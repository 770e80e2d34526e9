//! Other clients of the server that lock the same keys.

use async_std::task;
use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::PostgresServer;
use lock_tokio::prelude::*;

use super::{LONG, arguments, give_back, tests, until, until_none_left, until_waiting};

/// Names of locks, and what other clients call the same: of numbers, of pairs, of short words and
/// of whatever else. They are those of DistributedLock.Postgres for .NET.
const KEYS: [(&str, &str); 10] = [
    ("0000000000000001", "1"),
    ("ffffffffffffffff", "-1"),
    ("00000003,ffffffff", "3, -1"),
    ("7fffffff,80000000", "2147483647, -2147483648"),
    ("a", "-1023410177, -1"),
    ("base37", "-980967850, 1843396607"),
    ("abcdefghi", "-1014292916, -1179391790"),
    ("some very long name", "1765484347666752899"),
    ("Orders/2024/07/31", "-4700606586511701411"),
    ("🦉", "-4768510268875073265"),
];

async fn sessions_of_others_and_locks_of_ours_exclude_each_other() {
    let server = PostgresServer::start();
    let provider = super::provider(&server.url()).await;
    let psql = server.session();
    let tried = |function: &str, key: &str| {
        psql.ask(&format!("SELECT pg_try_advisory_{function}({key})")).unwrap() == [["t"]]
    };
    for (name, key) in KEYS {
        assert_eq!(arguments(name), key, "{name}");
        let (lock, shared) = (provider.create_lock(name), provider.create_reader_writer_lock(name));

        assert!(tried("lock", key), "{name}");
        assert!(lock.try_acquire().await.unwrap().is_none(), "{name}");
        assert!(shared.try_acquire_read().await.unwrap().is_none(), "{name}");
        let info = lock.info().await.unwrap();
        assert!(info.locked && info.holders.len() == 1, "{name}: {info:?}");
        assert_eq!(info.holders[0].owner.as_deref(), Some("psql"), "{name}");
        give_back(&psql, name);
        assert!(!lock.is_locked().await.unwrap(), "{name}");

        let held = lock.try_acquire().await.unwrap().expect(name);
        assert!(!tried("lock", key) && !tried("lock_shared", key), "{name}");
        assert!(!tried("xact_lock", key), "{name}");
        held.release().await.unwrap();

        let held = shared.try_acquire_read().await.unwrap().expect(name);
        assert!(!tried("lock", key) && tried("lock_shared", key), "{name}");
        held.release().await.unwrap();
        assert!(shared.try_acquire_write().await.unwrap().is_none(), "{name}");
        shared.try_acquire_read().await.unwrap().expect(name).release().await.unwrap();
        psql.ask(&format!("SELECT pg_advisory_unlock_shared({key})")).unwrap();
        shared.try_acquire_write().await.unwrap().expect(name).release().await.unwrap();
    }
    // The last of our releases is confirmed, so that nothing is to be waited for.
    assert_eq!(server.advisory_locks(), []);
}

async fn sessions_of_others_and_locks_of_ours_wait_for_each_other() {
    let server = PostgresServer::start();
    let builder = PostgresLockProvider::builder().url(server.url());
    let providers = [
        super::provider(&server.url()).await,
        builder.use_transaction_scope(true).build().await.unwrap(),
    ];
    for provider in &providers {
        for (name, key) in KEYS {
            let (psql, lock) = (server.session(), provider.create_lock(name));
            psql.ask(&format!("BEGIN; SELECT pg_advisory_xact_lock({key})")).unwrap();
            let waiting = task::spawn(async move { lock.acquire(LONG).await });
            until_waiting(&server, name, 1).await;
            psql.ask("COMMIT").unwrap();
            let held = waiting.await.unwrap();

            let mut answer = psql.send(&format!("SELECT pg_advisory_lock({key})"));
            until_waiting(&server, name, 1).await;
            assert!(answer.poll().is_none(), "{name}");
            held.release().await.unwrap();
            answer.wait().unwrap();
            give_back(&psql, name);
        }
    }
    until_none_left(&server).await;
}

/// A number and a pair of the same bits are two locks, and another database has locks of its own.
async fn what_only_looks_the_same_is_another_lock() {
    let server = PostgresServer::start();
    let provider = super::provider(&server.url()).await;
    let single = AdvisoryKey::from_name("00000003ffffffff");
    let pair = AdvisoryKey::from_name("00000003,ffffffff");
    let held = [single, pair].map(|key| provider.create_lock(&key.to_string()));
    let held =
        [held[0].acquire(LONG).await.unwrap(), held[1].try_acquire().await.unwrap().unwrap()];
    let keys: Vec<_> = server.advisory_locks().iter().map(|lock| lock.key).collect();
    assert_eq!(keys, [single, pair]);
    server.psql("CREATE DATABASE elsewhere OWNER locks");
    let elsewhere = super::provider(&server.url_for("locks", "elsewhere")).await;
    let other = elsewhere.create_lock(&single.to_string()).try_acquire().await.unwrap();
    assert!(other.is_some());
    drop((held, other));
    until("all are given back", || server.advisory_locks().is_empty()).await;
}

tests!(
    tokio:
        sessions_of_others_and_locks_of_ours_exclude_each_other,
        sessions_of_others_and_locks_of_ours_wait_for_each_other,
        what_only_looks_the_same_is_another_lock;
    async_std:
        sessions_of_others_and_locks_of_ours_exclude_each_other,
);
