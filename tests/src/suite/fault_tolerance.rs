//! Leases, losses, limits and wrong use.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{AcquireOptions, LockError, LossReason, Renewal};

use super::core_cases::{is_soon_free, take, until, until_waiting};
use super::{Column, SOON};

/// The shortest lease there is.
const TTL: Duration = Duration::from_millis(100);

/// A token tells of losses and of nothing else.
pub fn a_lost_token_is_silent_while_held_and_after_release(column: &dyn Column) {
    let provider = column.provider();
    let held = take(&*provider.lock("a"));
    let token = held.lost_token();
    assert!(held.is_valid());
    assert_eq!(held.remaining().is_some(), column.backend().is_redis());
    assert_eq!(token.reason(), None);
    held.release().unwrap();
    assert_eq!(token.reason(), None);
    drop(take(&*provider.lock("a")));
    assert_eq!(token.reason(), None);
}

/// A holder that hangs does not hold for ever.
pub fn a_hold_ends_at_its_limit(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let options = AcquireOptions::new().with_max_hold(Duration::from_millis(50));
    let held = lock.acquire_with(options).unwrap();
    let (token, earlier) = (held.lost_token(), held.lost_token());
    assert_eq!(token.changed(), LossReason::HoldLimit);
    assert_eq!(earlier.reason(), Some(LossReason::HoldLimit));
    assert_eq!(held.lost_token().reason(), Some(LossReason::HoldLimit));
    assert!(!held.is_valid());
    assert_eq!(held.remaining(), Some(Duration::ZERO));
    assert!(held.extend(SOON).unwrap_err().is_lost());
    let next = take(&*lock);
    match held.release() {
        Err(LockError::LockLost(reason)) => assert_eq!(reason, LossReason::HoldLimit),
        outcome => panic!("a lost lock was released: {outcome:?}"),
    }
    assert!(next.is_valid());
}

/// A lease that nobody renews frees the lock for whoever waits.
pub fn a_lease_that_is_not_renewed_ends(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let options = AcquireOptions::new().with_ttl(TTL).with_renewal(Renewal::Off);
    let started = Instant::now();
    let held = lock.acquire_with(options).unwrap();
    assert!(held.remaining().is_some_and(|remaining| remaining <= TTL));
    let next = take(&*lock);
    // Where clocks may differ, a holder gives up a little before its lease ends: 1 % and 2 ms.
    let drift = if column.backend().is_redis() { Duration::from_millis(3) } else { Duration::ZERO };
    assert!(started.elapsed() >= TTL - drift);
    assert_eq!(held.lost_token().changed(), LossReason::Expired);
    assert!(!held.is_valid() && next.is_valid());
}

/// Whoever holds a lease that nobody renews hears of its end in time to stop.
pub fn a_lease_that_runs_out_is_told_of_before(column: &dyn Column) {
    let provider = column.provider();
    let ttl = Duration::from_secs(1);
    let options = AcquireOptions::new().with_ttl(ttl).with_renewal(Renewal::Off);
    let held = provider.lock("a").acquire_with(options).unwrap();
    let token = held.lost_token();
    assert!(!token.is_expiring());
    token.expiring();
    assert!(token.is_expiring() && held.lost_token().is_expiring());
    assert!(held.remaining().is_some_and(|remaining| remaining <= ttl / 3));
    assert_eq!(token.changed(), LossReason::Expired);
    assert!(token.is_expiring());
}

/// A lease that is renewed lasts as long as its holder.
pub fn a_lease_is_renewed_until_released(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let held = lock.acquire_with(AcquireOptions::new().with_ttl(SOON)).unwrap();
    let first = held.remaining().expect("a lease ends");
    assert!(first <= SOON && held.is_valid());
    held.release().unwrap();

    let every = Renewal::Every(Duration::from_millis(1));
    let options = AcquireOptions::new().with_ttl(SOON).with_renewal(every);
    let held = lock.acquire_with(options).unwrap();
    let earliest_end = Instant::now() + SOON;
    until("a renewal", || {
        let remaining = held.remaining().expect("a lease ends");
        Instant::now() + remaining > earliest_end + Duration::from_millis(5)
    });
    assert_eq!(held.lost_token().reason(), None);
    held.release().unwrap();
    assert!(is_soon_free(&*lock));
}

/// A cap on renewals is an end of the hold.
pub fn renewals_end_when_they_are_used_up(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let options = AcquireOptions::new().with_ttl(TTL).with_max_renewals(2);
    let started = Instant::now();
    let held = lock.acquire_with(options).unwrap();
    assert_eq!(held.lost_token().changed(), LossReason::Expired);
    assert!(started.elapsed() >= TTL + TTL / 3, "no renewal happened");
    assert!(is_soon_free(&*lock));
}

/// An extension by hand makes the lease longer, and never shorter.
pub fn a_lease_is_extended_by_hand(column: &dyn Column) {
    let provider = column.provider();
    let options = AcquireOptions::new().with_ttl(SOON).with_renewal(Renewal::Off);
    let held = provider.lock("a").acquire_with(options).unwrap();
    held.extend(SOON * 3).unwrap();
    assert!(held.remaining().is_some_and(|remaining| remaining > SOON * 2));
    held.extend(Duration::from_millis(1)).unwrap();
    assert!(held.remaining().is_some_and(|remaining| remaining > SOON * 2));
    held.release().unwrap();
}

/// What lasts as long as its handle has nothing to extend.
pub fn a_lock_without_a_lease_is_extended_for_nothing(column: &dyn Column) {
    let held = take(&*column.provider().lock("a"));
    held.extend(Duration::from_millis(1)).unwrap();
    assert_eq!(held.remaining().is_some(), column.backend().is_redis());
    assert!(held.is_valid());
}

/// Each wrong option is named, and nothing is locked.
pub fn wrong_options_are_named(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let with_ttl = || AcquireOptions::new().with_ttl(SOON);
    let wrong = [
        ("ttl", AcquireOptions::new().with_ttl(Duration::ZERO)),
        ("ttl", AcquireOptions::new().with_ttl(Duration::from_millis(99))),
        ("ttl", AcquireOptions::new().with_ttl(Duration::MAX)),
        ("renewal", with_ttl().with_renewal(Renewal::Every(Duration::ZERO))),
        ("renewal", with_ttl().with_renewal(Renewal::Every(SOON))),
        ("max_hold", AcquireOptions::new().with_max_hold(Duration::ZERO)),
        ("owner", AcquireOptions::new().with_owner("two\nlines")),
        ("owner", AcquireOptions::new().with_owner(&"x".repeat(256))),
    ];
    let needs_ttl = ("max_renewals", AcquireOptions::new().with_max_renewals(3));
    let needs_ttl = Some(needs_ttl).filter(|_| !column.backend().is_redis());
    for (expected, options) in wrong.into_iter().chain(needs_ttl) {
        match lock.acquire_with(options.clone()) {
            Err(LockError::InvalidConfig { option, .. }) => assert_eq!(option, expected),
            outcome => panic!("{options:?}: {:?}", outcome.err()),
        }
        assert!(is_soon_free(&*lock));
    }
}

/// Names have an end.
pub fn a_name_that_is_too_long_is_refused(column: &dyn Column) {
    let provider = column.provider();
    let name = "x".repeat((1 << 20) + 1);
    let outcome = provider.lock(&name).acquire(None);
    assert!(matches!(outcome, Err(LockError::InvalidName(_))));
    // A single try could find that servers take too long over so long a name.
    take(&*provider.lock(&name[1..])).release().unwrap();
}

/// Closing a provider ends all that it has begun.
pub fn closing_cancels_and_releases(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let held = take(&*lock);
    let token = held.lost_token();
    thread::scope(|threads| {
        let waiter = threads.spawn(|| lock.acquire(None).map(drop));
        until_waiting(&*lock, 1);
        provider.close();
        assert!(matches!(waiter.join().unwrap(), Err(LockError::Cancelled)));
    });
    assert!(matches!(lock.acquire(None).map(drop), Err(LockError::Cancelled)));
    assert!(matches!(lock.try_acquire().map(drop), Err(LockError::Cancelled)));
    assert_eq!(token.reason(), Some(LossReason::Closed));
    assert!(!held.is_valid());
    assert!(held.release().unwrap_err().is_lost());
}

/// Unwinding drops the handle like any other way out.
pub fn a_panicking_holder_frees_the_lock(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = take(&*lock);
        std::panic::resume_unwind(Box::new("work failed"));
    }));
    assert!(panicked.is_err());
    assert!(is_soon_free(&*lock));
}
