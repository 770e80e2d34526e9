//! `dlock run`.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{AcquireOptions, LockError, LockHandle, LockInfo, LossReason};

use crate::child::Running;
use crate::cli::RunArgs;
use crate::exit::{self, Failure};
use crate::place::Wanted;
use crate::reporter::Reporter;
use crate::signals::{self, Signal};
use crate::supervise::Supervision;

/// A wait that is shorter is not worth a word.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// How often to look whether somebody else holds the lock that we wait for.
const NEXT_LOOK: Duration = Duration::from_secs(2);
/// What the backend takes of an owner.
const MAX_OWNER_BYTES: usize = 255;

/// What the one thread that decides hears from the others.
pub(crate) enum Happening {
    /// A signal came.
    Signal(Signal),
    /// The lock is ours, or will not be.
    Answer(Result<LockHandle, LockError>),
    /// The lock is not ours any more.
    Lost(LossReason),
    /// The command has ended.
    Ended,
}

/// How waiting for the lock ended.
enum Wait {
    Acquired(LockHandle),
    Conflict,
    Ended(Signal),
}

/// Runs a command under a lock.
pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    let (sender, happenings) = mpsc::channel();
    let deaf = |source| Failure::System { what: "listen to signals", source };
    signals::listen(sender.clone()).map_err(deaf)?;
    let wanted = Wanted::find(&args.which, args.timeout)?;
    let reporter = Reporter::new(args, wanted.label());
    let handle = match wait(args, started, &wanted, &reporter, &happenings, &sender)? {
        Wait::Acquired(handle) => handle,
        Wait::Conflict => return Ok(args.conflict.conflict_exit_code),
        Wait::Ended(signal) => return Ok(exit::of_signal(signal.number)),
    };
    reporter.acquired(handle.fence());
    let command = Running::start(args, wanted.label(), handle.fence(), &sender)?;
    let supervision =
        Supervision { command, handle: &handle, reporter: &reporter, kill_after: args.kill_after };
    let code = supervision.run(&happenings, sender)?;
    let Some(code) = code else { return Ok(exit::LOST) };
    Ok(release(handle, code, &reporter))
}

/// Waits for the lock on another thread, to hear of signals on this one.
fn wait(
    args: &RunArgs,
    started: Instant,
    wanted: &Wanted,
    reporter: &Reporter,
    happenings: &Receiver<Happening>,
    sender: &Sender<Happening>,
) -> Result<Wait, Failure> {
    acquire(args, started, wanted, sender)
        .map_err(|source| Failure::System { what: "start a thread", source })?;
    let mut told = None;
    let mut look = FIRST_LOOK;
    loop {
        let happening = if reporter.tells_of_waiting() {
            happenings.recv_timeout(look)
        } else {
            happenings.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match happening {
            Ok(Happening::Answer(Ok(handle))) => return Ok(Wait::Acquired(handle)),
            Ok(Happening::Answer(Err(LockError::Timeout(timeout)))) => {
                let timeout = args.timeout.unwrap_or(timeout);
                reporter.conflict(timeout, wanted.info().ok().as_ref());
                return Ok(Wait::Conflict);
            }
            Ok(Happening::Answer(Err(error))) => return Err(error.into()),
            Ok(Happening::Signal(signal)) if signal.ends_wait() => {
                wanted.close();
                return Ok(Wait::Ended(signal));
            }
            Ok(Happening::Signal(_) | Happening::Lost(_) | Happening::Ended) => {}
            Err(RecvTimeoutError::Timeout) => {
                tell(wanted, reporter, &mut told);
                look = NEXT_LOOK;
            }
            Err(RecvTimeoutError::Disconnected) => return Err(LockError::Cancelled.into()),
        }
    }
}

fn acquire(
    args: &RunArgs,
    started: Instant,
    wanted: &Wanted,
    sender: &Sender<Happening>,
) -> io::Result<()> {
    let owner = args.owner.clone().unwrap_or_else(|| program_name(args));
    // Connecting to a server has taken its part.
    let left = args.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
    let mut options = AcquireOptions::new().with_timeout(left).with_owner(&owner);
    if let Some(ttl) = args.ttl {
        options = options.with_ttl(ttl);
    }
    let (wanted, sender) = (wanted.clone(), sender.clone());
    let acquire = move || {
        let answer = wanted.acquire(options);
        // Nobody listens any more when the program ends, and the lock is let go of with it.
        let _ = sender.send(Happening::Answer(answer));
    };
    thread::Builder::new().name("acquire".to_owned()).spawn(acquire).map(drop)
}

fn program_name(args: &RunArgs) -> String {
    let program = args.command.first().map(Path::new).and_then(Path::file_name);
    let name = program.unwrap_or_default().to_string_lossy();
    let mut owner = name.replace(char::is_control, " ");
    while owner.len() > MAX_OWNER_BYTES {
        owner.pop();
    }
    owner
}

/// Says for whom we wait, if that is news.
fn tell(wanted: &Wanted, reporter: &Reporter, told: &mut Option<Vec<(Option<u32>, Option<u64>)>>) {
    // What can't be told is no reason not to wait.
    let Ok(info) = wanted.info() else { return };
    let holders = identities(&info);
    if info.locked && told.as_ref() != Some(&holders) {
        reporter.waiting(&info);
        *told = Some(holders);
    }
}

fn identities(info: &LockInfo) -> Vec<(Option<u32>, Option<u64>)> {
    info.holders.iter().map(|holder| (holder.pid, holder.fence)).collect()
}

/// Lets go of the lock after the command ended with `code`.
fn release(handle: LockHandle, code: u8, reporter: &Reporter) -> u8 {
    match handle.release() {
        Ok(()) => code,
        Err(LockError::LockLost(reason)) => {
            reporter.lost(&reason, None);
            exit::LOST
        }
        Err(error) => {
            reporter.warn(&exit::chain(&error));
            code
        }
    }
}
