//! The model of a directory, and a real one.

use lock_tests::disk_twin::compare_steps;

/// How many steps are compared if `LOCK_DIFFERENTIAL_CALLS` doesn't say.
const STEPS: u64 = 20_000;

#[test]
fn the_model_of_a_directory_does_what_the_file_system_does() {
    let steps = std::env::var("LOCK_DIFFERENTIAL_CALLS")
        .map_or(STEPS, |text| text.parse().expect("LOCK_DIFFERENTIAL_CALLS is a number"));
    assert!(compare_steps(steps, 0) >= steps);
}
