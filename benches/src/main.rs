//! Measures the locks of this project beside their peers and the raw floor.
//!
//! Start with `scenarios.rs`, which lists what is measured, and `bars.rs`, which says what must
//! hold.

mod bars;
mod bench;
mod metric;
mod plot;
mod report;
mod round;
mod scenarios;
mod servers;
mod subjects;
mod turns;
mod worker;
mod workload;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use bench::Bench;
use round::{Outcome, Row};
use scenarios::{ALL, Entry};

/// Locks beside their peers and the raw floor, in one run.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and print a table for each scenario.
    Compare(Compare),
    /// Name the scenarios.
    List,
    /// Take turns with others of its kind.
    #[command(hide = true)]
    Worker(worker::Orders),
    /// Hold many locks.
    #[command(hide = true)]
    Hold(scenarios::held::Orders),
}

#[derive(Args)]
struct Compare {
    /// Take a tenth of the time, and leave out what needs much
    #[arg(long)]
    quick: bool,
    /// Only the scenarios whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write all rows to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot for each scenario into a directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Fail if anything misses what it must hold
    #[arg(long)]
    gate: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match Cli::parse().command {
        Command::Compare(arguments) => compare(&arguments),
        Command::List => {
            ALL.iter().for_each(|entry| println!("{}", entry.name));
            Ok(ExitCode::SUCCESS)
        }
        Command::Worker(orders) => worker::work(&orders).map(|()| ExitCode::SUCCESS),
        Command::Hold(orders) => scenarios::held::hold(&orders).map(|()| ExitCode::SUCCESS),
    }
}

fn compare(arguments: &Compare) -> Result<ExitCode, Box<dyn Error>> {
    let wanted = |entry: &&Entry| {
        (entry.quick || !arguments.quick)
            && arguments.only.as_ref().is_none_or(|name| entry.name.contains(name))
    };
    let chosen: Vec<_> = ALL.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err("no scenario has such a name; `list` names them".into());
    }
    let bench = Bench::new(arguments.quick);
    let progress = progress(chosen.len());
    let mut rows = Vec::new();
    for (place, entry) in chosen.iter().enumerate() {
        progress.set_message(entry.name);
        let scenario = (entry.prepare)(&bench);
        let outcome = scenario.run(|part| progress.set_position(position(place as f64 + part)));
        progress.suspend(|| println!("{}", report::table(&outcome)));
        let Outcome { rows: new, .. } = &outcome;
        rows.extend_from_slice(new);
        if let Some(directory) = &arguments.svg {
            plot::write(&outcome, directory)?;
        }
    }
    progress.finish_and_clear();
    if let Some(path) = &arguments.json {
        report::write_json(&rows, path)?;
    }
    Ok(verdict(&rows, arguments.gate))
}

fn verdict(rows: &[Row], gate: bool) -> ExitCode {
    let misses = report::misses(rows);
    let held = rows.iter().filter(|row| row.holds == Some(true)).count();
    println!("\n{held} of {} bars hold", held + misses.len());
    misses.iter().for_each(|miss| println!("missed: {miss}"));
    if gate && !misses.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Hidden where nobody looks, as indicatif does with what is no terminal.
fn progress(scenarios: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {elapsed} {msg}");
    ProgressBar::new(position(scenarios as f64))
        .with_style(style.expect("a template that is right"))
}

/// Thousandths of a scenario.
fn position(scenarios: f64) -> u64 {
    (scenarios * 1000.0) as u64
}
