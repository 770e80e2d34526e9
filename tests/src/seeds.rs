//! Running one simulation on many seeds, and shortening what fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::entropy::Entropy;
use crate::sightings::Sightings;
use crate::trace::Trace;

/// The bytes of one schedule.
const LENGTH: usize = 600;

/// A simulation: a schedule in, what happened out; it panics when an invariant is violated.
pub type Simulation = fn(Entropy, &mut Sightings) -> Trace;

/// Runs `simulation` on seeds 0 to `count`, or on `LOCK_SIM_SEED` alone, and says what was seen;
/// `None` if only one seed was asked for.
///
/// # Panics
///
/// If a seed fails: with its number, and the steps of its shortest failing schedule.
pub fn run_seeds(count: u64, simulation: Simulation) -> Option<Sightings> {
    let mut sightings = Sightings::default();
    let chosen = chosen_seed();
    let seeds = chosen.map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        if failure(seed, LENGTH, simulation, &mut sightings).is_some() {
            replay(seed, simulation);
        }
    }
    chosen.is_none().then_some(sightings)
}

/// The first of the seeds 0 to `count` that violates the invariant called `violated`.
pub fn first_violation(count: u64, violated: &str, simulation: Simulation) -> Option<u64> {
    (0..count).find(|seed| {
        let failure = failure(*seed, LENGTH, simulation, &mut Sightings::default());
        failure.is_some_and(|message| message.starts_with(violated))
    })
}

/// Whether equal schedules lead to equal runs.
pub fn is_deterministic(seed: u64, simulation: Simulation) -> bool {
    let run = || simulation(Entropy::from_seed(seed, LENGTH), &mut Sightings::default());
    run().steps() == run().steps()
}

fn chosen_seed() -> Option<u64> {
    let text = std::env::var("LOCK_SIM_SEED").ok()?;
    Some(text.parse().expect("LOCK_SIM_SEED is a number"))
}

/// Why a schedule fails, if it does.
fn failure(
    seed: u64,
    length: usize,
    simulation: Simulation,
    sightings: &mut Sightings,
) -> Option<String> {
    let entropy = Entropy::from_seed(seed, length);
    let outcome = catch_unwind(AssertUnwindSafe(|| simulation(entropy, sightings)));
    let panic = outcome.err()?;
    let formatted = panic.downcast_ref::<String>().cloned();
    let plain = || panic.downcast_ref::<&str>().map(|message| String::from(*message));
    Some(formatted.or_else(plain).unwrap_or_default())
}

/// Runs the shortest failing schedule of `seed` for all to see.
#[expect(clippy::print_stderr, reason = "the seed is for whoever reads the failed test")]
fn replay(seed: u64, simulation: Simulation) {
    let (mut passes, mut fails_at) = (0, LENGTH);
    while passes + 1 < fails_at {
        let middle = usize::midpoint(passes, fails_at);
        if failure(seed, middle, simulation, &mut Sightings::default()).is_some() {
            fails_at = middle;
        } else {
            passes = middle;
        }
    }
    eprintln!(
        "LOCK_SIM_SEED={seed} replays this; its shortest failing schedule has {fails_at} bytes"
    );
    simulation(Entropy::from_seed(seed, fails_at), &mut Sightings::default());
}
