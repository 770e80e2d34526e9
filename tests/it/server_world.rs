use lock_tests::entropy::Entropy;
use lock_tests::seeds::{first_violation, is_deterministic, run_seeds};
use lock_tests::server_world::{Setting, run};
use lock_tests::sightings::Sightings;
use lock_tests::trace::Trace;

#[test]
fn locks_on_a_faithful_server_exclude_and_are_served_and_leave_nothing() {
    if let Some(seen) = run_seeds(6_000, faithful) {
        seen.must_have_seen(&[
            "a client crashed",
            "a lease ran out",
            "a lock was acquired",
            "a lock was passed on within its process",
            "a request arrived after its connection was gone",
            "a warning",
            "readers share",
            "whoever waits for ever is served",
        ]);
    }
}

#[test]
fn fences_rise_on_a_server_that_forgets() {
    if let Some(seen) = run_seeds(6_000, forgetful) {
        seen.must_have_seen(&["the server forgot", "a lock was revoked"]);
    }
}

#[test]
fn equal_schedules_of_a_server_lead_to_equal_runs() {
    assert!((0..30).all(|seed| is_deterministic(seed, forgetful)));
}

#[test]
fn clocks_that_differ_by_more_than_is_allowed_for_are_found_out() {
    assert!(first_violation(4_000, "exclusion", trusting).is_some());
}

#[test]
fn fences_that_are_only_counted_are_found_out() {
    assert!(first_violation(4_000, "fence", incrementing).is_some());
}

fn faithful(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Faithful, entropy, sightings)
}

fn forgetful(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Forgetful, entropy, sightings)
}

fn trusting(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Trusting, entropy, sightings)
}

fn incrementing(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Incrementing, entropy, sightings)
}
