//! Runs the simulated worlds on many seeds, looks for the known bugs, and shows single runs:
//! `cargo run --release -p lock-tests --bin simulate -- --help`

use std::error::Error;
use std::fs;
use std::io::{Write as _, stdout};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lock_tests::closure::WORLDS;
use lock_tests::seeds::{Simulation, schedule, violation};
use lock_tests::simulate::{Machine, Outcome, draw, hunt, machine, machines, run_many, shrink};
use lock_tests::trace::Trace;
use lock_tests::zoo::{self, Bug, bug, bugs};

type Checked = Result<bool, Box<dyn Error>>;

/// From so many seeds of a machine on, each of its rare states must have been seen.
const ENOUGH: u64 = 10_000;
/// In how many ranges of seeds a bug is looked for, and how far apart they begin.
const HUNTS: u64 = 9;
const APART: u64 = 1_000_000;

/// Runs the simulated worlds on many seeds.
#[derive(Parser)]
struct Cli {
    /// How many seeds in all; each machine gets an equal share
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Only this machine; of the small worlds, those whose names have it in them
    #[arg(long, value_name = "M")]
    machine: Option<String>,
    /// Looks for one known bug, and says how many seeds that takes
    #[arg(long, value_name = "B", conflicts_with = "machine")]
    bug: Option<String>,
    /// Looks for every known bug, from several seeds on
    #[arg(long, conflicts_with_all = ["bug", "machine", "replay", "svg"])]
    zoo: bool,
    /// Visits every state of the small worlds, with up to so many faults in each
    #[arg(long, value_name = "FAULTS", conflicts_with_all = ["bug", "replay", "svg", "zoo"])]
    exhaustive: Option<usize>,
    /// How many states of each at most
    #[arg(long, value_name = "STATES", default_value_t = 1_000_000, requires = "exhaustive")]
    limit: usize,
    /// Shows the steps of one run, after making it small if it fails
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// Draws that run
    #[arg(long, value_name = "FILE", requires = "replay")]
    svg: Option<PathBuf>,
    /// How many threads; one for each processor, if not given
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let cli = Cli::parse();
    let is_good = match (&cli.bug, cli.replay) {
        _ if cli.exhaustive.is_some() => exhaust(&cli, cli.exhaustive.unwrap_or(0)),
        _ if cli.zoo => show_zoo(cli.jobs()),
        (Some(name), Some(seed)) => {
            let bug = bug(name).ok_or_else(|| unknown(name, bugs().iter().map(|bug| bug.name)))?;
            replay(&format!("{name}, seed {seed}"), bug.simulation, seed, cli.svg.as_deref())
        }
        (Some(name), None) => {
            let bug = bug(name).ok_or_else(|| unknown(name, bugs().iter().map(|bug| bug.name)))?;
            find(bug, cli.from)
        }
        (None, Some(seed)) => {
            let name = cli.machine.as_deref().ok_or("--replay needs --machine or --bug")?;
            let simulation = chosen(name)?.simulation;
            replay(&format!("{name}, seed {seed}"), simulation, seed, cli.svg.as_deref())
        }
        (None, None) => run(&cli),
    }?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Cli {
    fn jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)).max(1)
    }
}

fn chosen(name: &str) -> Result<&'static Machine, Box<dyn Error>> {
    let names = machines().iter().map(|machine| machine.name);
    Ok(machine(name).ok_or_else(|| unknown(name, names))?)
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    format!("there is no {name}, but there are {}", known.collect::<Vec<_>>().join(", "))
}

/// Runs every machine on its share of the seeds.
fn run(cli: &Cli) -> Checked {
    let machines = match &cli.machine {
        Some(name) => slice::from_ref(chosen(name)?),
        None => machines(),
    };
    let share = cli.seeds.div_ceil(machines.len() as u64);
    let seeds = cli.from..cli.from + share;
    let simulations: Vec<Simulation> = machines.iter().map(|machine| machine.simulation).collect();
    let (began, bar) = (Instant::now(), progress(share * machines.len() as u64));
    let outcomes = run_many(&simulations, &seeds, cli.jobs(), |done| bar.inc(done));
    bar.finish_and_clear();
    tell_speed(machines, &outcomes, began.elapsed())?;
    let is_covered = tell_coverage(machines, &outcomes)?;
    let is_green = tell_failures(machines, &outcomes)?;
    Ok(is_covered && is_green)
}

fn tell_speed(
    machines: &[Machine],
    outcomes: &[Outcome],
    elapsed: Duration,
) -> std::io::Result<()> {
    let mut output = stdout().lock();
    let head = ["machine", "seeds", "events", "seeds/s", "events/s of one core"];
    let mut rows = vec![head.map(String::from)];
    let row = |name: &str, seeds: u64, events: u64, busy: Duration| {
        let per_second = |count: u64| grouped((count as f64 / busy.as_secs_f64()) as u64);
        let counts = [grouped(seeds), grouped(events), per_second(seeds), per_second(events)];
        let [seeds, events, seeds_rate, events_rate] = counts;
        [name.to_owned(), seeds, events, seeds_rate, events_rate]
    };
    for (machine, outcome) in machines.iter().zip(outcomes) {
        rows.push(row(machine.name, outcome.seeds, outcome.trace.events(), outcome.busy));
    }
    let seeds = outcomes.iter().map(|outcome| outcome.seeds).sum();
    let events = outcomes.iter().map(|outcome| outcome.trace.events()).sum();
    let busy: Duration = outcomes.iter().map(|outcome| outcome.busy).sum();
    rows.push(row("all", seeds, events, busy));
    for [name, seeds, events, seeds_rate, events_rate] in rows {
        writeln!(output, "{name:<20}{seeds:>12}{events:>16}{seeds_rate:>12}{events_rate:>24}")?;
    }
    writeln!(
        output,
        "\n{:.1} s, {:.1} s of processors\n",
        elapsed.as_secs_f64(),
        busy.as_secs_f64()
    )
}

/// Whether every rare state was reached, where there were seeds enough to ask for it.
fn tell_coverage(machines: &[Machine], outcomes: &[Outcome]) -> Checked {
    let mut output = stdout().lock();
    let mut is_covered = true;
    for (machine, outcome) in machines.iter().zip(outcomes) {
        writeln!(output, "{}", machine.name)?;
        for state in machine.rare_states {
            let count = outcome.trace.sightings().count(state);
            let missing = count == 0 && outcome.seeds >= ENOUGH;
            is_covered &= !missing;
            let count = if missing { "never".to_owned() } else { grouped(count) };
            writeln!(output, "{count:>16}  {state}")?;
        }
    }
    writeln!(output)?;
    Ok(is_covered)
}

fn tell_failures(machines: &[Machine], outcomes: &[Outcome]) -> Checked {
    let mut output = stdout().lock();
    for (machine, outcome) in machines.iter().zip(outcomes) {
        for (seed, message) in &outcome.failures {
            writeln!(
                output,
                "{message}\n    {}",
                again(&format!("--machine {}", machine.name), *seed)
            )?;
        }
    }
    Ok(outcomes.iter().all(|outcome| outcome.failures.is_empty()))
}

fn again(which: &str, seed: u64) -> String {
    format!("cargo run --release -p lock-tests --bin simulate -- {which} --replay {seed}")
}

/// Shows one run. If it fails, the smallest that fails likewise.
fn replay(title: &str, simulation: Simulation, seed: u64, svg: Option<&Path>) -> Checked {
    let whole = schedule(seed);
    let bytes = shrink(whole.clone(), simulation);
    let mut trace = Trace::default();
    let violated = violation(&bytes, simulation, &mut trace);
    let mut output = stdout().lock();
    for step in trace.steps() {
        writeln!(output, "{step}")?;
    }
    writeln!(output, "\n{title}: {} events", grouped(trace.events()))?;
    if let Some(message) = &violated {
        writeln!(output, "{message}")?;
        writeln!(output, "{} bytes of {} are left: {bytes:?}", bytes.len(), whole.len())?;
    }
    if let Some(path) = svg {
        fs::write(path, draw(title, trace.moments()))?;
    }
    Ok(violated.is_none())
}

/// Runs a bug until it is found.
fn find(bug: &Bug, from: u64) -> Checked {
    let seeds = from..from + zoo::SEEDS;
    let found = hunt(slice::from_ref(bug), slice::from_ref(&seeds), 1, |_| ())[0][0];
    let mut output = stdout().lock();
    let Some(count) = found else {
        writeln!(output, "{}: not found in {} seeds", bug.name, grouped(zoo::SEEDS))?;
        return Ok(false);
    };
    writeln!(output, "{}: {} is violated after {count} seeds", bug.name, bug.violates)?;
    writeln!(output, "    {}", again(&format!("--bug {}", bug.name), from + count - 1))?;
    Ok(true)
}

/// Looks for every bug, and prints a table.
fn show_zoo(jobs: usize) -> Checked {
    let ranges: Vec<Range<u64>> =
        (0..HUNTS).map(|hunt| hunt * APART..hunt * APART + zoo::SEEDS).collect();
    let bar = progress(bugs().len() as u64 * HUNTS);
    let found = hunt(bugs(), &ranges, jobs, |done| bar.inc(done));
    bar.finish_and_clear();
    let mut output = stdout().lock();
    writeln!(output, "| bug | machine | violated | median seeds to find |")?;
    writeln!(output, "| --- | --- | --- | ---: |")?;
    for (bug, hunts) in bugs().iter().zip(&found) {
        let mut hunts: Vec<u64> = hunts.iter().map(|found| found.unwrap_or(u64::MAX)).collect();
        hunts.sort_unstable();
        let median = match hunts[hunts.len() / 2] {
            u64::MAX => format!("more than {}", grouped(zoo::SEEDS)),
            median => grouped(median),
        };
        writeln!(output, "| {} | {} | {} | {median} |", bug.name, bug.machine, bug.violates)?;
    }
    Ok(found.iter().flatten().all(Option::is_some))
}

/// Visits every state of the small worlds, and prints a table.
fn exhaust(cli: &Cli, faults: usize) -> Checked {
    let wanted = cli.machine.as_deref().unwrap_or_default();
    let mut output = stdout().lock();
    writeln!(output, "| world | faults | states | steps | ends | depth | all of them |")?;
    writeln!(output, "| --- | ---: | ---: | ---: | ---: | ---: | --- |")?;
    let mut is_green = true;
    for world in WORLDS.iter().filter(|world| world.name.contains(wanted)) {
        match (world.search)(faults, cli.limit) {
            Ok(seen) => {
                let [states, steps, ends] =
                    [seen.states, seen.steps, seen.ends].map(|count| grouped(count as u64));
                let all = if seen.is_complete { "yes" } else { "no" };
                let (name, depth) = (world.name, seen.depth);
                writeln!(
                    output,
                    "| {name} | {faults} | {states} | {steps} | {ends} | {depth} | {all} |"
                )?;
            }
            Err(violation) => {
                is_green = false;
                writeln!(output, "{}: {violation}", world.name)?;
            }
        }
    }
    Ok(is_green)
}

/// Hidden where nobody looks, as indicatif does with what is no terminal.
fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {elapsed} {per_sec}");
    ProgressBar::new(length).with_style(style.expect("a template that is right"))
}

/// With a comma after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits"))
        .collect();
    groups.join(",")
}
