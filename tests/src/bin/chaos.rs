//! Processes that take locks on real servers, while both are killed, stopped and cut off:
//! `chaos --backend redis|redlock|cluster|postgres|file [--minutes M] [--seconds S] [--seed N]
//! [--workers W]`. Without a backend it tries all of them, one after the other.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use lock_tests::chaos::{Backend, Plan, run, work};

#[expect(clippy::print_stdout, reason = "it is a program for the terminal")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("work", rest)) = arguments.split_first().map(|(word, rest)| (&**word, rest)) {
        work(rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = false;
    for plan in plans(&arguments)? {
        let report = run(&plan);
        println!("{report}");
        failed |= !report.violations.is_empty();
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn plans(arguments: &[String]) -> Result<Vec<Plan>, Box<dyn Error>> {
    let mut backends = Backend::ALL.to_vec();
    let (mut seconds, mut workers) = (0, 4);
    let mut seed = u64::from(std::process::id());
    for pair in arguments.chunks(2) {
        let [option, value] = pair else {
            return Err(format!("{} needs a value", pair[0]).into());
        };
        match &**option {
            "--backend" => backends = vec![value.parse()?],
            "--minutes" => seconds += 60 * value.parse::<u64>()?,
            "--seconds" => seconds += value.parse::<u64>()?,
            "--seed" => seed = value.parse()?,
            "--workers" => workers = value.parse()?,
            _ => return Err(format!("there is no option {option}").into()),
        }
    }
    let duration = Duration::from_secs(if seconds == 0 { 60 } else { seconds });
    let program = std::env::current_exe()?;
    let plan = |backend| Plan { backend, duration, seed, workers, program: program.clone() };
    Ok(backends.into_iter().map(plan).collect())
}
