use lock_tests::entropy::Entropy;
use lock_tests::postgres_world::{Flaw, run};
use lock_tests::seeds::{first_violation, is_deterministic, run_seeds};
use lock_tests::sightings::Sightings;
use lock_tests::trace::Trace;

#[test]
fn locks_on_a_server_with_sessions_exclude_and_are_served_and_leave_nothing() {
    if let Some(seen) = run_seeds(12_000, sound) {
        seen.must_have_seen(&[
            "a backend was killed",
            "a cancel found nothing to cancel",
            "a cancel was lost",
            "a client crashed",
            "a connection broke",
            "a failure",
            "a grant met a cancel",
            "a grant met a time-out",
            "a lock closed in doubt",
            "a lock was acquired",
            "a lock was lost",
            "a lock was passed on within its process",
            "a time-out",
            "readers share",
            "the server stopped",
            "whoever waits for ever is served",
        ]);
    }
}

#[test]
fn equal_schedules_of_a_server_with_sessions_lead_to_equal_runs() {
    assert!((0..30).all(|seed| is_deterministic(seed, sound)));
}

macro_rules! found_out {
    ($($name:ident: $flaw:ident, $violated:literal;)*) => {$(
        #[test]
        fn $name() {
            let simulation = |entropy: Entropy, sightings: &mut Sightings| {
                run(Flaw::$flaw, entropy, sightings)
            };
            assert!(first_violation(4_000, $violated, simulation).is_some());
        }
    )*};
}

found_out! {
    a_wait_that_failed_and_is_not_given_back_is_found_out: ForgetsToRecheck, "leak";
    a_session_in_doubt_that_goes_on_is_found_out: ClosesNothing, "leak";
    a_wait_on_a_session_that_holds_is_found_out: WaitsBesideHolds, "waiting";
    a_lock_that_is_given_back_twice_is_found_out: UnlocksTwice, "truth";
    a_cancel_that_is_not_waited_for_is_found_out: WaitsForNoCancel, "stray";
    a_gate_that_is_forgotten_is_found_out: ForgetsTheGate, "leak";
    a_loss_that_is_not_told_is_found_out: TellsNoLoss, "loss";
}

fn sound(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Flaw::None, entropy, sightings)
}
