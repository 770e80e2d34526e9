//! Random histories of a few sessions and locks.

use lock_proto::postgres::{AdvisoryKey, Mode};

use super::{AT_ONCE, Step, Twin};
use crate::advisory_model::{Scope, Statement};
use crate::entropy::Entropy;

/// How many bytes choose the steps of one history.
const BYTES: usize = 300;
const SESSIONS: usize = 4;

/// The first two differ in nothing but their kind.
const KEYS: [AdvisoryKey; 3] =
    [AdvisoryKey::Single(1), AdvisoryKey::Pair(0, 1), AdvisoryKey::Single(-1)];

/// Compares at least so many random steps, from `seed` on; says how many it were.
///
/// # Panics
///
/// If the model and the server differ, or too little happened.
#[must_use]
pub fn compare_steps(steps: u64, mut seed: u64) -> u64 {
    let mut twin = Twin::start(SESSIONS);
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
    twin.steps()
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
