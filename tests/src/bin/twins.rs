//! Holds the models of the servers to real ones, by random steps that both take:
//! `twins [--model redis|advisory|file] [--steps N] [--seed S]`. Without a model it takes all.

use std::error::Error;
use std::time::Instant;

use lock_tests::{advisory_twin, disk_twin, redis_twin};

/// How many steps are compared if nobody says.
const STEPS: u64 = 100_000;

type Compare = fn(u64, u64) -> u64;

const MODELS: [(&str, Compare); 3] = [
    ("redis", |steps, seed| redis_twin::compare_calls(steps, seed).0),
    ("advisory", advisory_twin::compare_steps),
    ("file", disk_twin::compare_steps),
];

#[expect(clippy::print_stdout, reason = "it is a program for the terminal")]
fn main() -> Result<(), Box<dyn Error>> {
    let (mut models, mut steps, mut seed) = (MODELS.to_vec(), STEPS, 0);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let [option, value] = pair else {
            return Err(format!("{} needs a value", pair[0]).into());
        };
        match &**option {
            "--model" => models.retain(|(name, _)| name == value),
            "--steps" => steps = value.parse()?,
            "--seed" => seed = value.parse()?,
            _ => return Err(format!("there is no option {option}").into()),
        }
    }
    if models.is_empty() {
        return Err("there is no such model: redis, advisory and file are the ones".into());
    }
    for (name, compare) in models {
        let start = Instant::now();
        let compared = compare(steps, seed);
        println!("{name}: {compared} steps, no difference, {:.1?}", start.elapsed());
    }
    Ok(())
}
