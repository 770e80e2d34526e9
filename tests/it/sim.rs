use lock_tests::entropy::Entropy;
use lock_tests::seeds::{first_failing_seed, is_deterministic, run_seeds};
use lock_tests::service::disk::Lie;
use lock_tests::sightings::Sightings;
use lock_tests::trace::Trace;
use lock_tests::world::{self, Setting};

#[test]
fn file_locks_exclude_in_a_mild_world() {
    if let Some(seen) = run_seeds(3_000, mild) {
        seen.must_have_seen(&[
            "a cancel in the queue",
            "a contended gate",
            "a late grant is given back",
            "a missing directory",
            "a replaced file was opened",
            "a try gives permits back",
            "permits are out",
            "readers share",
            "somebody waits for a killed process",
        ]);
    }
}

#[test]
fn file_locks_exclude_in_a_harsh_world() {
    if let Some(seen) = run_seeds(3_000, harsh) {
        seen.must_have_seen(&["a fault", "a held file was replaced", "a torn record"]);
    }
}

#[test]
fn equal_schedules_lead_to_equal_runs() {
    assert!((0..30).all(|seed| is_deterministic(seed, harsh)));
}

#[test]
fn a_disk_that_says_every_file_is_the_right_one_is_found_out() {
    assert!(first_failing_seed(1_500, wrong_file).is_some());
}

#[test]
fn a_disk_on_which_nothing_is_busy_is_found_out() {
    assert!(first_failing_seed(100, never_busy).is_some());
}

#[test]
fn a_wall_clock_that_stands_still_is_found_out() {
    assert!(first_failing_seed(500, stopped_clock).is_some());
}

fn mild(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    world::run(Setting::mild(), entropy, sightings)
}

fn harsh(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    world::run(Setting::harsh(), entropy, sightings)
}

fn wrong_file(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    world::run(Setting::lying(Lie::AlwaysTheRightFile), entropy, sightings)
}

fn never_busy(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    world::run(Setting::lying(Lie::NeverBusy), entropy, sightings)
}

fn stopped_clock(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    world::run(Setting::lying(Lie::StoppedClock), entropy, sightings)
}
