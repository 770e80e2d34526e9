//! The workers: processes that are started, stopped and killed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::place::Place;
use super::worker::{FINISH, Habit};
use super::{now, sleep_until};

/// How long it is between two looks at whether a process has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// All workers, dead ones too; those that live are killed with the value.
pub(super) struct Crew {
    program: PathBuf,
    folder: PathBuf,
    seed: u64,
    members: Vec<Member>,
}

/// One worker, whose number is its place.
pub(super) struct Member {
    process: Child,
    fate: Fate,
}

/// What became of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It lives.
    Lives,
    /// It was killed, not before this moment.
    Killed { at: u64 },
    /// It has done what it was to do.
    Done,
    /// It ended by itself, and not well.
    Failed,
    /// It has not done in time what it was to do.
    Stuck,
}

impl Crew {
    pub(super) fn new(program: &Path, folder: &Path, seed: u64) -> Self {
        Self { program: program.into(), folder: folder.into(), seed, members: Vec::new() }
    }

    /// Starts one more, and says its number.
    pub(super) fn hire(&mut self, place: &Place, habit: Habit) -> u32 {
        let number = u32::try_from(self.members.len()).expect("fewer workers than processes");
        let mut command = Command::new(&self.program);
        command.arg("work").arg(place.url(number)).arg(&self.folder);
        command.args([number.to_string(), self.seed.to_string(), habit.name().to_owned()]);
        // It ends when its standard input does, and so never outlives this process.
        let process = command.stdin(Stdio::piped()).spawn().expect("the program is there");
        self.members.push(Member { process, fate: Fate::Lives });
        number
    }

    /// The numbers of those that live.
    pub(super) fn living(&self) -> Vec<u32> {
        let living = |(_, member): &(u32, &Member)| member.fate == Fate::Lives;
        (0..).zip(&self.members).filter(living).map(|(number, _)| number).collect()
    }

    /// Kills a worker, unless it has ended by itself.
    pub(super) fn kill(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        if member.process.try_wait().expect("a child may be waited for").is_some() {
            member.fate = Fate::Failed;
            return;
        }
        let at = now();
        member.process.kill().expect("a child may be killed");
        member.process.wait().expect("a child may be waited for");
        member.fate = Fate::Killed { at };
    }

    /// Sends a signal, if it lives.
    pub(super) fn signal(&self, number: u32, signal: Signal) {
        let member = &self.members[number as usize];
        if member.fate == Fate::Lives {
            kill_process(member.pid(), signal)
                .expect("a child takes signals until it is waited for");
        }
    }

    /// Waits until a worker has stopped itself.
    pub(super) fn await_stop(&self, number: u32) {
        let pid = self.members[number as usize].pid();
        let status = waitpid(Some(pid), WaitOptions::UNTRACED).expect("it is a child");
        let (_, status) = status.expect("without NOHANG it waits");
        assert!(status.stopped(), "worker {number} ends: {status:?}");
    }

    /// Waits until a worker has done what it was to do.
    pub(super) fn await_end(&mut self, number: u32, patience: Duration) {
        self.members[number as usize].await_end(Instant::now() + patience);
    }

    /// Lets everybody take the mutex once more; what became of them.
    pub(super) fn finish(mut self, patience: Duration) -> Vec<Fate> {
        for member in self.members.iter_mut().filter(|member| member.fate == Fate::Lives) {
            let input = member.process.stdin.as_mut().expect("it was piped");
            // One that has failed does not hear it.
            let _ = writeln!(input, "{FINISH}");
        }
        let limit = Instant::now() + patience;
        for member in self.members.iter_mut().filter(|member| member.fate == Fate::Lives) {
            member.await_end(limit);
        }
        self.members.iter().map(|member| member.fate).collect()
    }
}

impl Member {
    fn await_end(&mut self, limit: Instant) {
        self.fate = loop {
            match self.process.try_wait().expect("a child may be waited for") {
                Some(status) if status.success() => break Fate::Done,
                Some(_) => break Fate::Failed,
                None if Instant::now() > limit => break Fate::Stuck,
                None => sleep_until(Instant::now() + PAUSE),
            }
        };
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended before.
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}
