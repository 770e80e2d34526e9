//! Locks of threads: on runtimes, in drops, in panics, in crowds, and on servers that go away.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use lock_blocking::prelude::*;
use lock_blocking::{Lock, LockHandle, LossReason};
use lock_tests::postgres::PostgresServer;
use lock_tests::redis::eventually;

use super::{LONG, SLACK, foreigner, give_back, holder, waiters};

fn provider(server: &PostgresServer) -> PostgresLockProvider {
    PostgresLockProvider::new(&server.url()).unwrap()
}

fn none_left(server: &PostgresServer) {
    eventually("no lock is left", || server.advisory_locks().is_empty().then_some(()));
}

#[test]
fn a_holder_learns_at_once_of_the_end_of_its_session_without_asking() {
    let server = PostgresServer::start();
    let lock = provider(&server).create_lock("orders");
    for restarts in [false, true] {
        let held = lock.acquire(LONG).unwrap();
        let lost = held.lost_token();
        if restarts {
            server.kill();
        } else {
            server.terminate(holder(&server, "orders").unwrap());
        }
        assert_eq!(lost.changed(Some(SLACK)), Some(LossReason::Disconnected));
        assert!(!held.is_valid());
        assert!(held.release().unwrap_err().is_lost());
        if restarts {
            let error = lock.acquire(Some(Duration::from_millis(300))).unwrap_err();
            assert!(matches!(error, LockError::Connection(_)), "{error:?}");
            let error = lock.try_acquire().unwrap_err();
            assert!(matches!(error, LockError::Connection(_)), "{error:?}");
            server.restart();
        }
    }
    lock.acquire(LONG).unwrap().release().unwrap();
    none_left(&server);
}

#[test]
fn a_waiting_thread_goes_on_when_the_server_is_back() {
    let server = PostgresServer::start();
    let lock = provider(&server).create_lock("orders");
    let other = foreigner(&server, "orders");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lock.acquire(LONG));
        eventually("a waiter", || (waiters(&server, "orders").len() == 1).then_some(()));
        server.terminate(waiters(&server, "orders")[0]);
        eventually("a waiter again", || (waiters(&server, "orders").len() == 1).then_some(()));
        give_back(&other, "orders");
        waiting.join().unwrap().unwrap().release().unwrap();

        let other = foreigner(&server, "orders");
        let waiting = scope.spawn(|| lock.acquire(LONG));
        eventually("a waiter", || (waiters(&server, "orders").len() == 1).then_some(()));
        server.restart();
        drop(other);
        waiting.join().unwrap().unwrap().release().unwrap();
    });
    none_left(&server);
}

/// What a whole life of a provider needs of the thread that it is lived on.
fn live(server: &PostgresServer) {
    let provider = provider(server);
    let lock = provider.create_lock("orders");
    let held = lock.acquire(LONG).unwrap();
    assert!(lock.try_acquire().unwrap().is_none());
    assert!(lock.acquire(Some(Duration::from_millis(20))).unwrap_err().is_timeout());
    assert!(lock.is_locked().unwrap());
    held.release().unwrap();
    let permit = provider.create_semaphore("permits", 2).acquire(LONG).unwrap();
    drop((lock, permit));
    provider.close();
}

#[test]
fn a_thread_of_a_runtime_may_live_with_locks_that_block() {
    let server = PostgresServer::start();
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    single.block_on(async { live(&server) });
    super::on_tokio(async {
        live(&server);
    });
    let many = tokio::runtime::Runtime::new().unwrap();
    // It is dropped on a thread of the runtime, and outlives it on this one.
    let provider = many.block_on(async {
        let url = server.url();
        let spawned = tokio::spawn(async move {
            let provider = PostgresLockProvider::new(&url).unwrap();
            let _held = provider.create_lock("dropped").acquire(LONG).unwrap();
            provider
        });
        spawned.await.unwrap()
    });
    drop(many);
    provider.create_lock("dropped").acquire(LONG).unwrap().release().unwrap();
    async_std::task::block_on(async { live(&server) });
    none_left(&server);
}

/// Takes a lock of its own, and gives both back, when it is dropped.
struct Careful {
    lock: Lock,
    held: Option<LockHandle>,
}

impl Drop for Careful {
    fn drop(&mut self) {
        let last = self.lock.acquire(LONG).unwrap();
        self.held.take().unwrap().release().unwrap();
        last.release().unwrap();
    }
}

#[test]
fn locks_are_taken_and_given_back_while_a_thread_panics() {
    let server = PostgresServer::start();
    let provider = provider(&server);
    let careful = || Careful {
        lock: provider.create_lock("last"),
        held: Some(provider.create_lock("orders").acquire(LONG).unwrap()),
    };
    let quiet = || panic::resume_unwind(Box::new("on purpose"));
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        let _careful = careful();
        let _dropped = provider.create_lock("dropped").acquire(LONG).unwrap();
        quiet();
    }));
    assert!(ended.is_err());
    none_left(&server);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            let _careful = careful();
            quiet();
        }));
        assert!(ended.is_err());
    });
    none_left(&server);
    provider.close();
}

thread_local! {
    static KEPT: RefCell<Option<(PostgresLockProvider, LockHandle)>> = const { RefCell::new(None) };
}

#[test]
fn a_lock_that_a_thread_keeps_is_given_back_at_its_end() {
    let server = PostgresServer::start();
    thread::scope(|scope| {
        let kept = scope.spawn(|| {
            let provider = provider(&server);
            let held = provider.create_lock("orders").acquire(LONG).unwrap();
            KEPT.with(|kept| *kept.borrow_mut() = Some((provider, held)));
        });
        kept.join().unwrap();
    });
    none_left(&server);
    eventually("no connection is left", || server.backends().is_empty().then_some(()));
}

#[test]
fn fifty_threads_of_one_provider_take_turns() {
    const THREADS: usize = 50;
    const NAMES: usize = 4;
    const ROUNDS: usize = 10;
    let server = PostgresServer::start();
    let provider = PostgresLockProvider::builder().url(server.url()).max_connections(6);
    let provider = provider.build().unwrap();
    let inside = [const { std::sync::atomic::AtomicUsize::new(0) }; NAMES];
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (provider, inside) = (&provider, &inside);
            scope.spawn(move || {
                use std::sync::atomic::Ordering::SeqCst;
                let place = number % NAMES;
                let lock = provider.create_lock(&format!("orders {place}"));
                for round in 0..ROUNDS {
                    let held = lock.acquire(LONG).unwrap();
                    assert_eq!(inside[place].fetch_add(1, SeqCst), 0);
                    thread::yield_now();
                    assert_eq!(inside[place].fetch_sub(1, SeqCst), 1);
                    if round % 2 == 0 {
                        held.release().unwrap();
                    }
                }
            });
        }
    });
    assert!(server.backends().len() <= 6);
    provider.close();
    none_left(&server);
}
