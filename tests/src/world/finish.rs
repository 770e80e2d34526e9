//! Carrying requests out, answering them, and how a run ends.

use std::time::Duration;

use lock_proto::file::{Command, File, Reply};
use lock_proto::{Fault, LockId};

use super::{Flight, World};
use crate::service::disk::Opener;

/// No run needs more rounds to come to rest.
const ROUNDS: usize = 20_000;

impl World<'_> {
    pub(super) fn carry_out(&mut self, flight: usize) {
        let Flight { opener, ref command, announced, .. } = self.wire[flight];
        let command = command.clone();
        let outcome = if self.setting.faults && self.entropy.happens(12) {
            self.fail(opener, &command)
        } else {
            self.execute(opener, &command, announced)
        };
        self.trace.note(|| format!("{opener:?} {command:?} -> {outcome:?}"));
        self.trace.event();
        self.wire[flight].outcome = Some(outcome);
    }

    fn execute(
        &mut self,
        opener: Opener,
        command: &Command,
        announced: bool,
    ) -> Result<Reply, Fault> {
        if let Command::Close(file) = command
            && !announced
        {
            self.nudges.extend(self.disk.watchers(opener, *file));
        }
        let outcome = self.disk.execute(opener, command);
        if let Ok(reply) = &outcome {
            if matches!((command, reply), (Command::Verify(_), Reply::Replaced)) {
                self.trace.saw("a replaced file was opened");
            }
            if matches!((command, reply), (Command::TryLock(File::Gate, _), Reply::Busy)) {
                self.trace.saw("a contended gate");
            }
            if *reply == Reply::NoDirectory {
                self.trace.saw("a missing directory");
            }
        }
        outcome
    }

    /// A close always closes, whatever it answers.
    fn fail(&mut self, opener: Opener, command: &Command) -> Result<Reply, Fault> {
        self.trace.saw("a fault");
        let slot = self.slot(opener.process);
        if let Some(client) = self.processes[slot].hub.attachment(opener.lock) {
            client.unlucky = true;
        }
        let closes = matches!(command, Command::Close(_));
        match self.entropy.pick(4) {
            0 if !closes => Err(Fault::not_sent("the process is short of threads")),
            1 if !closes => {
                if let Command::Write(file, bytes) = command {
                    self.disk.tear(opener, *file, bytes);
                    self.trace.saw("a torn record");
                }
                Err(Fault::refused("no space left"))
            }
            2 if !closes => Err(Fault::unknown("nobody knows, and it was not done")),
            _ => {
                // A fault of its own: what came of it does not matter.
                drop(self.execute(opener, command, false));
                Err(Fault::unknown("nobody knows, and it was done"))
            }
        }
    }

    pub(super) fn deliver(&mut self, flight: usize) {
        let Flight { opener, id, command, outcome, .. } = self.wire.remove(flight);
        let outcome = outcome.expect("it was carried out");
        let slot = self.slot(opener.process);
        let hub = &mut self.processes[slot].hub;
        let late = hub.attachment(opener.lock).is_some_and(|client| client.released);
        if late && matches!((&command, &outcome), (Command::Enter { .. }, Ok(Reply::Done))) {
            self.trace.saw("a late grant is given back");
        }
        self.trace.note(|| format!("{opener:?} hears of {command:?}"));
        self.trace.event();
        hub.handle_reply(opener.lock, id, outcome, self.now);
    }

    pub(super) fn nudge(&mut self, chosen: usize) {
        let opener = self.nudges.remove(chosen);
        self.trace.note(|| format!("nudge for {opener:?}"));
        self.trace.event();
        let slot = self.slot(opener.process);
        self.processes[slot].hub.nudge(opener.lock, self.now);
    }

    /// Nothing goes wrong any more, and every holder lets go: everybody who still waits must get
    /// the lock soon, and in the end nothing is left.
    pub(super) fn finish(&mut self) {
        self.setting.faults = false;
        let began = self.now;
        let locks: usize = self.processes.iter().map(|process| process.hub.locks().count()).sum();
        let patience = Duration::from_secs(3) * u32::try_from(locks + 2).expect("a few");
        for _ in 0..ROUNDS {
            self.settle_outputs();
            self.release_holders();
            self.settle_outputs();
            if self.processes.iter().all(|process| process.hub.locks().next().is_none()) {
                return self.check_quiescence();
            }
            self.round();
            let spent = self.now.since(began);
            assert!(spent < patience, "liveness: not at rest after {spent:?}");
        }
        panic!("liveness: not at rest after {ROUNDS} rounds");
    }

    fn round(&mut self) {
        if !self.nudges.is_empty() {
            return self.nudge(0);
        }
        if let Some(flight) = self.wire.iter().position(|flight| flight.outcome.is_some()) {
            return self.deliver(flight);
        }
        if let Some(flight) = self.wire.iter().position(|flight| !flight.queued()) {
            return self.carry_out(flight);
        }
        let before = self.now;
        self.let_time_pass();
        assert!(self.now > before, "liveness: nothing will ever happen again, {:?}", self.wire);
    }

    fn release_holders(&mut self) {
        for slot in 0..self.processes.len() {
            let locks: Vec<LockId> = self.processes[slot].hub.locks().collect();
            for lock in locks {
                let client = self.processes[slot].hub.attachment(lock);
                if client.is_some_and(|client| client.holds()) {
                    self.release(slot, lock);
                }
            }
        }
    }

    fn check_quiescence(&self) {
        assert!(self.wire.is_empty(), "leak: all is closed, and {:?} is on its way", self.wire);
        assert!(self.disk.is_quiet(), "leak: all is closed, and files are open: {:?}", self.disk);
        for process in &self.processes {
            let left = process.table.list(self.now);
            assert!(left.is_empty(), "leak: all is closed, and the queue knows of {left:?}");
        }
    }
}
