//! Random calls to a real server and to the model of its scripts.

use lock_tests::redis_twin::compare_calls;

/// How many calls are made if `LOCK_DIFFERENTIAL_CALLS` doesn't say.
const CALLS: u64 = 10_000;

#[test]
fn the_model_does_what_the_server_does() {
    let calls = std::env::var("LOCK_DIFFERENTIAL_CALLS")
        .map_or(CALLS, |text| text.parse().expect("LOCK_DIFFERENTIAL_CALLS is a number"));
    let (compared, _) = compare_calls(calls, 0);
    assert!(compared >= calls);
}
