//! The time-outs and savepoints of whoever lends its connection.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{LockProvider as _, PostgresLockProvider};
use lock_proto::LockError;
use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::PostgresServer;
use lock_tests::redis::eventually;

use super::lender::{Ending, Lender, Wanted, on_all_adapters};
use super::{LONG, ORDERS, SHORT, check_no_savepoint, orders_lock, provider, tried};

on_all_adapters!(
    who_waits_gets_the_lock_when_it_is_free,
    time_outs_are_afterwards_what_they_were,
    time_outs_of_the_caller_end_no_wait,
    a_transaction_goes_on_after_a_time_out_and_has_no_savepoint,
);

fn who_waits_gets_the_lock_when_it_is_free<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    lender.ask("set lock_timeout = '1s'; set statement_timeout = '40s'").unwrap();
    for timeout in [LONG, None] {
        let release = hold(&provider, &server);
        lender.within(Ending::Commit, |transaction| {
            transaction.acquire(orders_lock(), timeout).unwrap();
            assert_eq!(transaction.time_outs(), ["1s", "40s"]);
            check_no_savepoint(transaction);
        });
        release.join().unwrap();
        for inside in [false, true] {
            let release = hold(&provider, &server);
            lender.ask(if inside { "begin" } else { "" }).unwrap();
            lender.acquire(orders_lock(), timeout).unwrap();
            assert_eq!(lender.time_outs(), ["1s", "40s"]);
            lender.ask(if inside { "commit" } else { "" }).unwrap();
            release.join().unwrap();
            assert_eq!(server.psql(&tried(orders_lock())), [["f"]]);
            lender.release(orders_lock()).unwrap();
        }
    }
}

fn time_outs_are_afterwards_what_they_were<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    let free = Wanted::exclusive(AdvisoryKey::Single(7));
    for (first, inner, within, after) in [
        ("", "", ["0", "0"], ["0", "0"]),
        (
            "set lock_timeout = '1s'; set statement_timeout = '1min'",
            "",
            ["1s", "1min"],
            ["1s", "1min"],
        ),
        (
            "",
            "set local lock_timeout = 1010; set local statement_timeout = '2h'",
            ["1010ms", "2h"],
            ["1s", "1min"],
        ),
        (
            "",
            "set lock_timeout = '5s'; set statement_timeout = '61s'",
            ["5s", "61s"],
            ["5s", "61s"],
        ),
        (
            "",
            "set lock_timeout = '6s'; set local lock_timeout = '7s'",
            ["7s", "61s"],
            ["6s", "61s"],
        ),
    ] {
        lender.ask(first).unwrap();
        let case = format!("{first} {inner}");
        for timeout in [Some(Duration::ZERO), SHORT] {
            // The settings of the last transaction are to be those of the first.
            let ending = if timeout == SHORT { Ending::Commit } else { Ending::RollBack };
            lender.within(ending, |transaction| {
                transaction.ask(inner).unwrap();
                assert!(transaction.acquire(orders_lock(), timeout).unwrap_err().is_timeout());
                assert_eq!(transaction.time_outs(), within, "{case}: {timeout:?}, refused");
                transaction.acquire(free, timeout).unwrap();
                assert_eq!(transaction.time_outs(), within, "{case}: {timeout:?}, granted");
            });
            for inside in [false, true] {
                let expected = lender.time_outs();
                lender.ask(if inside { "begin" } else { "" }).unwrap();
                assert!(lender.acquire(orders_lock(), timeout).unwrap_err().is_timeout());
                assert_eq!(lender.time_outs(), expected, "{case}: {timeout:?}, session");
                lender.acquire(free, timeout).unwrap();
                assert_eq!(lender.time_outs(), expected, "{case}: {timeout:?}, session");
                lender.release(free).unwrap();
                lender.ask(if inside { "commit" } else { "" }).unwrap();
            }
        }
        assert_eq!(lender.time_outs(), after, "{case}");
    }
    held.release().unwrap();
}

fn time_outs_of_the_caller_end_no_wait<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    lender.ask("set lock_timeout = '2s'; set statement_timeout = '2s'").unwrap();
    let timeout = Duration::from_millis(2_500);
    let mut check = |acquire: &mut dyn FnMut(&mut L) -> LockError| {
        let started = Instant::now();
        let error = acquire(&mut lender);
        assert!(matches!(error, LockError::Timeout(told) if told == timeout), "{error:?}");
        assert!(started.elapsed() >= timeout);
    };
    check(&mut |it| it.acquire(orders_lock(), Some(timeout)).unwrap_err());
    check(&mut |it| {
        it.within(Ending::Commit, |it| it.acquire(orders_lock(), Some(timeout)).unwrap_err())
    });
    held.release().unwrap();
}

fn a_transaction_goes_on_after_a_time_out_and_has_no_savepoint<L: Lender>() {
    let server = PostgresServer::start();
    let (mut lender, provider) = (L::connect(&server.url()), provider(&server));
    lender.ask("create table work (id int)").unwrap();
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    let free = Wanted::exclusive(AdvisoryKey::Single(7));
    lender.within(Ending::Commit, |transaction| {
        transaction.ask("insert into work values (1)").unwrap();
        for _ in 0..3 {
            assert!(transaction.acquire(orders_lock(), SHORT).unwrap_err().is_timeout());
            check_no_savepoint(transaction);
            assert!(!transaction.try_acquire(orders_lock()).unwrap());
            check_no_savepoint(transaction);
        }
        transaction.ask("insert into work values (2)").unwrap();
        transaction.acquire(free, SHORT).unwrap();
        check_no_savepoint(transaction);
        assert_eq!(server.psql(&tried(free)), [["f"]]);
        transaction.ask("insert into work values (3)").unwrap();
    });
    lender.ask("begin; insert into work values (4)").unwrap();
    assert!(lender.acquire(orders_lock(), SHORT).unwrap_err().is_timeout());
    assert!(!lender.try_acquire(orders_lock()).unwrap());
    lender.acquire(free, SHORT).unwrap();
    check_no_savepoint(&mut lender);
    lender.ask("insert into work values (5); commit").unwrap();
    assert_eq!(lender.ask("select count(*) from work").unwrap(), [["5"]]);
    held.release().unwrap();
}

/// Holds the lock until somebody waits for it.
fn hold(provider: &PostgresLockProvider, server: &PostgresServer) -> thread::JoinHandle<()> {
    let handle = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    let watch = server.session();
    thread::spawn(move || {
        eventually("a lock that is waited for", || {
            let waiting = "select from pg_locks where locktype = 'advisory' and not granted";
            (!watch.ask(waiting).unwrap().is_empty()).then_some(())
        });
        handle.release().unwrap();
    })
}
