//! The signals that are forwarded.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

use crate::run::Happening;

const FORWARDED: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
/// `SI_KERNEL` of Linux: no process has sent it.
const FROM_KERNEL: i32 = 0x80;

/// One signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) number: i32,
    /// It was typed, and the terminal sends what is typed to all of the foreground: the command
    /// has it already.
    typed: bool,
}

impl Signal {
    /// Whether it ends the wait for a lock. What tells a running program something does not.
    pub(crate) fn ends_wait(self) -> bool {
        !matches!(self.number, SIGUSR1 | SIGUSR2)
    }

    /// What the command is to get.
    pub(crate) fn to_forward(self) -> Option<rustix::process::Signal> {
        if self.typed { None } else { rustix::process::Signal::from_named_raw(self.number) }
    }
}

/// Tells of every signal from here on.
pub(crate) fn listen(happenings: Sender<Happening>) -> io::Result<()> {
    let ignored = ignored();
    let wanted = FORWARDED.iter().filter(|signal| ignored & (1 << (*signal - 1)) == 0);
    let mut signals = SignalsInfo::<WithRawSiginfo>::new(wanted)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for info in signals.forever() {
            let number = info.si_signo;
            let by_kernel = cfg!(target_os = "linux") && info.si_code == FROM_KERNEL;
            let typed = by_kernel && matches!(number, SIGINT | SIGQUIT);
            if happenings.send(Happening::Signal(Signal { number, typed })).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// The signals that this process was started to ignore, as by nohup(1): a handler of ours would
/// make the command heed them, since handlers don't outlive exec.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
