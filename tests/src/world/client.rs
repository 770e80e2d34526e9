//! What the callers believe, and what must hold of it.

use std::time::Duration;

use lock_proto::file::{Command, File, FileLock, Reply};
use lock_proto::{Demand, Event, Instant, LockId, LossReason, Request, RequestId, memory};

use super::{Flight, World, name};
use crate::check::{Checkable as _, Stage};
use crate::service::disk::Opener;
use crate::trace::Happening;

/// The caller of one lock.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) demand: Demand,
    pub(super) timeout: Option<Duration>,
    pub(super) stage: Stage,
    pub(super) released: bool,
    /// Something failed for it, so it may fail.
    pub(super) unlucky: bool,
}

impl Client {
    pub(super) fn new(demand: Demand, timeout: Option<Duration>) -> Self {
        Self { demand, timeout, stage: Stage::Waiting, released: false, unlucky: false }
    }

    pub(super) fn holds(&self) -> bool {
        self.stage == Stage::Held && !self.released
    }
}

impl World<'_> {
    pub(super) fn release(&mut self, slot: usize, lock: LockId) {
        let opener = Opener { process: self.processes[slot].number, lock };
        let Some(client) = self.processes[slot].hub.attachment(lock) else {
            return;
        };
        client.released = true;
        if self.wire.iter().any(|flight| flight.opener == opener && flight.queued()) {
            self.trace.saw("a cancel in the queue");
        }
        self.trace.note(|| format!("release of {opener:?}"));
        let (at, client) = (self.since_the_beginning(), opener.process as usize);
        self.trace.happened(at, || Happening::LetGo { client, lock });
        self.processes[slot].hub.release(lock, self.now);
    }

    /// Takes whatever any machine has to say.
    pub(super) fn settle_outputs(&mut self) {
        for slot in 0..self.processes.len() {
            let locks: Vec<LockId> = self.processes[slot].hub.locks().collect();
            for lock in locks {
                self.listen(slot, lock);
            }
        }
    }

    fn listen(&mut self, slot: usize, lock: LockId) {
        let opener = Opener { process: self.processes[slot].number, lock };
        while let Some(event) = self.processes[slot].hub.poll_event(lock) {
            self.trace.note(|| format!("    {opener:?} [{event:?}]"));
            let (at, client) = (self.since_the_beginning(), opener.process as usize);
            self.trace.told(at, client, lock, &event, |until| until.since(Instant::ZERO));
            self.hear(slot, opener, &event);
        }
        while let Some(request) = self.processes[slot].hub.poll_request(lock) {
            self.trace.note(|| format!("    {opener:?} asks {:?}", request.command));
            self.send(slot, opener, request);
        }
        let client = self.processes[slot].hub.attachment(lock);
        if client.is_some_and(|client| client.stage == Stage::Closed) {
            self.processes[slot].hub.forget(lock);
        }
    }

    fn send(&mut self, slot: usize, opener: Opener, request: Request<Command>) {
        let (id, command) = (request.id, request.command.clone());
        let client = self.processes[slot].hub.attachment(opener.lock).expect("it just asked");
        assert!(!(client.released && FileLock::takes(&command)), "M6: {command:?}");
        let demand = client.demand;
        let mut others = self.wire.iter().filter(|flight| flight.opener == opener);
        let busy = others.any(|flight| !FileLock::is_cancel(&flight.command));
        assert!(!busy || FileLock::is_cancel(&command), "M3: {command:?}");
        let asked = match command {
            Command::Enter { wait, .. } => {
                Some(memory::Command::Enter { demand, wait, ttl: None, owner: None })
            }
            Command::Leave => Some(memory::Command::Leave { demand }),
            Command::CreateDirectory
            | Command::Open(_)
            | Command::TryLock(..)
            | Command::Watch(_)
            | Command::Verify(_)
            | Command::Read(_)
            | Command::Write(..)
            | Command::Remove(_)
            | Command::Close(_) => None,
        };
        self.wire.push(Flight { opener, id, command, announced: false, outcome: None });
        if let Some(asked) = asked {
            self.ask_queue(slot, opener, request.map(|_| asked));
        }
    }

    fn ask_queue(&mut self, slot: usize, opener: Opener, request: Request<memory::Command>) {
        let id = request.id;
        let table = &mut self.processes[slot].table;
        self.trace.event();
        let reply = table.execute(opener.lock, &name(), request, self.now);
        let mut replies: Vec<(LockId, RequestId, memory::Reply)> =
            reply.map(|reply| (opener.lock, id, reply)).into_iter().collect();
        replies.extend(std::iter::from_fn(|| table.poll_reply()));
        for (lock, id, reply) in replies {
            let reply = match reply {
                memory::Reply::Granted { .. } | memory::Reply::Left => Reply::Done,
                memory::Reply::Busy => Reply::Busy,
                memory::Reply::Withdrawn => Reply::Withdrawn,
                memory::Reply::Extended { .. } | memory::Reply::NotHeld => {
                    panic!("the queue has no leases")
                }
            };
            let waiter = Opener { process: opener.process, lock };
            let mut flights = self.wire.iter_mut();
            let flight = flights.find(|flight| flight.opener == waiter && flight.id == id);
            flight.expect("an answer to what was asked").outcome = Some(Ok(reply));
        }
    }

    fn hear(&mut self, slot: usize, opener: Opener, event: &Event) {
        let hub = &mut self.processes[slot].hub;
        let client = hub.attachment(opener.lock).expect("it just spoke");
        client.stage = match (client.stage, event) {
            (Stage::Waiting, Event::Acquired { .. }) => Stage::Held,
            (Stage::Held, Event::Extended { .. } | Event::Warned { .. }) => Stage::Held,
            (Stage::Held, Event::Lost(reason)) => {
                if *reason == LossReason::Replaced {
                    self.trace.saw("a held file was replaced");
                }
                Stage::Over
            }
            (Stage::Waiting, Event::Failed(error)) => {
                let may_fail = client.timeout.is_some() || client.unlucky || client.released;
                assert!(may_fail, "liveness: {opener:?} failed for no reason: {error}");
                let one_try = client.timeout == Some(Duration::ZERO) && error.is_timeout();
                let counted = matches!(client.demand, Demand::Permits { .. });
                if one_try && counted && self.disk.locked(opener) > 0 {
                    self.trace.saw("a try gives permits back");
                }
                Stage::Over
            }
            (Stage::Waiting | Stage::Held | Stage::Over, Event::Closed { clean }) => {
                assert!(client.released || client.stage == Stage::Over, "M4: nobody let go");
                let left = self.disk.opened(opener);
                assert!(!clean || left == 0, "M7: {opener:?} has {left} files open");
                Stage::Closed
            }
            (stage, event) => panic!("M4: {event:?} while {stage:?}"),
        };
        if let Event::Acquired { fence, .. } = event {
            self.check_exclusion(opener);
            self.check_fence(opener, *fence);
        }
    }

    /// A hold counts until the caller is told of its end, unless a stranger has deleted its file:
    /// no lock file survives that, and the holder is told within half a second.
    fn check_exclusion(&mut self, opener: Opener) {
        let mut holders: Vec<(Opener, Demand)> = Vec::new();
        for process in &mut self.processes {
            let locks: Vec<LockId> = process.hub.locks().collect();
            for lock in locks {
                let holder = Opener { process: process.number, lock };
                let client = process.hub.attachment(lock).expect("it is there");
                if client.holds() && !self.disk.is_robbed(holder) {
                    holders.push((holder, client.demand));
                }
            }
        }
        let exclusive = holders.iter().any(|(_, demand)| *demand == Demand::Exclusive);
        assert!(!exclusive || holders.len() == 1, "exclusion: {holders:?} after {opener:?}");
        let mut out = 0;
        for (holder, demand) in &holders {
            let (count, limit) = match demand {
                Demand::Exclusive | Demand::Shared => (1, u32::MAX),
                Demand::Permits { count, limit } => (*count, *limit),
            };
            out += count;
            assert!(out <= limit, "exclusion: {out} of {limit} permits are out, {holders:?}");
            let locked = self.disk.locked(*holder);
            assert_eq!(locked, count as usize, "truth: {holder:?} holds what it has not locked");
        }
        if holders.len() > 1 {
            let shared = holders[0].1 == Demand::Shared;
            self.trace.saw(if shared { "readers share" } else { "permits are out" });
        }
    }

    /// Fences rise for one file always, and from one file to the next unless the wall clock was
    /// set back.
    fn check_fence(&mut self, opener: Opener, fence: Option<u64>) {
        let Some(fence) = fence.filter(|_| !self.disk.is_robbed(opener)) else {
            return;
        };
        let inode = self.disk.inode(opener, File::Lock).expect("whoever holds it has it open");
        let before = self.fences.insert(inode, fence);
        assert!(before < Some(fence), "fence: {fence} of {opener:?} is not above {before:?}");
        let (last, back) = (self.last_fence, self.clock_went_back);
        assert!(fence > last || back, "fence: {fence} of {opener:?} is not above {last}");
        self.last_fence = fence.max(last);
    }
}
