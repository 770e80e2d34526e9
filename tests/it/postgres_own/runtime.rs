//! The crate `postgres` on a thread of a tokio runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lock_blocking::PostgresAdvisoryLock;
use lock_tests::postgres::PostgresServer;
use postgres::{Client, NoTls};
use tokio::runtime::Runtime;
use tokio::task::{block_in_place, spawn_blocking};

use super::{LONG, ORDERS};

#[test]
fn threads_that_may_block_may_lock() {
    let server = PostgresServer::start();
    let url = server.url();
    let runtime = Runtime::new().unwrap();
    let work = move || {
        let lock = PostgresAdvisoryLock::new(ORDERS).unwrap();
        let mut client = Client::connect(&url, NoTls).unwrap();
        lock.acquire_on(&mut client, LONG).unwrap();
        lock.release_on(&mut client).unwrap();
        let mut transaction = client.transaction().unwrap();
        lock.acquire_in(&mut transaction, LONG).unwrap();
        transaction.commit().unwrap();
        assert!(lock.try_acquire_on(&mut client).unwrap());
    };
    let again = work.clone();
    runtime.block_on(async {
        spawn_blocking(work).await.unwrap();
        tokio::spawn(async move { block_in_place(again) }).await.unwrap();
    });
}

#[test]
fn where_the_crate_panics_so_do_we_and_nothing_is_broken() {
    let server = PostgresServer::start();
    let lock = PostgresAdvisoryLock::new(ORDERS).unwrap();
    let mut client = Client::connect(&server.url(), NoTls).unwrap();
    let runtime = Runtime::new().unwrap();
    let message = |work: &mut dyn FnMut()| {
        let panic = catch_unwind(AssertUnwindSafe(work)).unwrap_err();
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref().cloned())
    };
    let theirs = runtime.block_on(async { message(&mut || drop(client.simple_query("select 1"))) });
    let ours =
        runtime.block_on(async { message(&mut || drop(lock.acquire_on(&mut client, None))) });
    assert!(theirs.is_some());
    assert_eq!(ours, theirs);
    assert!(lock.try_acquire_on(&mut client).unwrap());
    lock.release_on(&mut client).unwrap();
    assert!(server.advisory_locks().is_empty());
}
