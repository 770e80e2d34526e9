use std::time::Duration;

use lock_proto::redis::RoundTrip;

use crate::timeline::ms;

#[test]
fn patience_follows_the_round_trip_within_its_bounds() {
    let mut trip = RoundTrip::new();
    assert_eq!(trip.patience(), ms(250), "before anything was measured");
    trip.answered(ms(220));
    assert_eq!(trip.patience(), ms(220 + 4 * 110));
    // Each further measurement has a quarter of the variation, and an eighth of the mean.
    trip.answered(ms(220));
    assert_eq!(trip.patience(), ms(220 + 3 * 110));
    for _ in 0..100 {
        trip.answered(ms(220));
    }
    assert!(trip.patience() < ms(222), "{:?}", trip.patience());
    trip.answered(ms(300));
    assert!((ms(310)..ms(312)).contains(&trip.patience()), "{:?}", trip.patience());
    trip.answered(Duration::ZERO);
    trip.answered(Duration::from_micros(1));
    assert!(trip.patience() >= ms(200));
    trip.answered(Duration::MAX);
    assert_eq!(trip.patience(), ms(1000));
}

#[test]
fn silence_doubles_patience_until_an_answer() {
    let mut trip = RoundTrip::new();
    trip.answered(Duration::from_micros(100));
    for patience in [400, 800, 1000, 1000] {
        trip.silent();
        assert_eq!(trip.patience(), ms(patience));
    }
    trip.answered(Duration::from_micros(100));
    assert_eq!(trip.patience(), ms(200));
}
