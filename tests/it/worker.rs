//! Drives the program `worker`, one process each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Long enough for anything on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A process that holds locks for us; killed with whoever drops it.
pub(crate) struct Worker {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    pub(crate) fn start() -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_worker")))
    }

    /// A worker that has opened `directory`.
    pub(crate) fn on(directory: &Path) -> Self {
        Self::opened("open", directory)
    }

    /// A worker that deletes the files of `directory` that it releases.
    pub(crate) fn deleting_on(directory: &Path) -> Self {
        Self::opened("open-deleting", directory)
    }

    /// A worker with a file system of its own at `place`, as `mount` and then `prepare` make it.
    pub(crate) fn with_tmpfs(place: &Path, options: &str, prepare: &str) -> Self {
        let script = format!(
            "mount -t tmpfs -o {options} none \"$1\" && cd \"$1\" && {{ {prepare}; }} && exec \"$0\""
        );
        let mut command = Command::new("unshare");
        let root = rustix::process::geteuid().is_root();
        command.arg(if root { "-m" } else { "-rm" });
        command.args(["sh", "-c", &script, env!("CARGO_BIN_EXE_worker")]).arg(place);
        Self::run(command)
    }

    fn opened(command: &str, directory: &Path) -> Self {
        let mut worker = Self::start();
        assert_eq!(worker.ask(&format!("{command} {}", directory.display())), "opened");
        worker
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, commands, answers }
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    pub(crate) fn answer(&self) -> String {
        self.answers.recv_timeout(BOUND).expect("the worker answers")
    }

    /// Acquires; the fencing token.
    pub(crate) fn hold(&mut self, what: &str) -> u64 {
        fence(&self.ask(&format!("acquire {what}")))
    }

    /// Begins to acquire, and comes back when the worker waits to be woken.
    pub(crate) fn wait_for(&mut self, what: &str) {
        self.tell(&format!("acquire {what}"));
        self.await_watch(1);
    }

    /// Waits until the kernel knows that the worker wants to hear of the closing of `files` files.
    fn await_watch(&self, files: usize) {
        let directory = format!("/proc/{}/fdinfo", self.child.id());
        let watches = || {
            let entries = fs::read_dir(&directory).unwrap();
            let infos = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
            infos.map(|info| info.matches("inotify wd:").count()).sum::<usize>()
        };
        await_that("the worker watches a file", || watches() >= files);
    }

    /// The lock that it waited for.
    pub(crate) fn held(&self) -> u64 {
        fence(&self.answer())
    }

    /// Asserts that it can't do `command`, for the reason `variant`; the error's text, which has
    /// `word` in it.
    #[track_caller]
    pub(crate) fn refuses(&mut self, command: &str, variant: &str, word: &str) -> String {
        let answer = self.ask(command);
        let error = answer.strip_prefix("error ").unwrap_or_else(|| panic!("{command}: {answer}"));
        let parts: Vec<_> = error.splitn(3, '|').collect();
        assert_eq!(parts[0], variant, "{answer}");
        assert!(parts[1].contains(word), "{answer} says nothing of {word:?}");
        assert!(parts[2].is_empty() || !parts[1].contains(parts[2]), "{answer} says it twice");
        parts[1].to_owned()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn fence(answer: &str) -> u64 {
    let fence = answer.strip_prefix("held ").unwrap_or_else(|| panic!("not held: {answer}"));
    if fence == "-" { 0 } else { fence.parse().unwrap() }
}

pub(crate) fn await_that(what: impl Debug, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < BOUND, "it is not so that {what:?}");
        thread::yield_now();
    }
}
