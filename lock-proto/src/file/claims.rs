//! The files of one acquisition, each with what is known of it, and the step that is next.

use alloc::vec::Vec;

use super::record::{Identity, NextRecord};
use super::step::Step;
use super::{File, Reply};
use crate::Demand;

/// How often a path may name another file than the one just locked before it is a fault of its
/// own: somebody keeps deleting it. As DistributedLock.FileSystem for .NET retries.
const MAX_REOPENINGS: u32 = 1600;

/// How far the claims have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Next(Step),
    /// Too few files are free.
    Refused,
    /// Everything wanted is ours, and everything else is closed.
    Finished,
}

/// One file.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
    state: ClaimState,
    watched: bool,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimState {
    /// Not open.
    Absent,
    /// Open; whether it can be locked is to be found out.
    Open,
    /// Open, and locked by somebody else.
    Busy,
    /// Locked by us; whether the path still names it is to be found out.
    Locked,
    /// Locked by us, and the right file.
    Owned,
    /// As `Owned`, and it says that we hold it.
    Recorded,
    /// To be deleted.
    Doomed,
    /// Open, and not the file that the path names.
    Stale,
}

/// Everything that one acquisition has opened.
#[derive(Debug)]
pub(super) struct Claims {
    claims: Vec<Claim>,
    wanted: u32,
    /// How many files there are to choose from.
    candidates: u32,
    next_candidate: u32,
    counted: bool,
    exclusive: bool,
    waits: bool,
    /// Whether refused files stay open, to be waited for.
    keep_refused: bool,
    queue_at_gate: bool,
    remove_files: bool,
    directory_missing: bool,
    reopenings: u32,
    wake_us: bool,
    /// A file may still be open that no claim knows of.
    leaks: bool,
    unprobed: usize,
    pending_record: Option<NextRecord>,
    fence: Option<u64>,
}

impl Claims {
    pub(super) fn new(demand: Demand, waits: bool, remove_on_release: bool) -> Self {
        let (wanted, candidates, counted) = match demand {
            Demand::Exclusive | Demand::Shared => (1, 1, false),
            Demand::Permits { count, limit } => (count, limit, true),
        };
        let exclusive = demand != Demand::Shared;
        Self {
            claims: Vec::new(),
            wanted,
            candidates,
            next_candidate: 0,
            counted,
            exclusive,
            waits,
            // With one candidate there is nothing to choose from.
            keep_refused: waits && candidates == 1,
            queue_at_gate: counted,
            remove_files: remove_on_release && exclusive,
            directory_missing: false,
            reopenings: 0,
            wake_us: true,
            leaks: false,
            unprobed: 0,
            pending_record: None,
            fence: None,
        }
    }

    /// The step that takes more of what is wanted.
    pub(super) fn next_to_take(&mut self) -> Outcome {
        if self.directory_missing {
            return Outcome::Next(Step::CreateDirectory);
        }
        if self.reopenings > MAX_REOPENINGS {
            self.reopenings = 0;
            return Outcome::Refused;
        }
        if self.owned() == self.wanted as usize {
            return self.next_to_finish();
        }
        if let Some(stale) = self.claims.iter().find(|claim| claim.state == ClaimState::Stale) {
            return Outcome::Next(Step::Close(stale.file));
        }
        if self.queue_at_gate
            && let Some(outcome) = self.next_at_gate()
        {
            return outcome;
        }
        for claim in &self.claims {
            if let Some(step) = claim.next_to_take(self.keep_refused) {
                return Outcome::Next(step);
            }
        }
        self.next_candidate()
    }

    /// Waiting takers of permits queue at the gate, so that two that have some each can't wait for
    /// one another. A single try passes a gate that is not free.
    fn next_at_gate(&mut self) -> Option<Outcome> {
        if !self.claims.iter().any(|claim| claim.file == File::Gate) {
            self.claims.push(Claim::absent(File::Gate));
        }
        let gate = self.claims.iter().find(|claim| claim.file == File::Gate)?;
        if gate.state == ClaimState::Busy && !self.waits {
            self.queue_at_gate = false;
            return Some(Outcome::Next(Step::Close(File::Gate)));
        }
        if gate.state == ClaimState::Owned {
            return None;
        }
        Some(gate.next_to_take(self.waits).map_or(Outcome::Refused, Outcome::Next))
    }

    fn next_candidate(&mut self) -> Outcome {
        while self.next_candidate < self.candidates {
            let file = if self.counted { File::Permit(self.next_candidate) } else { File::Lock };
            self.next_candidate += 1;
            if !self.claims.iter().any(|claim| claim.file == file) {
                self.claims.push(Claim::absent(file));
                return Outcome::Next(Step::Open(file));
            }
        }
        if self.waits && !self.keep_refused {
            self.keep_refused = true;
            self.next_candidate = 0;
            return self.next_candidate();
        }
        Outcome::Refused
    }

    /// Records who holds the files, then closes those that are not needed.
    fn next_to_finish(&self) -> Outcome {
        let owned = self.claims.iter().find(|claim| {
            claim.state == ClaimState::Owned && claim.file != File::Gate && self.exclusive
        });
        if let Some(claim) = owned {
            let write = self.pending_record.is_some();
            return Outcome::Next(if write {
                Step::Write(claim.file)
            } else {
                Step::Read(claim.file)
            });
        }
        let spare = self.claims.iter().find(|claim| claim.file == File::Gate || !claim.is_owned());
        spare.map_or(Outcome::Finished, |claim| Outcome::Next(Step::Close(claim.file)))
    }

    /// The step that looks whether the next held file is still the right one; `None` after the
    /// last.
    pub(super) fn next_to_probe(&mut self) -> Option<Step> {
        let claim = self.claims.get(self.unprobed);
        self.unprobed = if claim.is_some() { self.unprobed + 1 } else { 0 };
        claim.map(|claim| Step::Probe(claim.file))
    }

    /// The step that lets go of more of what is open; `None` when nothing is.
    pub(super) fn next_to_leave(&mut self) -> Option<Step> {
        self.claims.retain(|claim| claim.state != ClaimState::Absent);
        let claim = self.claims.first()?;
        let remove = self.remove_files && claim.file != File::Gate;
        Some(match claim.state {
            // What was not read yet may be somebody else's.
            ClaimState::Recorded if remove => Step::Verify(claim.file),
            ClaimState::Doomed => Step::Remove(claim.file),
            ClaimState::Absent
            | ClaimState::Open
            | ClaimState::Busy
            | ClaimState::Locked
            | ClaimState::Owned
            | ClaimState::Recorded
            | ClaimState::Stale => Step::Close(claim.file),
        })
    }

    /// After a rest: what was refused may be free, and the gate may have been deleted.
    pub(super) fn try_again(&mut self) {
        for claim in &mut self.claims {
            if claim.state == ClaimState::Busy {
                claim.state = ClaimState::Open;
            } else if claim.file == File::Gate && claim.state == ClaimState::Owned {
                claim.state = ClaimState::Locked;
            }
        }
    }

    /// Somebody else may be behind a new gate and wait for what we have.
    fn give_permits_back(&mut self) {
        for claim in &mut self.claims {
            if claim.state == ClaimState::Owned {
                claim.state = ClaimState::Stale;
            }
        }
    }

    /// The files are not ours to delete any more.
    pub(super) fn keep_files(&mut self) {
        self.remove_files = false;
    }

    /// Whether a close failed, so that a file may still be open and locked.
    pub(super) fn leaks(&self) -> bool {
        self.leaks
    }

    /// Whether the file system tells us when to try again.
    pub(super) fn wake_us(&self) -> bool {
        self.wake_us
    }

    /// The fencing token, once it is written down.
    pub(super) fn fence(&self) -> Option<u64> {
        self.fence
    }

    /// Makes the next record of `file` out of its present `bytes`.
    pub(super) fn record(
        &mut self,
        file: File,
        bytes: &[u8],
        wall_micros: u64,
        identity: &Identity,
        owner: Option<&str>,
        name: &str,
    ) {
        self.pending_record = NextRecord::after(bytes, wall_micros, identity, owner, name);
        if self.pending_record.is_none() {
            // Somebody else's file: it is locked, and neither written to nor deleted.
            self.keep_files();
            self.set(file, ClaimState::Recorded);
        }
    }

    pub(super) fn record_to_write(&mut self) -> Vec<u8> {
        let record = self.pending_record.as_mut();
        record.map(|record| core::mem::take(&mut record.bytes)).unwrap_or_default()
    }

    /// Records the answer to `step`; whether it says that a held file was replaced.
    pub(super) fn answered(&mut self, step: Step, reply: &Reply) -> bool {
        match (step, reply) {
            (Step::CreateDirectory, _) => self.directory_missing = false,
            (Step::Open(_), Reply::NoDirectory) => {
                self.directory_missing = true;
                self.reopenings += 1;
            }
            (Step::Open(file), _) => self.set(file, ClaimState::Open),
            (Step::TryLock(file), Reply::Done) => self.set(file, ClaimState::Locked),
            (Step::TryLock(file), _) => self.set(file, ClaimState::Busy),
            (Step::Watch(file), _) => {
                // It may have been freed before it was watched.
                self.set(file, ClaimState::Open);
                self.watched(file);
            }
            (Step::Verify(file), Reply::Done) => self.verified(file),
            (Step::Verify(file), _) => {
                self.reopenings += 1;
                self.set(file, ClaimState::Stale);
                if file == File::Gate {
                    self.give_permits_back();
                }
            }
            (Step::Probe(_), reply) => return *reply == Reply::Replaced,
            (Step::Write(file), _) => {
                if file == File::Lock {
                    self.fence = self.pending_record.as_ref().map(|record| record.fence);
                }
                self.pending_record = None;
                self.set(file, ClaimState::Recorded);
            }
            (Step::Read(file), _) => self.set(file, ClaimState::Recorded),
            (Step::Remove(file), _) => self.set(file, ClaimState::Stale),
            (Step::Close(file), _) => self.closed(file),
        }
        false
    }

    /// Records that `step` has no answer. What may have happened is taken to have happened.
    pub(super) fn faulted(&mut self, step: Step, unknown: bool) {
        match step {
            Step::Open(file) if unknown => self.set(file, ClaimState::Open),
            Step::Open(file) => self.set(file, ClaimState::Absent),
            Step::Watch(file) => {
                self.wake_us = false;
                self.set(file, ClaimState::Open);
                self.watched(file);
            }
            Step::Verify(file) | Step::Remove(file) => self.set(file, ClaimState::Stale),
            Step::Close(file) => {
                self.leaks = true;
                self.closed(file);
            }
            Step::CreateDirectory
            | Step::TryLock(_)
            | Step::Probe(_)
            | Step::Read(_)
            | Step::Write(_) => {}
        }
    }

    /// A file that was just locked is ours; one that is about to be deleted may be.
    fn verified(&mut self, file: File) {
        let locked =
            self.claims.iter().any(|claim| claim.file == file && claim.state == ClaimState::Locked);
        self.set(file, if locked { ClaimState::Owned } else { ClaimState::Doomed });
    }

    fn closed(&mut self, file: File) {
        let stale =
            self.claims.iter().any(|claim| claim.file == file && claim.state == ClaimState::Stale);
        if stale {
            self.set(file, ClaimState::Absent);
        } else {
            self.claims.retain(|claim| claim.file != file);
        }
    }

    fn set(&mut self, file: File, state: ClaimState) {
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.file == file) {
            claim.watched &= state != ClaimState::Absent;
            claim.state = state;
        }
    }

    fn watched(&mut self, file: File) {
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.file == file) {
            claim.watched = true;
        }
    }

    fn owned(&self) -> usize {
        let files = self.claims.iter().filter(|claim| claim.file != File::Gate);
        files.filter(|claim| claim.is_owned()).count()
    }
}

impl Claim {
    fn absent(file: File) -> Self {
        Self { file, state: ClaimState::Absent, watched: false }
    }

    fn is_owned(&self) -> bool {
        matches!(self.state, ClaimState::Owned | ClaimState::Recorded)
    }

    /// The step that makes the file ours, or lets go of it; `None` if it is ours or to be waited
    /// for.
    fn next_to_take(&self, keep_refused: bool) -> Option<Step> {
        match self.state {
            ClaimState::Absent => Some(Step::Open(self.file)),
            ClaimState::Open => Some(Step::TryLock(self.file)),
            ClaimState::Busy if !keep_refused => Some(Step::Close(self.file)),
            ClaimState::Busy if !self.watched => Some(Step::Watch(self.file)),
            ClaimState::Locked => Some(Step::Verify(self.file)),
            ClaimState::Stale => Some(Step::Close(self.file)),
            ClaimState::Busy | ClaimState::Owned | ClaimState::Recorded | ClaimState::Doomed => {
                None
            }
        }
    }
}
