//! Locks on a connection, or in a transaction, that is lent, at a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cancel;
mod deadlock;
mod lender;
mod runtime;
mod settings;

use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{LockProvider as _, PostgresLockProvider};
use lock_proto::LockError;
use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::{PgBouncer, PoolMode, PostgresServer};
use lock_tests::redis::eventually;

use lender::{Ending, Lender, Taker, Wanted, on_all_adapters};

/// Long enough for anything that must not fail.
const LONG: Option<Duration> = Some(Duration::from_secs(60));
/// Short enough to be waited for.
const SHORT: Option<Duration> = Some(Duration::from_millis(60));
/// What the lock `orders` is to the server.
const ORDERS: &str = "orders";

on_all_adapters!(
    a_lock_in_a_transaction_lasts_as_long_as_that,
    a_lock_on_a_session_lasts_until_it_is_released,
    readers_share_with_readers_of_providers_and_with_nobody_else,
    a_lock_that_is_held_already_is_refused_and_stays,
    what_is_not_held_can_not_be_released,
    a_savepoint_that_is_rolled_back_frees_the_lock,
    what_the_server_refuses_is_an_error_and_leaves_nothing,
    a_lost_connection_is_an_error,
    every_key_can_be_locked,
    a_pooler_by_transactions_is_no_obstacle,
);

fn a_lock_in_a_transaction_lasts_as_long_as_that<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    let orders = provider.create_lock(ORDERS);
    for ending in [Ending::Commit, Ending::RollBack, Ending::Drop] {
        lender.within(ending, |transaction| {
            assert!(transaction.try_acquire(orders_lock()).unwrap());
            assert!(orders.try_acquire().unwrap().is_none());
            assert_eq!(server.psql(&tried(orders_lock())), [["f"]]);
            assert_eq!(server.advisory_locks().len(), 1);
        });
        // The next statement is after the end of a transaction that was dropped.
        lender.ask("select 1").unwrap();
        let handle = orders.try_acquire().unwrap().expect("the transaction is over");
        lender.within(ending, |transaction| {
            assert!(!transaction.try_acquire(orders_lock()).unwrap());
            assert!(transaction.acquire(orders_lock(), SHORT).unwrap_err().is_timeout());
        });
        handle.release().unwrap();
        let session = server.session();
        session.ask(&format!("select pg_advisory_lock({})", numbers(orders_lock()))).unwrap();
        lender.within(ending, |transaction| {
            assert!(!transaction.try_acquire(orders_lock()).unwrap());
        });
        session.close();
        eventually("a free lock", || server.advisory_locks().is_empty().then_some(()));
    }
}

fn a_lock_on_a_session_lasts_until_it_is_released<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    let orders = provider.create_lock(ORDERS);
    for inside in [false, true] {
        for timeout in [Some(Duration::ZERO), SHORT, None] {
            if inside {
                lender.ask("begin").unwrap();
            }
            lender.acquire(orders_lock(), timeout).unwrap();
            if inside {
                lender.ask("rollback").unwrap();
            }
            assert!(orders.try_acquire().unwrap().is_none());
            lender.within(Ending::RollBack, |transaction| transaction.ask("select 1").unwrap());
            assert_eq!(server.psql(&tried(orders_lock())), [["f"]]);
            lender.release(orders_lock()).unwrap();
            assert!(server.advisory_locks().is_empty());
            let handle = orders.try_acquire().unwrap().expect("it was released");
            assert!(!lender.try_acquire(orders_lock()).unwrap());
            assert!(lender.acquire(orders_lock(), SHORT).unwrap_err().is_timeout());
            handle.release().unwrap();
        }
    }
    lender.acquire(orders_lock(), None).unwrap();
    drop(lender);
    orders.acquire(LONG).unwrap().release().unwrap();
}

fn readers_share_with_readers_of_providers_and_with_nobody_else<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    let (orders, reader) = (provider.create_reader_writer_lock(ORDERS), shared_orders());
    let check_read = || {
        orders.try_acquire_read().unwrap().expect("readers share").release().unwrap();
        assert!(orders.try_acquire_write().unwrap().is_none());
    };
    lender.acquire(reader, None).unwrap();
    check_read();
    lender.release(reader).unwrap();
    lender.within(Ending::Commit, |transaction| {
        transaction.acquire(reader, None).unwrap();
        check_read();
    });
    let write = orders.acquire_write(LONG).unwrap();
    assert!(!lender.try_acquire(reader).unwrap());
    assert!(!lender.within(Ending::Commit, |it| it.try_acquire(reader).unwrap()));
    write.release().unwrap();
    let read = orders.acquire_read(LONG).unwrap();
    assert!(!lender.try_acquire(orders_lock()).unwrap());
    lender.within(Ending::Commit, |it| assert!(it.try_acquire(reader).unwrap()));
    read.release().unwrap();
}

fn a_lock_that_is_held_already_is_refused_and_stays<L: Lender>() {
    let server = PostgresServer::start();
    let mut lender = L::connect(&server.url());
    lender.acquire(orders_lock(), None).unwrap();
    for again in [orders_lock(), shared_orders()] {
        check_refused(&mut lender, again);
        lender.within(Ending::Commit, |transaction| {
            check_refused(transaction, again);
            check_no_savepoint(transaction);
        });
    }
    assert_eq!(server.psql(&tried(shared_orders())), [["f"]]);
    // It was taken once, and nothing has taken it again.
    lender.release(orders_lock()).unwrap();
    assert!(server.advisory_locks().is_empty());

    lender.within(Ending::Commit, |transaction| {
        transaction.acquire(shared_orders(), None).unwrap();
        check_refused(transaction, shared_orders());
        check_refused(transaction, orders_lock());
        assert_eq!(server.advisory_locks().len(), 1);
    });
    assert!(server.advisory_locks().is_empty());
}

fn what_is_not_held_can_not_be_released<L: Lender>() {
    let server = PostgresServer::start();
    let mut lender = L::connect(&server.url());
    let check_absent = |lender: &mut L, lock| {
        let error = lender.release(lock).unwrap_err();
        assert!(matches!(error, LockError::Backend(_)), "{error:?}");
        assert!(error.to_string().contains("does not hold the lock"), "{error}");
    };
    check_absent(&mut lender, orders_lock());
    lender.acquire(orders_lock(), None).unwrap();
    check_absent(&mut lender, shared_orders());
    lender.release(orders_lock()).unwrap();
    check_absent(&mut lender, orders_lock());
    // It is the transaction's.
    lender
        .ask(&format!("begin; select pg_advisory_xact_lock({})", numbers(orders_lock())))
        .unwrap();
    check_absent(&mut lender, orders_lock());
    lender.ask("commit").unwrap();
    // Somebody else's.
    let session = server.session();
    session.ask(&tried(orders_lock())).unwrap();
    check_absent(&mut lender, orders_lock());
    assert_eq!(server.advisory_locks().len(), 1);
}

fn a_savepoint_that_is_rolled_back_frees_the_lock<L: Lender>() {
    let server = PostgresServer::start();
    let mut lender = L::connect(&server.url());
    lender.within(Ending::Commit, |transaction| {
        transaction.ask("savepoint mine").unwrap();
        transaction.acquire(orders_lock(), LONG).unwrap();
        assert_eq!(server.psql(&tried(orders_lock())), [["f"]]);
        transaction.ask("rollback to savepoint mine").unwrap();
        assert!(server.advisory_locks().is_empty());
        transaction.acquire(orders_lock(), LONG).unwrap();
        transaction.ask("release savepoint mine").unwrap();
        assert_eq!(server.psql(&tried(orders_lock())), [["f"]]);
    });
    assert!(server.advisory_locks().is_empty());
}

fn what_the_server_refuses_is_an_error_and_leaves_nothing<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    lender.within(Ending::RollBack, |transaction| {
        transaction.ask("select 1 / 0").unwrap_err();
        let error = transaction.acquire(orders_lock(), None).unwrap_err();
        assert!(matches!(error, LockError::Backend(_)), "{error:?}");
        assert!(error.to_string().contains("roll it back"), "{error}");
    });
    // An administrator ends the wait, and only that.
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    let pid = lender.pid();
    let check_cancelled = |taker: &mut dyn Taker| {
        thread::scope(|scope| {
            scope.spawn(|| {
                until_waiting(&server);
                server.cancel(pid);
            });
            let error = taker.acquire(orders_lock(), None).unwrap_err();
            assert!(matches!(error, LockError::Backend(_)), "{error:?}");
            assert!(error.to_string().contains("cancelled"), "{error}");
        });
    };
    lender.within(Ending::Commit, |transaction| {
        check_cancelled(transaction);
        check_no_savepoint(transaction);
    });
    check_cancelled(&mut lender);
    held.release().unwrap();
    assert!(server.advisory_locks().is_empty());
}

fn a_lost_connection_is_an_error<L: Lender>() {
    let server = PostgresServer::start();
    let provider = provider(&server);
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    let lost = |error: LockError| assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    for inside in [false, true] {
        let mut lender = L::connect(&server.url());
        let pid = lender.pid();
        thread::scope(|scope| {
            scope.spawn(|| {
                until_waiting(&server);
                server.terminate(pid);
            });
            if inside {
                lender.ask("begin").unwrap();
            }
            lost(lender.acquire(orders_lock(), None).unwrap_err());
        });
        lost(lender.try_acquire(orders_lock()).unwrap_err());
        lost(lender.release(orders_lock()).unwrap_err());
    }
    let mut lender = L::connect(&server.url());
    let pid = lender.pid();
    thread::scope(|scope| {
        scope.spawn(|| {
            until_waiting(&server);
            server.terminate(pid);
        });
        lender.within(Ending::Drop, |transaction| {
            lost(transaction.acquire(orders_lock(), None).unwrap_err());
            lost(transaction.try_acquire(orders_lock()).unwrap_err());
        });
    });
    held.release().unwrap();
}

// The smallest numbers were sent as the greatest with a minus before it, which have another type.
fn every_key_can_be_locked<L: Lender>() {
    let server = PostgresServer::start();
    let mut lender = L::connect(&server.url());
    let scoped = PostgresLockProvider::builder().url(server.url()).use_transaction_scope(true);
    let providers = [provider(&server), scoped.build().unwrap()];
    for name in [
        "8000000000000000",
        "7fffffffffffffff",
        "80000000,80000000",
        "ffffffff,7fffffff",
        "a name that is hashed",
        "",
        "nine char",
    ] {
        let lock = lock_tokio::PostgresAdvisoryLock::new(name).unwrap();
        assert_eq!(lock.key(), lock_blocking::PostgresAdvisoryLock::new(name).unwrap().key());
        let lock = Wanted::exclusive(lock.key());
        let excluded = || {
            assert_eq!(server.advisory_locks()[0].key, lock.key, "{name:?}");
            providers.iter().all(|it| it.create_lock(name).try_acquire().unwrap().is_none())
        };
        lender.acquire(lock, LONG).unwrap();
        assert!(excluded(), "{name:?}");
        lender.release(lock).unwrap();
        lender.within(Ending::Commit, |transaction| {
            transaction.acquire(lock, LONG).unwrap();
            assert!(excluded(), "{name:?}");
        });
        for provider in &providers {
            let handle = provider.create_lock(name).acquire(LONG).unwrap();
            assert!(!lender.try_acquire(lock).unwrap(), "{name:?}");
            assert!(lender.acquire(lock, SHORT).unwrap_err().is_timeout(), "{name:?}");
            handle.release().unwrap();
        }
    }
}

fn a_pooler_by_transactions_is_no_obstacle<L: Lender>() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Transaction, 2);
    let (mut lender, mut other) = (L::connect(&pool.url()), L::connect(&pool.url()));
    for _ in 0..5 {
        lender.within(Ending::Commit, |transaction| {
            transaction.acquire(orders_lock(), LONG).unwrap();
            other.within(Ending::Commit, |other| {
                assert!(!other.try_acquire(orders_lock()).unwrap());
                assert!(other.acquire(orders_lock(), SHORT).unwrap_err().is_timeout());
                assert_eq!(other.time_outs(), ["0", "0"]);
            });
        });
        other.within(Ending::Commit, |other| assert!(other.try_acquire(orders_lock()).unwrap()));
    }
    assert!(server.advisory_locks().is_empty());
}

// The documents offer `use_transaction_scope`: "lock released when transaction ends".
#[test]
fn a_lock_of_transaction_scope_is_released_when_its_transaction_ends() {
    let server = PostgresServer::start();
    let provider = PostgresLockProvider::builder()
        .connection_string(server.url())
        .use_transaction_scope(true)
        .build()
        .unwrap();
    let orders = provider.create_lock(ORDERS);
    let states = |pid| {
        let backends = server.backends().into_iter().filter(move |backend| backend.pid == pid);
        backends.map(|backend| backend.state).collect::<Vec<_>>()
    };
    let handle = orders.acquire(LONG).unwrap();
    let holder = server.advisory_locks()[0].pid;
    assert_eq!(states(holder), ["idle in transaction"]);
    handle.release().unwrap();
    assert!(server.advisory_locks().is_empty());
    assert_ne!(states(holder), ["idle in transaction"]);

    let handle = orders.acquire(LONG).unwrap();
    server.terminate(server.advisory_locks()[0].pid);
    orders.acquire(LONG).unwrap().release().unwrap();
    eventually("the news", || handle.lost_token().is_lost().then_some(()));
}

fn check_refused(taker: &mut dyn Taker, lock: Wanted) {
    assert!(!taker.try_acquire(lock).unwrap());
    let started = Instant::now();
    assert!(taker.acquire(lock, SHORT).unwrap_err().is_timeout());
    assert!(Some(started.elapsed()) >= SHORT);
    let error = taker.acquire(lock, None).unwrap_err();
    assert!(matches!(error, LockError::Deadlock(_)), "{error:?}");
}

/// Fails if the transaction has a savepoint of ours, and leaves it as it is.
fn check_no_savepoint(taker: &mut dyn Taker) {
    taker.ask("savepoint probe").unwrap();
    let error = taker.ask("release savepoint dlock_acquire").unwrap_err();
    assert_eq!(error.code().map(|state| state.code()), Some("3B001"), "{error:?}");
    taker.ask("rollback to savepoint probe; release savepoint probe").unwrap();
}

fn provider(server: &PostgresServer) -> PostgresLockProvider {
    PostgresLockProvider::new(&server.url()).unwrap()
}

fn until_waiting(server: &PostgresServer) {
    eventually("a lock that is waited for", || {
        server.advisory_locks().iter().any(|lock| !lock.granted).then_some(())
    });
}

fn orders_lock() -> Wanted {
    Wanted::exclusive(AdvisoryKey::from_name(ORDERS))
}

fn shared_orders() -> Wanted {
    Wanted::shared(AdvisoryKey::from_name(ORDERS))
}

fn numbers(lock: Wanted) -> String {
    match lock.key {
        AdvisoryKey::Single(key) => format!("{key}"),
        AdvisoryKey::Pair(first, second) => format!("{first}, {second}"),
    }
}

/// Anybody's try.
fn tried(lock: Wanted) -> String {
    let suffix = if lock.shared { "_shared" } else { "" };
    format!("select pg_try_advisory_lock{suffix}({})", numbers(lock))
}
