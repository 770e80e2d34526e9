//! Who waits for each other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use lock_blocking::{LockProvider as _, PostgresLockProvider};
use lock_proto::LockError;
use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::{PostgresOptions, PostgresServer};

use super::lender::{Ending, Lender, Taker, Wanted, on_all_adapters};
use super::{LONG, check_no_savepoint};

on_all_adapters!(
    two_transactions_in_opposite_order_end_with_a_deadlock_of_one,
    two_sessions_in_opposite_order_end_with_a_deadlock_of_one,
    two_readers_that_want_to_write_end_with_a_refusal_and_no_deadlock,
);

fn two_transactions_in_opposite_order_end_with_a_deadlock_of_one<L: Lender>() {
    let server = impatient();
    let result = in_opposite_order::<L>(&server, |lender, meeting, [first, second]| {
        lender.within(Ending::Commit, |transaction| {
            let result = opposed(transaction, meeting, [first, second]);
            check_no_savepoint(transaction);
            assert_eq!(transaction.time_outs(), ["0", "0"]);
            result
        })
    });
    check_one_deadlock(&result);
    assert!(server.advisory_locks().is_empty());
}

fn two_sessions_in_opposite_order_end_with_a_deadlock_of_one<L: Lender>() {
    let server = impatient();
    let result = in_opposite_order::<L>(&server, |lender, meeting, [first, second]| {
        let result = opposed(lender, meeting, [first, second]);
        if result.is_ok() {
            lender.release(second).unwrap();
        }
        lender.release(first).unwrap();
        lender.release(second).unwrap_err();
        result
    });
    check_one_deadlock(&result);
    assert!(server.advisory_locks().is_empty());
}

// Each would have to wait for the other; but whoever holds a lock is not let in again.
fn two_readers_that_want_to_write_end_with_a_refusal_and_no_deadlock<L: Lender>() {
    let server = impatient();
    let lock = Wanted::exclusive(AdvisoryKey::Single(1));
    let mut lenders = [L::connect(&server.url()), L::connect(&server.url())];
    for lender in &mut lenders {
        lender.acquire(Wanted::shared(lock.key), LONG).unwrap();
    }
    for lender in &mut lenders {
        let error = lender.acquire(lock, None).unwrap_err();
        assert!(matches!(error, LockError::Deadlock(_)), "{error:?}");
        lender.release(Wanted::shared(lock.key)).unwrap();
    }
    assert!(server.advisory_locks().is_empty());
}

// Each wait of theirs has a session or a transaction to itself, so the server sees no circle.
#[test]
fn two_providers_in_opposite_order_wait_for_as_long_as_they_may() {
    let server = impatient();
    for scoped in [false, true] {
        let provider = || {
            let builder = PostgresLockProvider::builder().url(server.url());
            builder.use_transaction_scope(scoped).build().unwrap()
        };
        let (one, other) = (provider(), provider());
        let handles = [
            one.create_lock("a").acquire(LONG).unwrap(),
            other.create_lock("b").acquire(LONG).unwrap(),
        ];
        let limit = Some(Duration::from_millis(500));
        thread::scope(|scope| {
            let waits = [(&one, "b"), (&other, "a")].map(|(provider, name)| {
                scope.spawn(move || provider.create_lock(name).acquire(limit).map(drop))
            });
            for wait in waits {
                let error = wait.join().unwrap().unwrap_err();
                assert!(error.is_timeout(), "{error:?}");
            }
        });
        for handle in handles {
            handle.release().unwrap();
        }
    }
}

type Outcome = Result<(), LockError>;

/// Has two programs take two locks, each another one first.
fn in_opposite_order<L: Lender>(
    server: &PostgresServer,
    work: impl Fn(&mut L, &Barrier, [Wanted; 2]) -> Outcome + Sync,
) -> [Outcome; 2] {
    let locks = [1, 2].map(|number| Wanted::exclusive(AdvisoryKey::Single(number)));
    let (meeting, work) = (Barrier::new(2), &work);
    thread::scope(|scope| {
        let programs = [locks, [locks[1], locks[0]]].map(|locks| {
            let (mut lender, meeting) = (L::connect(&server.url()), &meeting);
            scope.spawn(move || work(&mut lender, meeting, locks))
        });
        programs.map(|program| program.join().unwrap())
    })
}

fn opposed(taker: &mut dyn Taker, meeting: &Barrier, [first, second]: [Wanted; 2]) -> Outcome {
    taker.acquire(first, LONG).unwrap();
    meeting.wait();
    taker.acquire(second, LONG)
}

fn check_one_deadlock(results: &[Outcome; 2]) {
    let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let [LockError::Deadlock(detail)] = errors.as_slice() else { panic!("{results:?}") };
    let told = detail.matches("waits for ExclusiveLock on advisory lock").count();
    assert_eq!(told, 2, "{detail}");
    assert!(!detail.contains('\n'), "{detail}");
}

fn impatient() -> PostgresServer {
    PostgresOptions::new().with_line("deadlock_timeout = 50ms").start()
}
