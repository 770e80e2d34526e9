use std::time::Duration;

use lock_proto::redis::{LIVENESS, Side};
use lock_tests::redis_model::Answer;
use lock_tests::redis_twin::Step;

use super::{Bench, TTL};

const ONE: Side = of_three(1);
const TWO: Side = of_three(2);
const THREE: Side = of_three(3);

const fn of_three(count: u32) -> Side {
    Side::Permits { count, limit: 3 }
}

#[test]
fn permits_are_given_out_until_none_is_left() {
    let mut bench = Bench::start();
    assert_eq!(bench.enter(1, TWO)[0], 1);
    assert_eq!(bench.enter(2, ONE)[0], 1);
    let [no, remaining, ahead] = bench.attempt(3, ONE);
    assert!(no == 0 && ahead == 0 && (9000..=10_001).contains(&remaining), "{remaining}");
    assert!(bench.leave(1, TWO) && bench.leave(2, ONE) && !bench.leave(2, ONE));
    assert!(bench.told().is_empty() && bench.is_clean());
}

#[test]
fn a_taker_of_many_permits_is_granted_all_or_none() {
    let mut bench = Bench::start();
    bench.enter(1, TWO);
    bench.enter(2, ONE);
    assert_eq!(bench.enter(3, TWO)[0], 0);
    bench.leave(2, ONE);
    assert!(bench.told().is_empty(), "one permit is free, and it wants two");
    bench.leave(1, TWO);
    assert_eq!(bench.told(), [(3, 1)]);
    assert_eq!(bench.enter(4, ONE)[0], 1);
    assert_eq!(bench.enter(5, ONE)[0], 0);
}

#[test]
fn nobody_overtakes_a_taker_of_many() {
    let mut bench = Bench::start();
    bench.enter(1, TWO);
    assert_eq!(bench.enter(2, THREE)[0], 0);
    assert_eq!(bench.enter(3, ONE)[0], 0, "one is free, but it is not its turn");
    assert_eq!(bench.attempt(4, ONE)[0], 0);
    bench.leave(1, TWO);
    assert_eq!(bench.told(), [(2, 1)]);
    bench.leave(2, THREE);
    assert_eq!(bench.told(), [(3, 1)]);
}

#[test]
fn a_taker_of_many_that_gives_up_lets_in_whoever_now_fits() {
    let mut bench = Bench::start();
    bench.enter(1, ONE);
    bench.enter(2, THREE);
    bench.enter(3, ONE);
    bench.enter(4, ONE);
    bench.enter(5, ONE);
    bench.leave(2, THREE);
    assert_eq!(bench.told(), [(3, 1), (4, 1)]);
}

#[test]
fn a_permit_of_another_library_counts_and_ours_count_for_it() {
    let mut bench = Bench::start();
    let theirs = |name: &str| Step::Permit {
        key: "a".into(),
        member: name.into(),
        limit: 3,
        ttl_ms: 30_000,
    };
    assert_eq!(bench.step(&theirs("web-1_1_x")).unwrap(), [Answer::Number(1)]);
    assert_eq!(bench.enter(1, TWO)[0], 1);
    assert_eq!(bench.step(&theirs("web-1_1_y")).unwrap(), [Answer::Number(0)]);
    assert_eq!(bench.enter(2, ONE)[0], 0);
    bench.leave(1, TWO);
    assert_eq!(bench.told(), [(2, 1)]);
    assert_eq!(bench.step(&theirs("web-1_1_y")).unwrap(), [Answer::Number(1)]);
    assert_eq!(bench.step(&theirs("web-1_1_z")).unwrap(), [Answer::Number(0)]);
}

#[test]
fn a_permit_whose_lease_is_over_is_free() {
    let mut bench = Bench::start();
    bench.enter(1, THREE);
    bench.pass(10_001);
    assert_eq!(bench.enter(2, THREE)[0], 1);
    assert!(!bench.extend(1, THREE, TTL));
    assert!(!bench.leave(1, THREE));
}

#[test]
fn extending_needs_every_permit_and_never_shortens() {
    let mut bench = Bench::start();
    bench.enter(1, TWO);
    assert!(!bench.extend(1, THREE, TTL));
    assert!(bench.extend(1, TWO, Duration::from_millis(100)));
    bench.pass(9000);
    assert!(bench.extend(1, TWO, TTL));
    bench.pass(9000);
    assert_eq!(bench.enter(2, TWO)[0], 0);
    assert!(bench.extend(1, TWO, TTL));
}

#[test]
fn whoever_has_its_permits_by_now_is_told_yes() {
    let mut bench = Bench::start();
    bench.enter(1, THREE);
    bench.enter(2, TWO);
    bench.leave(1, THREE);
    let [yes, fence, _] = bench.enter_with(2, TWO, 2);
    assert_eq!(yes, 1);
    let [yes, next, _] = bench.enter_with(2, TWO, 3);
    assert!(yes == 1 && next > fence);
    bench.pass(9000);
    assert!(bench.extend(2, TWO, TTL), "it was given the whole time to live");
    bench.leave(2, TWO);
    assert!(bench.is_clean());
}

#[test]
fn each_taker_is_held_to_the_limit_that_it_brings() {
    let mut bench = Bench::start();
    assert_eq!(bench.enter(1, TWO)[0], 1);
    assert_eq!(bench.attempt(2, Side::Permits { count: 1, limit: 2 })[0], 0);
    assert_eq!(bench.attempt(2, Side::Permits { count: 2, limit: 4 })[0], 1);
}

#[test]
fn a_late_refresh_of_a_taker_does_not_lower_the_stamp() {
    let mut bench = Bench::start();
    bench.enter(1, THREE);
    bench.enter_with(2, ONE, 10);
    bench.enter_with(2, ONE, 9);
    bench.leave(1, THREE);
    assert_eq!(bench.told(), [(2, 10)]);
}

#[test]
fn a_dead_taker_is_dropped_and_an_attempt_leaves_no_place() {
    let mut bench = Bench::start();
    bench.enter(1, THREE);
    bench.enter(2, ONE);
    bench.pass(LIVENESS.as_millis() as i64 + 1);
    bench.enter(3, ONE);
    bench.attempt(4, ONE);
    bench.leave(1, THREE);
    assert_eq!(bench.told(), [(3, 1)]);
    bench.leave(3, ONE);
    assert!(bench.is_clean());
}

#[test]
fn a_refused_taker_is_never_let_in() {
    let mut bench = Bench::start();
    bench.enter(1, THREE);
    bench.enter(2, ONE);
    bench.refuse(2, ONE);
    assert_eq!(bench.enter(2, ONE), [-1, 0, 0]);
    bench.leave(1, THREE);
    assert!(bench.told().is_empty());
}

#[test]
fn it_can_be_asked_who_has_permits() {
    let mut bench = Bench::start();
    bench.enter(1, TWO);
    bench.enter(2, TWO);
    let info = bench.info(ONE);
    assert_eq!(info[1], Answer::Number(1));
    assert_eq!(info.len(), 4 + 2 * 2, "a name and a lease for each permit");
}
