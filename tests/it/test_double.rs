//! The in-memory provider as the double of any other: losses, delays and time by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::Duration;

use lock_blocking::prelude::*;
use lock_blocking::{LossReason, ManualClock, Renewal};

const SECOND: Duration = Duration::from_secs(1);

fn by_hand() -> (ManualClock, InMemoryLockProvider) {
    let clock = ManualClock::default();
    let provider = InMemoryLockProvider::builder().clock(&clock).build();
    (clock, provider)
}

fn leased(ttl: Duration) -> AcquireOptions {
    AcquireOptions::new().with_ttl(ttl)
}

fn until_waiting(lock: &Lock, waiters: usize) {
    while lock.info().unwrap().waiters != Some(waiters) {
        thread::yield_now();
    }
}

#[test]
fn a_lock_is_lost_for_the_reason_that_a_test_gives() {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("orders");
    for reason in [LossReason::Revoked, LossReason::Disconnected, LossReason::from("a whim")] {
        let handle = lock.acquire(None).unwrap();
        let lost = handle.lost_token();
        assert_eq!(provider.lose("orders", reason.clone()), 1);
        assert_eq!(lost.changed(None), Some(reason.clone()));
        assert!(!handle.is_valid());
        assert!(lock.try_acquire().unwrap().is_some());
        assert!(matches!(handle.release(), Err(LockError::LockLost(lost)) if lost == reason));
    }
    assert_eq!(provider.expire("orders"), 0);
    assert_eq!(provider.expire("never heard of"), 0);
}

#[test]
fn everybody_who_holds_a_name_loses_it() {
    let provider = InMemoryLockProvider::new();
    let reader = provider.create_reader_writer_lock("orders");
    let handles = [
        reader.acquire_read(None).unwrap(),
        reader.acquire_read(None).unwrap(),
        provider.create_semaphore("orders", 3).acquire_many(2, None).unwrap(),
    ];
    let bystander = provider.create_lock("invoices").acquire(None).unwrap();
    assert_eq!(provider.expire("orders"), 3);
    for handle in handles {
        assert_eq!(handle.lost_token().reason(), Some(LossReason::Expired));
    }
    assert!(bystander.is_valid());
}

#[test]
fn a_waiter_gets_what_another_lost() {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("orders");
    let old = lock.acquire(None).unwrap();
    let next = lock.clone();
    let waiter = thread::spawn(move || next.acquire(None));
    until_waiting(&lock, 1);
    provider.expire("orders");
    let new = waiter.join().unwrap().unwrap();
    assert!(new.fence() > old.fence());
    drop(old);
    assert!(new.is_valid());
    assert!(lock.try_acquire().unwrap().is_none());
}

#[test]
fn a_lease_passes_with_the_clock_and_with_nothing_else() {
    let (clock, provider) = by_hand();
    let lock = provider.create_lock("orders");
    let handle = lock.acquire_with(leased(SECOND).with_renewal(Renewal::Off)).unwrap();
    let lost = handle.lost_token();
    assert_eq!(handle.remaining(), Some(SECOND));
    clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(handle.remaining(), Some(Duration::from_nanos(1)));
    assert!(handle.is_valid());
    assert!(!lost.is_lost());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(lost.reason(), Some(LossReason::Expired));
    assert!(!handle.is_valid());
}

#[test]
fn a_lease_is_renewed_a_third_of_its_ttl_after_the_last_time() {
    let (clock, provider) = by_hand();
    let lock = provider.create_lock("orders");
    let handle = lock.acquire_with(leased(SECOND * 3)).unwrap();
    clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(handle.remaining(), Some(SECOND * 2 + Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(handle.remaining(), Some(SECOND * 3));
    for _ in 0..100 {
        clock.advance(SECOND);
        assert_eq!(handle.remaining(), Some(SECOND * 3));
    }
    handle.release().unwrap();
}

#[test]
fn a_long_jump_of_the_clock_stops_at_each_renewal() {
    let (clock, provider) = by_hand();
    let handle = provider.create_lock("orders").acquire_with(leased(SECOND * 3)).unwrap();
    clock.advance(SECOND * 600);
    assert_eq!(handle.remaining(), Some(SECOND * 3));
    handle.release().unwrap();

    let options = leased(SECOND * 3).with_max_renewals(2);
    let handle = provider.create_lock("orders").acquire_with(options).unwrap();
    clock.advance(SECOND * 600);
    assert_eq!(handle.lost_token().reason(), Some(LossReason::Expired));
}

#[test]
fn renewals_are_counted() {
    let (clock, provider) = by_hand();
    let options = leased(SECOND * 3).with_max_renewals(2);
    let handle = provider.create_lock("orders").acquire_with(options).unwrap();
    let lost = handle.lost_token();
    for rest in [3, 3, 2, 1] {
        clock.advance(SECOND);
        assert_eq!(handle.remaining(), Some(SECOND * rest));
    }
    clock.advance(SECOND);
    assert_eq!(lost.reason(), Some(LossReason::Expired));
}

#[test]
fn a_hold_ends_at_its_limit_by_the_clock() {
    let (clock, provider) = by_hand();
    let options = leased(SECOND * 3).with_max_hold(SECOND * 10);
    let handle = provider.create_lock("orders").acquire_with(options).unwrap();
    for _ in 0..9 {
        clock.advance(SECOND);
    }
    assert!(handle.is_valid());
    clock.advance(SECOND);
    assert_eq!(handle.lost_token().reason(), Some(LossReason::HoldLimit));
}

#[test]
fn a_wait_ends_when_the_clock_says_so() {
    let (clock, provider) = by_hand();
    let lock = provider.create_lock("orders");
    let _handle = lock.acquire(None).unwrap();
    let next = lock.clone();
    let waiter = thread::spawn(move || next.acquire(Some(SECOND)).map(drop));
    until_waiting(&lock, 1);
    clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(lock.info().unwrap().waiters, Some(1));
    clock.advance(Duration::from_nanos(1));
    let refused = waiter.join().unwrap();
    assert!(matches!(refused, Err(LockError::Timeout(SECOND))));
    assert_eq!(lock.info().unwrap().waiters, Some(0));
}

#[test]
fn a_slow_backend_answers_when_its_delay_is_over() {
    let (clock, provider) = by_hand();
    let lock = provider.create_lock("orders");
    provider.delay_requests(SECOND);
    let next = lock.clone();
    let waiter = thread::spawn(move || next.try_acquire());
    // Whether it has asked yet can't be seen, so the clock goes on until it has its answer.
    while !waiter.is_finished() {
        assert!(!lock.is_locked().unwrap());
        clock.advance(SECOND);
        thread::yield_now();
        if lock.is_locked().unwrap() {
            break;
        }
    }
    let handle = waiter.join().unwrap().unwrap().unwrap();
    provider.delay_requests(Duration::ZERO);
    handle.release().unwrap();
    assert!(lock.try_acquire().unwrap().is_some());
}

#[test]
fn a_wait_on_a_slow_backend_is_bounded_and_undone() {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("orders");
    provider.delay_requests(Duration::from_millis(80));
    let refused = lock.acquire(Some(Duration::from_millis(10)));
    assert!(refused.is_err_and(|error| error.is_timeout()));
    provider.delay_requests(Duration::ZERO);
    // What was asked comes true late, and is given back.
    assert!(lock.acquire(Some(Duration::from_secs(20))).is_ok());
}

#[test]
fn two_providers_may_share_a_clock() {
    let clock = ManualClock::default();
    let handles: Vec<_> = (0..2)
        .map(|_| {
            let provider = InMemoryLockProvider::builder().clock(&clock).build();
            let options = leased(SECOND).with_renewal(Renewal::Off);
            provider.create_lock("orders").acquire_with(options).unwrap()
        })
        .collect();
    clock.advance(SECOND);
    for handle in handles {
        assert_eq!(handle.lost_token().reason(), Some(LossReason::Expired));
    }
}
