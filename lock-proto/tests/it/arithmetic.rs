use std::time::Duration;

use lock_proto::{Instant, Seed};

use crate::timeline::{at, ms};

#[test]
fn a_moment_counts_nanoseconds_from_the_origin() {
    assert_eq!(at(5), Instant::from_nanos(5_000_000));
    assert_eq!(at(5).as_nanos(), 5_000_000);
}

#[test]
fn time_never_wraps_around() {
    assert_eq!(Instant::FAR_FUTURE + ms(1), Instant::FAR_FUTURE);
    assert_eq!(at(1) + Duration::MAX, Instant::FAR_FUTURE);
}

#[test]
fn an_earlier_moment_is_no_time_after_a_later_one() {
    assert_eq!(at(7).since(at(4)), ms(3));
    assert_eq!(at(4).since(at(7)), Duration::ZERO);
}

#[test]
fn moments_are_shown_in_seconds() {
    assert_eq!(format!("{:?}", at(12_345)), "12.345s");
    assert_eq!(format!("{:?}", Instant::FAR_FUTURE), "never");
}

#[test]
fn equal_seeds_give_equal_numbers() {
    let draw = |byte| Seed::from_bytes([byte; 32]).jitter().next_u64();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_seed_is_never_printed() {
    assert_eq!(format!("{:?}", Seed::from_bytes([42; 32])), "Seed(..)");
}

#[test]
fn jitter_stays_in_its_range_and_reaches_both_ends() {
    let mut jitter = Seed::from_bytes([3; 32]).jitter();
    let (shortest, longest) = (Duration::from_nanos(10), Duration::from_nanos(13));
    let drawn: Vec<Duration> = (0..200).map(|_| jitter.between(shortest, longest)).collect();
    assert!(drawn.iter().all(|rest| (shortest..=longest).contains(rest)));
    assert!(drawn.contains(&shortest) && drawn.contains(&longest));
}

#[test]
fn jitter_of_a_reversed_range_is_its_start() {
    let mut jitter = Seed::from_bytes([3; 32]).jitter();
    assert_eq!(jitter.between(ms(9), ms(4)), ms(9));
}

#[test]
fn jitter_of_the_widest_range_does_not_overflow() {
    // It once did.
    let mut jitter = Seed::from_bytes([3; 32]).jitter();
    for _ in 0..100 {
        jitter.between(Duration::ZERO, Duration::MAX);
        jitter.between(ms(1), Duration::MAX);
    }
}
