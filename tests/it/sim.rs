use lock_tests::entropy::Entropy;
use lock_tests::memory_world::{self, Driver};
use lock_tests::seeds::{first_violation, is_deterministic, run_seeds};
use lock_tests::service::disk::Lie;
use lock_tests::sightings::Sightings;
use lock_tests::trace::Trace;
use lock_tests::world::{self, Setting};

#[test]
fn file_locks_exclude_in_a_mild_world() {
    if let Some(seen) = run_seeds(8_000, mild) {
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
    if let Some(seen) = run_seeds(8_000, harsh) {
        seen.must_have_seen(&["a fault", "a held file was replaced", "a torn record"]);
    }
}

#[test]
fn memory_locks_exclude_in_any_world() {
    if let Some(seen) = run_seeds(8_000, memory) {
        seen.must_have_seen(&[
            "a cancel in the queue",
            "a late grant is given back",
            "a lease ran out",
            "a lock was revoked",
            "a lock was shared",
        ]);
    }
}

#[test]
fn equal_schedules_lead_to_equal_runs() {
    assert!((0..30).all(|seed| is_deterministic(seed, harsh) && is_deterministic(seed, memory)));
}

#[test]
fn a_disk_that_says_every_file_is_the_right_one_is_found_out() {
    assert!(first_violation(1_000, "exclusion", wrong_file).is_some());
}

#[test]
fn a_disk_on_which_nothing_is_busy_is_found_out() {
    assert!(first_violation(100, "exclusion", never_busy).is_some());
}

#[test]
fn a_wall_clock_that_stands_still_is_found_out() {
    assert!(first_violation(500, "fence", stopped_clock).is_some());
}

#[test]
fn a_driver_that_never_lets_time_pass_is_found_out() {
    assert!(first_violation(500, "exclusion", asleep).is_some());
}

fn memory(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    memory_world::run(Driver::Honest, entropy, sightings)
}

fn asleep(entropy: Entropy, sightings: &mut Sightings) -> Trace {
    memory_world::run(Driver::Asleep, entropy, sightings)
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
