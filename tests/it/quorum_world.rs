use lock_tests::entropy::Entropy;
use lock_tests::quorum_world::{Rule, Setting, run};
use lock_tests::seeds::{first_violation, is_deterministic, run_seeds};
use lock_tests::sightings::Sightings;
use lock_tests::trace::Trace;

#[test]
fn locks_on_faithful_servers_exclude_and_are_served_and_leave_nothing() {
    if let Some(seen) = run_seeds(3_000, faithful) {
        seen.must_have_seen(&[
            "a client crashed",
            "a lease ran out",
            "a lock was acquired",
            "a lock was prolonged",
            "a request arrived after its connection was gone",
            "a waiter was nudged",
            "a warning",
            "a yes at another ballot",
            "permits are out",
            "readers share",
            "whoever waits for ever is served",
        ]);
    }
}

#[test]
fn what_is_promised_of_a_server_that_forgets_holds() {
    if let Some(seen) = run_seeds(3_000, forgetful) {
        seen.must_have_seen(&["a server forgot", "table B, (c)"]);
    }
}

#[test]
fn equal_schedules_of_several_servers_lead_to_equal_runs() {
    assert!((0..30).all(|seed| is_deterministic(seed, forgetful)));
}

#[test]
fn every_broken_rule_is_found_out() {
    let violated = |violated, simulation| first_violation(20_000, violated, simulation);
    let found = [
        violated("exclusion", |entropy, seen| broken(Rule::StepBackAtItsBallot, entropy, seen)),
        violated("exclusion", |entropy, seen| broken(Rule::Drift, entropy, seen)),
        violated("exclusion", |entropy, seen| broken(Rule::NeverShorten, entropy, seen)),
        violated("ballots", |entropy, seen| broken(Rule::RisingBallots, entropy, seen)),
        violated("ballots", |entropy, seen| broken(Rule::SameBallot, entropy, seen)),
        violated("exclusion", |entropy, seen| broken(Rule::TakeOnlyWhatIsMissing, entropy, seen)),
    ];
    assert!(found.iter().all(Option::is_some), "{found:?}");
}

fn faithful(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Faithful, entropy, sightings)
}

fn forgetful(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Forgetful, entropy, sightings)
}

fn broken(rule: Rule, entropy: Entropy, sightings: &mut Sightings) -> Trace {
    run(Setting::Broken(rule), entropy, sightings)
}
