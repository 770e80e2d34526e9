//! Running one simulation on one schedule or many.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::entropy::Entropy;
use crate::trace::Trace;

/// A simulation: a schedule in, and what happened is noted; it panics when an invariant is violated.
/// The message begins with the invariant's name.
pub type Simulation = fn(Entropy, &mut Trace);

/// The bytes of the schedule that follows from a seed.
const LENGTH: usize = 600;

/// The schedule that follows from `seed`.
#[must_use]
pub fn schedule(seed: u64) -> Vec<u8> {
    Entropy::from_seed(seed, LENGTH).into_bytes()
}

/// Which invariant is violated under `schedule`, and how, if one is.
pub fn violation(schedule: &[u8], simulation: Simulation, trace: &mut Trace) -> Option<String> {
    let entropy = Entropy::new(schedule.to_vec());
    caught(|| simulation(entropy, trace)).err()
}

/// Does something that may violate an invariant, and says which.
pub(crate) fn caught(act: impl FnOnce()) -> Result<(), String> {
    quietly(|| catch_unwind(AssertUnwindSafe(act))).map_err(|panic| {
        let formatted = panic.downcast_ref::<String>().cloned();
        let plain = || panic.downcast_ref::<&str>().map(|message| String::from(*message));
        formatted.or_else(plain).unwrap_or_default()
    })
}

/// The name with which the message of a violation begins.
#[must_use]
pub fn invariant(message: &str) -> &str {
    message.split([' ', ':']).next().unwrap_or(message)
}

/// How many of `seeds` it takes to violate the invariant called `violated`.
pub fn seeds_until(
    seeds: impl Iterator<Item = u64>,
    violated: &str,
    simulation: Simulation,
) -> Option<u64> {
    let found = |seed| {
        let message = violation(&schedule(seed), simulation, &mut Trace::silent());
        message.is_some_and(|message| invariant(&message) == violated)
    };
    seeds.zip(1..).find(|(seed, _)| found(*seed)).map(|(_, count)| count)
}

/// Whether equal schedules lead to equal runs.
pub fn is_deterministic(seed: u64, simulation: Simulation) -> bool {
    let run = || {
        let mut trace = Trace::default();
        simulation(Entropy::new(schedule(seed)), &mut trace);
        trace
    };
    let (first, second) = (run(), run());
    first.events() == second.events() && first.steps() == second.steps()
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `act` without a word about panics of this thread.
fn quietly<T>(act: impl FnOnce() -> T) -> T {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    let was_quiet = QUIET.replace(true);
    let outcome = act();
    QUIET.set(was_quiet);
    outcome
}
