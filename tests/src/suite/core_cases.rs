//! What everything that excludes must do, whichever primitive it is.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{AcquireOptions, LockError};

use super::{Acquire, Held, SOON};

/// Acquires what is free, or soon will be.
///
/// # Panics
///
/// If it can't be had.
pub fn take(lock: &dyn Acquire) -> Box<dyn Held> {
    lock.acquire(Some(SOON)).unwrap_or_else(|error| panic!("{}: {error}", lock.name()))
}

/// Whether the lock is free; it is again afterwards.
///
/// # Panics
///
/// If that can't be found out.
pub fn is_free(lock: &dyn Acquire) -> bool {
    let held = lock.try_acquire().unwrap_or_else(|error| panic!("{}: {error}", lock.name()));
    held.map(|held| held.release()).transpose().expect("a lock just taken is not lost").is_some()
}

/// Waits until the lock is free, as it soon is when its last handle was dropped.
///
/// # Panics
///
/// If it never is.
pub fn is_soon_free(lock: &dyn Acquire) -> bool {
    until("free", || is_free(lock));
    true
}

/// Waits for `condition`.
///
/// # Panics
///
/// If it does not come.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "{what} never happened");
        thread::yield_now();
    }
}

/// Waits until `lock` has `count` waiters in this process.
///
/// # Panics
///
/// If it does not come.
pub fn until_waiting(lock: &dyn Acquire, count: usize) {
    let started = Instant::now();
    loop {
        let info = lock.info();
        if info.as_ref().is_ok_and(|info| info.waiters == Some(count)) {
            return;
        }
        let waited = started.elapsed();
        assert!(waited < SOON, "after {waited:?} not {count} wait: {info:?}");
        thread::yield_now();
    }
}

/// Holds for two objects of one lock, and one of another.
///
/// # Panics
///
/// If it does not.
pub fn is_a_lock(one: &dyn Acquire, same: &dyn Acquire, other: &dyn Acquire) {
    let held = take(one);
    assert!(held.is_valid());
    assert!(one.try_acquire().unwrap().is_none(), "a lock is not re-entrant");
    assert!(same.try_acquire().unwrap().is_none(), "one name is one lock");
    assert!(is_soon_free(other), "another name is another lock");
    assert!(one.info().unwrap().locked);
    held.release().unwrap();
    assert!(!one.info().unwrap().locked);

    drop(take(same));
    drop(take(one));
    gives_up_in_time(one, same);
    is_handed_over(one, same);
    waits_for_ever(one, same);
}

/// Never before its time is up, and soon after.
fn gives_up_in_time(one: &dyn Acquire, same: &dyn Acquire) {
    let held = take(one);
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(900)] {
        assert!(matches!(same.acquire(Some(timeout)), Err(LockError::Timeout(_))));
    }
    let timeout = Duration::from_millis(60);
    let started = Instant::now();
    match same.acquire(Some(timeout)) {
        Err(LockError::Timeout(reported)) => assert_eq!(reported, timeout),
        outcome => panic!("expected a time-out and got {:?}", outcome.err()),
    }
    let waited = started.elapsed();
    assert!(waited >= timeout, "gave up after {waited:?}");
    assert!(waited < SOON / 10, "gave up after {waited:?}");
    drop(held);
    assert!(is_soon_free(same), "whoever gave up left nothing behind");
}

fn is_handed_over(one: &dyn Acquire, same: &dyn Acquire) {
    let held = take(one);
    thread::scope(|threads| {
        let waiter = threads.spawn(|| take(same).is_valid());
        until_waiting(one, 1);
        assert!(!waiter.is_finished());
        held.release().unwrap();
        assert!(waiter.join().unwrap());
    });
    assert!(is_soon_free(one));
}

/// The longest time-out there is, and none at all.
fn waits_for_ever(one: &dyn Acquire, same: &dyn Acquire) {
    let held = take(one);
    thread::scope(|threads| {
        let options = AcquireOptions::new().with_timeout(Duration::MAX);
        let first = threads.spawn(|| same.acquire_with(options).map(drop));
        let second = threads.spawn(|| same.acquire(None).map(drop));
        until_waiting(one, 2);
        drop(held);
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    assert!(is_soon_free(one));
}
