//! `dlock`: runs commands while holding a lock.

mod child;
mod cli;
mod describe;
mod doctor;
mod duration;
mod exit;
mod info;
mod list;
mod output;
mod place;
mod reporter;
mod run;
mod signals;
mod supervise;
mod timestamp;
mod try_lock;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::explain(&error).into(),
    };
    let json = cli.command.reports_in_json();
    let ended = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Try(args) => try_lock::run(&args),
        Command::Info(args) => info::run(&args),
        Command::List(args) => list::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Exec(args) => child::become_command(&args),
    };
    let code = ended.unwrap_or_else(|failure| {
        reporter::fail(&failure, json);
        failure.exit_code()
    });
    code.into()
}
