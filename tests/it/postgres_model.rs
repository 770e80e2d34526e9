//! The model of PostgreSQL's advisory locks, and a real server.

use std::time::Duration;

use lock_proto::postgres::{AdvisoryKey, Mode};
use lock_tests::advisory_model::{Answer, Failure, Scope, Statement};
use lock_tests::advisory_twin::{AT_ONCE, Step, Twin};
use lock_tests::entropy::Entropy;

/// How many steps are compared if `LOCK_DIFFERENTIAL_CALLS` doesn't say.
const STEPS: u64 = 10_000;
/// How many bytes choose the steps of one history.
const BYTES: usize = 300;
const SESSIONS: usize = 4;

/// The first two differ in nothing but their kind.
const KEYS: [AdvisoryKey; 3] =
    [AdvisoryKey::Single(1), AdvisoryKey::Pair(0, 1), AdvisoryKey::Single(-1)];

#[test]
fn the_model_of_advisory_locks_does_what_the_server_does() {
    let steps = std::env::var("LOCK_DIFFERENTIAL_CALLS")
        .map_or(STEPS, |text| text.parse().expect("LOCK_DIFFERENTIAL_CALLS is a number"));
    let mut twin = Twin::start(SESSIONS);
    let mut seed = 0;
    while twin.steps() < steps {
        twin.begin(format!("history {seed}"));
        let mut entropy = Entropy::from_seed(seed, BYTES);
        let sessions = 2 + entropy.pick(SESSIONS - 1);
        let keys = 1 + entropy.pick(KEYS.len());
        while let Some(seat) = entropy.choose(sessions) {
            let step = step(&twin, seat, &KEYS[..keys], &mut entropy);
            twin.take(seat, step);
        }
        seed += 1;
    }
    twin.sightings().must_have_seen(&[
        "a cancel",
        "a deadlock",
        "a failed transaction",
        "a lock was handed over",
        "a session ends that waits",
        "a session is cancelled that was granted its lock",
        "a time-out",
    ]);
}

fn step(twin: &Twin, seat: usize, keys: &[AdvisoryKey], entropy: &mut Entropy) -> Step {
    if twin.is_stopped(seat) {
        return match entropy.pick(4) {
            0 => Step::Cancel,
            1 if entropy.pick(4) == 0 => Step::Terminate,
            _ => Step::Resume,
        };
    }
    if twin.is_busy(seat) {
        return match entropy.pick(16) {
            0..=2 => Step::Cancel,
            3 => Step::Terminate,
            _ => Step::Stop,
        };
    }
    match entropy.pick(40) {
        0 => Step::Cancel,
        1 if entropy.pick(4) == 0 => Step::Terminate,
        choice => Step::Ask(statement(choice, twin.savepoints(seat), keys, entropy)),
    }
}

fn statement(
    choice: usize,
    savepoints: u32,
    keys: &[AdvisoryKey],
    entropy: &mut Entropy,
) -> Statement {
    let key = keys[entropy.pick(keys.len())];
    let mode = [Mode::Exclusive, Mode::Shared][entropy.pick(2)];
    let scope = [Scope::Session, Scope::Session, Scope::Transaction][entropy.pick(3)];
    let mut savepoint = || {
        let number = u32::try_from(entropy.pick(4)).expect("a small number");
        1 + number.min(savepoints.saturating_sub(1))
    };
    match choice {
        0..=13 => {
            let limit = (entropy.pick(4) == 0).then_some(AT_ONCE);
            Statement::Lock { key, mode, scope, limit }
        }
        14..=18 => Statement::TryLock { key, mode, scope },
        19..=28 => Statement::Unlock { key, mode },
        29 => Statement::UnlockAll,
        30..=32 => Statement::Begin,
        33 | 34 => Statement::Commit,
        35 => Statement::Rollback,
        36 | 37 => Statement::Savepoint,
        38 => Statement::RollbackTo(savepoint()),
        _ => Statement::ReleaseSavepoint(savepoint()),
    }
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
    let (key, scope) = (KEYS[0], Scope::Session);
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
