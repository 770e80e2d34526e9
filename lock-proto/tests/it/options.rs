use std::time::Duration;

use lock_proto::memory::MemoryLock;
use lock_proto::{AcquireOptions, Backoff, Demand, Instant, LockError, Renewal};

use crate::timeline::ms;

#[test]
fn the_defaults_wait_for_ever_and_have_no_lease() {
    let options = AcquireOptions::new();
    assert_eq!(options.timeout(), None);
    let terms = options.terms().unwrap();
    assert_eq!(
        (terms.ttl, terms.cadence, terms.renewals, terms.max_hold),
        (None, None, None, None)
    );
}

#[test]
fn a_timeout_can_be_asked_for() {
    assert_eq!(AcquireOptions::new().with_timeout(ms(5)).timeout(), Some(ms(5)));
}

#[test]
fn a_lease_is_renewed_every_third_of_it_unless_told_otherwise() {
    let leased = AcquireOptions::new().with_ttl(ms(9000));
    assert_eq!(leased.terms().unwrap().cadence, Some(ms(3000)));
    let every = leased.clone().with_renewal(Renewal::Every(ms(8999)));
    assert_eq!(every.terms().unwrap().cadence, Some(ms(8999)));
    assert_eq!(leased.with_renewal(Renewal::Off).terms().unwrap().cadence, None);
}

#[test]
fn a_ttl_outside_its_range_is_refused() {
    let longest = ms(i32::MAX as u64);
    for ttl in [ms(100), longest] {
        assert!(AcquireOptions::new().with_ttl(ttl).terms().is_ok(), "{ttl:?}");
    }
    for ttl in [ms(0), Duration::from_micros(99_999), longest + ms(1), Duration::MAX] {
        check_refused(&AcquireOptions::new().with_ttl(ttl), "ttl");
    }
}

#[test]
fn a_renewal_that_comes_too_late_or_all_the_time_is_refused() {
    let leased = AcquireOptions::new().with_ttl(ms(1000));
    for cadence in [ms(0), ms(1000), Duration::MAX] {
        check_refused(&leased.clone().with_renewal(Renewal::Every(cadence)), "renewal");
    }
}

#[test]
fn renewals_need_a_lease() {
    check_refused(&AcquireOptions::new().with_renewal(Renewal::Every(ms(1))), "renewal");
    check_refused(&AcquireOptions::new().with_max_renewals(1), "max_renewals");
}

#[test]
fn a_hold_of_no_time_is_refused() {
    check_refused(&AcquireOptions::new().with_max_hold(ms(0)), "max_hold");
    assert!(AcquireOptions::new().with_max_hold(Duration::MAX).terms().is_ok());
}

#[test]
fn an_owner_is_one_short_line() {
    assert!(AcquireOptions::new().with_owner(&"x".repeat(255)).terms().is_ok());
    for owner in ["a\nb", "a\rb", "a\0b", &"x".repeat(256)] {
        check_refused(&AcquireOptions::new().with_owner(owner), "owner");
    }
}

#[test]
fn rests_outside_their_range_are_refused() {
    let hour = Duration::from_secs(3600);
    assert!(Backoff::new(ms(1), ms(1)).is_ok());
    assert!(Backoff::new(ms(1), hour).is_ok());
    let wrong = [
        (ms(0), ms(5)),
        (Duration::from_micros(999), ms(5)),
        (ms(5), ms(4)),
        (ms(5), hour + ms(1)),
        (Duration::MAX, Duration::MAX),
    ];
    for (shortest, longest) in wrong {
        let error = Backoff::new(shortest, longest).unwrap_err();
        assert_eq!(option_of(&error), Some("backoff"), "{error}");
    }
}

#[test]
fn permits_that_cannot_be_had_are_refused() {
    assert!(Demand::permits(1, 1).is_ok());
    assert!(Demand::permits(u32::MAX, u32::MAX).is_ok());
    for (count, limit, option) in [(0, 3, "permits"), (4, 3, "permits"), (1, 0, "limit")] {
        let error = Demand::permits(count, limit).unwrap_err();
        assert_eq!(option_of(&error), Some(option), "{error}");
    }
}

#[test]
fn a_refused_option_says_which_values_are_right() {
    let error = AcquireOptions::new().with_ttl(ms(5)).terms().unwrap_err();
    assert_eq!(error.to_string(), "invalid option ttl: 5ms is not between 100ms and 2147483.647s");
}

#[test]
fn absurd_waits_are_no_error_and_no_overflow() {
    let options = AcquireOptions::new().with_timeout(Duration::MAX).with_max_hold(Duration::MAX);
    let now = Instant::from_nanos(u64::MAX - 5);
    assert!(MemoryLock::new(Demand::Exclusive, &options, now).is_ok());
}

fn check_refused(options: &AcquireOptions, option: &str) {
    let error = options.terms().expect_err("the option is out of its range");
    assert_eq!(option_of(&error), Some(option), "{error}");
    let machine = MemoryLock::new(Demand::Exclusive, options, Instant::ZERO);
    assert_eq!(machine.err().as_ref().and_then(option_of), Some(option));
}

fn option_of(error: &LockError) -> Option<&'static str> {
    if let LockError::InvalidConfig { option, .. } = error { Some(option) } else { None }
}

#[test]
fn a_machine_never_waits_for_permits_that_do_not_exist() {
    for (count, limit) in [(0, 3), (4, 3), (1, 0)] {
        let demand = Demand::Permits { count, limit };
        let refused = MemoryLock::new(demand, &AcquireOptions::new(), Instant::ZERO);
        assert!(matches!(refused, Err(LockError::InvalidConfig { .. })), "{count} of {limit}");
    }
}
