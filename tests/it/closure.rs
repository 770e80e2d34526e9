use std::time::Duration;

use lock_proto::Demand;
use lock_proto::postgres::Mode;
use lock_proto::redis::Side;
use lock_tests::closure::{
    MemoryWorld, PostgresFlaw, PostgresWorld, Premise, RedisFlaw, RedisWorld, Violation, WORLDS,
    explore,
};
use lock_tests::redis_model::Omission;
use lock_tests::seeds::invariant;

/// How far each world is searched: with so many faults, and to its last state or not.
const BOUNDS: [(usize, usize, bool); 13] = [
    (2, 100_000, true),
    (2, 100_000, true),
    (1, 300_000, true),
    (1, 300_000, true),
    (0, 100_000, true),
    (0, 100_000, true),
    (0, 10_000, false),
    (0, 100_000, true),
    (0, 200_000, true),
    (0, 10_000, false),
    (0, 20_000, false),
    (1, 100_000, true),
    (1, 100_000, true),
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

#[test]
fn a_majority_is_not_enough_where_a_server_forgets() {
    let violation = forgetting(Premise::Majority);
    assert_eq!(invariant(&violation.message), "exclusion", "{violation}");
}

#[test]
fn a_server_that_has_only_seen_a_ballot_is_not_enough_where_another_forgets() {
    let violation = forgetting(Premise::Reached);
    assert_eq!(invariant(&violation.message), "fence", "{violation}");
}

#[test]
fn a_release_that_asks_nobody_whose_lock_it_is_is_found() {
    let violation = one_server(1, Omission::ComparedRelease);
    assert_eq!(invariant(&violation.message), "truth", "{violation}");
}

#[test]
fn a_server_whose_numbers_are_not_at_least_its_clock_is_found_where_a_counter_is_lost() {
    let flaw = Some(RedisFlaw::Script(Omission::ServerTime));
    let world = RedisWorld::one_server([Side::Exclusive; 2], 1, flaw);
    let violation = explore(&world.evicting(), 300_000).expect_err("it is broken");
    assert_eq!(invariant(&violation.message), "fence", "{violation}");
}

#[test]
fn a_server_that_forgets_who_gave_up_is_found() {
    let violation = one_server(1, Omission::Refusal);
    assert_eq!(invariant(&violation.message), "refusal", "{violation}");
}

#[test]
fn an_error_that_is_taken_for_the_proof_that_nothing_is_held_is_found() {
    let violation = postgres(0, PostgresFlaw::ForgetsToRecheck);
    assert_eq!(invariant(&violation.message), "cleanness", "{violation}");
}

#[test]
fn a_loss_that_nobody_hears_of_is_found() {
    let violation = postgres(1, PostgresFlaw::TellsNoLoss);
    assert_eq!(invariant(&violation.message), "loss", "{violation}");
}

#[test]
fn a_cancel_that_hits_what_comes_after_is_found() {
    let violation = postgres(0, PostgresFlaw::WaitsForNoCancel);
    assert_eq!(invariant(&violation.message), "stray", "{violation}");
}

/// Two that do not wait for a quorum of three, of which one may forget: that all have granted a hold
/// is enough is shown above.
fn forgetting(premise: Premise) -> Box<Violation> {
    let world = RedisWorld::single_votes(3, [Side::Exclusive; 2], 0, None);
    explore(&world.prompt().forgetting(premise), 300_000).expect_err("it is not enough")
}

fn postgres(faults: usize, flaw: PostgresFlaw) -> Box<Violation> {
    let wants = [(Mode::Exclusive, None), (Mode::Exclusive, Some(Duration::from_secs(1)))];
    let world = PostgresWorld::new(wants, faults, Some(flaw));
    explore(&world, 100_000).expect_err("it is broken")
}

fn one_server(faults: usize, omission: Omission) -> Box<Violation> {
    let flaw = Some(RedisFlaw::Script(omission));
    let world = RedisWorld::one_server([Side::Exclusive; 2], faults, flaw);
    explore(&world, 300_000).expect_err("it is broken")
}
