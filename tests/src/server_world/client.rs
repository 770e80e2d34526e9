//! One client: its locks, its connection, its clock, and what it believes.

use std::collections::VecDeque;

use lock_proto::redis::{Command, Reply, ServerLock, Side};
use lock_proto::{Event, Fault, Hub, Instant, LockId, LossReason, RequestId, Succession};

use super::World;

/// One incarnation of a client.
#[derive(Debug)]
pub(super) struct Client {
    /// How fast its clock runs, in thousandths.
    pub(super) rate: u64,
    pub(super) hub: Hub<ServerLock, Belief>,
    pub(super) sent: VecDeque<Flight>,
    pub(super) answers: VecDeque<(LockId, RequestId, Result<Reply, Fault>)>,
    /// Whether this connection has drawn a fence before.
    pub(super) drawn: bool,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) client: usize,
    pub(super) lock: LockId,
    pub(super) id: RequestId,
    pub(super) command: Command,
}

/// What a client believes of one lock.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    pub(super) side: Side,
    pub(super) token: String,
    pub(super) state: State,
    /// Whether it waits for ever.
    pub(super) patient: bool,
    /// The fence that was to be exceeded when it was asked for.
    pub(super) over_before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Held { until: Instant, fence: u64 },
    Over,
}

impl Belief {
    pub(super) fn new(side: Side, token: &str, patient: bool) -> Self {
        Self { side, token: token.into(), state: State::Waiting, patient, over_before: 0 }
    }

    /// Whether it excludes everybody else.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.side, Side::Exclusive | Side::Permits { count: super::LIMIT, .. })
    }
}

impl Client {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate,
            hub: Hub::new(),
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            drawn: false,
        }
    }

    /// Its own clock.
    pub(super) fn local(&self, now: u64) -> Instant {
        Instant::from_nanos(now * self.rate)
    }

    /// When it wants to be woken, by everybody's clock.
    pub(super) fn deadline(&self, now: u64) -> Option<u64> {
        let due = self.hub.poll_timeout()?;
        Some(due.as_nanos().div_ceil(self.rate).max(now))
    }

    pub(super) fn lock_of(&mut self, token: &str) -> Option<LockId> {
        let locks: Vec<LockId> = self.hub.locks().collect();
        locks
            .into_iter()
            .find(|lock| self.hub.attachment(*lock).is_some_and(|belief| belief.token == token))
    }

    /// Those that believe that they hold it.
    pub(super) fn holders(&mut self, now: u64) -> Vec<Side> {
        let local = self.local(now);
        let locks: Vec<LockId> = self.hub.locks().collect();
        let beliefs = locks.into_iter().filter_map(|lock| {
            let belief = self.hub.attachment(lock)?;
            let holds = matches!(belief.state, State::Held { until, .. } if local < until);
            holds.then_some(belief.side)
        });
        beliefs.collect()
    }
}

impl World<'_> {
    /// Takes what a client's locks say.
    pub(super) fn settle(&mut self, client: usize) {
        while let Some(succession) = self.clients[client].hub.poll_succession() {
            self.succeed(client, succession);
        }
        let locks: Vec<LockId> = self.clients[client].hub.locks().collect();
        for lock in locks {
            while let Some(event) = self.clients[client].hub.poll_event(lock) {
                self.trace.note(|| format!("    {lock:?} of {client}: [{event:?}]"));
                self.trace.told(self.since_the_beginning(), client, lock, &event);
                self.believe(client, lock, &event);
            }
            let process = &mut self.clients[client];
            while let Some(request) = process.hub.poll_request(lock) {
                let command = request.command;
                self.trace.note(|| format!("    {lock:?} of {client}: {:?}", command.verb));
                process.sent.push_back(Flight { client, lock, id: request.id, command });
            }
        }
    }

    /// What comes for a lock that has left is now for the one that followed it.
    fn succeed(&mut self, client: usize, succession: Succession) {
        let Succession { before, lock, inherits, .. } = succession;
        self.trace.note(|| format!("{lock:?} of {client} follows {before:?}: {inherits}"));
        if !inherits {
            return;
        }
        self.trace.saw("a lock was passed on within its process");
        let hub = &mut self.clients[client].hub;
        let left = hub.attachment(before).expect("it is there").clone();
        let heir = hub.attachment(lock).expect("it is there");
        let unused = std::mem::replace(&mut heir.token, left.token);
        // A lock that is passed on came from the server when the one before acquired it.
        heir.over_before = heir.over_before.min(left.over_before);
        hub.attachment(before).expect("it is there").token = unused;
    }

    fn believe(&mut self, client: usize, lock: LockId, event: &Event) {
        if let Event::Acquired { .. } | Event::Extended { .. } = event {
            self.taken = true;
            self.end_what_expired();
        }
        let forgets = self.forgets();
        if matches!(event, Event::Lost(_)) {
            self.note_end(client, lock, true);
        }
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        let side = belief.side;
        let before = belief.over_before;
        let before = if forgets { before } else { self.fence_to_exceed(side) };
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        match event {
            Event::Acquired { valid_until: Some(until), fence: Some(fence) } => {
                assert!(*fence > before, "fence: {fence} after {before}");
                belief.state = State::Held { until: *until, fence: *fence };
                self.trace.saw("a lock was acquired");
            }
            Event::Extended { valid_until: Some(until) } => {
                if let State::Held { until: known, .. } = &mut belief.state {
                    *known = *until;
                }
            }
            Event::Warned { .. } => self.trace.saw("a warning"),
            Event::Lost(reason) => {
                belief.state = State::Over;
                let expired = *reason == LossReason::Expired;
                self.trace.saw(if expired { "a lease ran out" } else { "a lock was revoked" });
            }
            Event::Closed { clean } => {
                let token = belief.token.clone();
                self.clients[client].hub.forget(lock);
                if *clean {
                    self.clean.insert(token);
                }
            }
            Event::Failed(_) => belief.state = State::Over,
            event @ (Event::Acquired { .. } | Event::Extended { .. } | _) => {
                panic!("M4: {event:?}")
            }
        }
    }

    /// Notes the fences of holds whose time is up, whether or not their holders know.
    pub(super) fn end_what_expired(&mut self) {
        for client in 0..self.clients.len() {
            for lock in self.clients[client].hub.locks().collect::<Vec<_>>() {
                self.note_end(client, lock, false);
            }
        }
    }
}
