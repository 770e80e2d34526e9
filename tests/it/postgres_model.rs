//! The model of PostgreSQL's advisory locks, and a real server.

use std::time::Duration;

use lock_proto::postgres::{AdvisoryKey, Mode};
use lock_tests::advisory_model::{Answer, Failure, Scope, Statement};
use lock_tests::advisory_twin::{Step, Twin, compare_steps};

/// How many steps are compared if `LOCK_DIFFERENTIAL_CALLS` doesn't say.
const STEPS: u64 = 10_000;

#[test]
fn the_model_of_advisory_locks_does_what_the_server_does() {
    let steps = std::env::var("LOCK_DIFFERENTIAL_CALLS")
        .map_or(STEPS, |text| text.parse().expect("LOCK_DIFFERENTIAL_CALLS is a number"));
    assert!(compare_steps(steps, 0) >= steps);
}

#[test]
fn a_wait_that_is_cancelled_after_its_grant_fails_and_the_session_has_the_lock() {
    check_that_a_grant_is_kept(None, Step::Cancel, Failure::Cancelled);
}

#[test]
fn a_wait_that_expires_after_its_grant_fails_and_the_session_has_the_lock() {
    // The process must be stopped before the time comes, however slow the machine is.
    let limit = Duration::from_secs(5);
    check_that_a_grant_is_kept(Some(limit), Step::Expire, Failure::TimedOut);
}

fn check_that_a_grant_is_kept(limit: Option<Duration>, end: Step, failure: Failure) {
    let mut twin = Twin::start(3);
    let (key, scope) = (AdvisoryKey::Single(1), Scope::Session);
    let lock = |limit| Statement::Lock { key, mode: Mode::Exclusive, scope, limit };
    let unlock = Step::Ask(Statement::Unlock { key, mode: Mode::Exclusive });
    let look = Step::Ask(Statement::TryLock { key, mode: Mode::Shared, scope });
    assert_eq!(twin.take(0, Step::Ask(lock(None))), Some(Answer::Done));
    assert_eq!(twin.take(1, Step::Ask(lock(limit))), None);
    twin.take(1, Step::Stop);
    twin.take(0, unlock);
    twin.take(1, end);
    assert_eq!(twin.take(1, Step::Resume), Some(Answer::Failed(failure)));
    assert_eq!(twin.take(2, look), Some(Answer::Told(false)));
    assert_eq!(twin.take(1, unlock), Some(Answer::Told(true)));
    assert_eq!(twin.take(2, look), Some(Answer::Told(true)));
}
