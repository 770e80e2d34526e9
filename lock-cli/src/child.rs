//! The command that runs under the lock.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::Sender;
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::cli::{ExecArgs, RunArgs};
use crate::exit::{self, Failure};
use crate::run::Happening;

/// Still this program after an upgrade has replaced its file.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A command that was started, and is waited for by [`Running::end`].
pub(crate) struct Running {
    child: Child,
    pid: Option<Pid>,
}

impl Running {
    /// Starts the command of `args` under the lock `name`. To be called on the thread that lives as
    /// long as the process: the command is killed when it ends.
    pub(crate) fn start(
        args: &RunArgs,
        name: &OsStr,
        fence: Option<u64>,
        happenings: &Sender<Happening>,
    ) -> Result<Self, Failure> {
        let mut command = command(args);
        command.env("DLOCK_NAME", name).env_remove("DLOCK_FENCE");
        if let Some(fence) = fence {
            command.env("DLOCK_FENCE", fence.to_string());
        }
        let program = args.command.first().cloned().unwrap_or_default();
        let child = command.spawn().map_err(|source| unable(program, source))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let mut running = Self { child, pid };
        if let Err(source) = running.watch(happenings.clone()) {
            running.signal(Signal::KILL);
            let _ = running.child.wait();
            return Err(Failure::System { what: "start a thread", source });
        }
        Ok(running)
    }

    /// Tells when the command has ended, and leaves its process id taken, so that no signal can
    /// reach another process.
    fn watch(&self, happenings: Sender<Happening>) -> io::Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        let wait = move || {
            let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(WaitId::Pid(pid), ended).is_err_and(|errno| errno == Errno::INTR) {}
            // Nobody listens any more when the program ends.
            let _ = happenings.send(Happening::Ended);
        };
        thread::Builder::new().name("command".to_owned()).spawn(wait).map(drop)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the command, which may have ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// The exit code of the command, which has ended.
    pub(crate) fn end(mut self) -> Result<u8, Failure> {
        let failed = |source| Failure::System { what: "wait for the command", source };
        let status = self.child.wait().map_err(failed)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.unwrap_or_else(|| exit::of_signal(status.signal().unwrap_or(0))))
    }
}

/// The command itself, or on Linux this program on its way to become it.
fn command(args: &RunArgs) -> Command {
    let mut words = args.command.iter();
    if !cfg!(target_os = "linux") || !Path::new(THIS_PROGRAM).exists() {
        let mut command = Command::new(words.next().map(OsString::as_os_str).unwrap_or_default());
        command.args(words);
        return command;
    }
    let mut command = Command::new(THIS_PROGRAM);
    command.arg0("dlock").arg("exec").arg("--parent").arg(std::process::id().to_string());
    if args.json {
        command.arg("--json");
    }
    command.arg("--").args(words);
    command
}

/// Turns this process into the command of `args`, which is killed when its parent is.
///
/// A parent that was killed lets go of its lock, and the command would go on without. The wish to
/// be killed as well outlives exec, but not fork, so the command itself has to utter it.
pub(crate) fn become_command(args: &ExecArgs) -> Result<u8, Failure> {
    let failed =
        |errno: Errno| Failure::System { what: "follow dlock's end", source: errno.into() };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if parent.is_none_or(|parent| parent.get() != args.parent) {
        return Err(failed(Errno::SRCH));
    }
    let mut words = args.command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let source = Command::new(&program).args(words).exec();
    Err(unable(program, source))
}

fn unable(program: OsString, source: io::Error) -> Failure {
    Failure::Spawn { program: PathBuf::from(program), source }
}
