use lock_proto::Demand;
use lock_proto::redis::Side;
use lock_tests::closure::{MemoryWorld, RedisFlaw, RedisWorld, Violation, WORLDS, explore};
use lock_tests::redis_model::Omission;
use lock_tests::seeds::invariant;

/// How far each world is searched: with so many faults, and to its last state or not.
const BOUNDS: [(usize, usize, bool); 6] = [
    (2, 100_000, true),
    (2, 100_000, true),
    (1, 300_000, true),
    (0, 100_000, true),
    (0, 100_000, true),
    (0, 20_000, false),
];

#[test]
fn every_state_of_the_small_worlds_keeps_the_invariants() {
    assert_eq!(WORLDS.len(), BOUNDS.len());
    for (world, (faults, limit, is_complete)) in WORLDS.iter().zip(BOUNDS) {
        let seen = (world.search)(faults, limit);
        let seen = seen.unwrap_or_else(|violation| panic!("{}:\n{violation}", world.name));
        assert_eq!(seen.is_complete, is_complete, "{}: {seen:?}", world.name);
        assert!(seen.depth > 6, "{}: {seen:?}", world.name);
    }
}

#[test]
fn a_driver_that_never_says_that_time_has_passed_is_found() {
    let world = MemoryWorld::new([Demand::Exclusive; 2], 0, true);
    let violation = explore(&world, 10_000).unwrap_err();
    assert_eq!(invariant(&violation.message), "exclusion", "{violation}");
}

#[test]
fn a_holder_that_still_stands_in_the_queue_is_found() {
    let violation = one_server(0, Omission::OwnEntry);
    assert_eq!(invariant(&violation.message), "cleanness", "{violation}");
}

#[test]
fn an_extension_that_takes_what_is_missing_is_found() {
    let violation = one_server(1, Omission::HeldExtend);
    assert_eq!(invariant(&violation.message), "cleanness", "{violation}");
}

#[test]
fn a_server_that_grants_lower_ballots_is_found() {
    let flaw = Some(RedisFlaw::FallingBallots);
    let world = RedisWorld::quorum(1, [Side::Exclusive; 2], 0, flaw);
    let violation = explore(&world, 100_000).unwrap_err();
    assert_eq!(invariant(&violation.message), "fence", "{violation}");
}

fn one_server(faults: usize, omission: Omission) -> Box<Violation> {
    let flaw = Some(RedisFlaw::Script(omission));
    let world = RedisWorld::one_server([Side::Exclusive; 2], faults, flaw);
    explore(&world, 300_000).expect_err("it is broken")
}
