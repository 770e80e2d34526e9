//! One client: its locks, its connections, its clock, and what it believes.

use std::collections::{BTreeSet, VecDeque};

use lock_proto::redis::{RedisLock, Reply, Side};
use lock_proto::{Event, Fault, Hub, Instant, LockError, LockId, LossReason, RequestId};

use super::servers::Flight;
use super::{Rule, Setting, World};
use crate::storage::HoldNumber;

const OTHER_SERVERS: Setting = Setting::Broken(Rule::SameServers);

/// One incarnation of a client.
#[derive(Debug)]
pub(super) struct Client {
    /// How fast its clock runs, in thousandths.
    pub(super) rate: u64,
    /// How many microseconds its clock has lost.
    pub(super) behind: u64,
    /// Until when it stands still.
    pub(super) paused_until: u64,
    pub(super) hub: Hub<RedisLock, Belief>,
    /// Its connection to each server.
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) sent: VecDeque<Flight>,
    pub(super) answers: VecDeque<(LockId, RequestId, Result<Reply, Fault>)>,
}

/// What a client believes of one lock.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    pub(super) side: Side,
    /// What marks it on the servers: a taker of permits has a token for each mutex.
    pub(super) tokens: BTreeSet<String>,
    pub(super) state: State,
    /// Whether it waits for ever.
    pub(super) patient: bool,
    /// On how many servers it stood when it was last granted or prolonged.
    pub(super) stands_on: usize,
    /// How many servers had granted it when it was acquired.
    pub(super) granted_by: usize,
    /// When it was asked for.
    pub(super) asked_at: u64,
    /// The ballots of the yeses that it has heard.
    pub(super) yeses: Vec<u64>,
    /// What it writes to, if it holds the lock alone.
    pub(super) hold: Option<HoldNumber>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Held { since: u64, until: Instant, ballot: u64 },
    Over,
}

impl Belief {
    pub(super) fn new(side: Side, patient: bool, asked_at: u64) -> Self {
        let (tokens, state) = (BTreeSet::new(), State::Waiting);
        let (yeses, hold) = (Vec::new(), None);
        let (stands_on, granted_by) = (0, 0);
        Self { side, tokens, state, patient, stands_on, granted_by, asked_at, yeses, hold }
    }

    pub(super) fn acquired_at(&self) -> u64 {
        match self.state {
            State::Held { since, .. } => since,
            State::Waiting | State::Over => u64::MAX,
        }
    }
}

impl Client {
    pub(super) fn new(rate: u64, servers: usize) -> Self {
        let links = (0..servers).map(|_| Link::default()).collect();
        Self { rate, behind: 0, paused_until: 0, hub: Hub::new(), links }
    }

    /// Its own clock.
    pub(super) fn local(&self, now: u64) -> Instant {
        Instant::from_nanos((now - self.behind.min(now)) * self.rate)
    }

    /// When it wants to be woken, by everybody's clock.
    pub(super) fn deadline(&self, now: u64) -> Option<u64> {
        let due = self.hub.poll_timeout()?;
        let due = due.as_nanos().div_ceil(self.rate) + self.behind;
        Some(due.max(self.paused_until).max(now))
    }

    pub(super) fn lock_of(&mut self, token: &str) -> Option<LockId> {
        let locks: Vec<LockId> = self.hub.locks().collect();
        locks.into_iter().find(|lock| {
            self.hub.attachment(*lock).is_some_and(|known| known.tokens.contains(token))
        })
    }

    /// Those that believe that they hold it.
    pub(super) fn holders(&mut self, now: u64) -> Vec<Belief> {
        let local = self.local(now);
        let locks: Vec<LockId> = self.hub.locks().collect();
        let beliefs = locks.into_iter().filter_map(|lock| self.hub.attachment(lock).cloned());
        beliefs
            .filter(|belief| matches!(belief.state, State::Held { until, .. } if local < until))
            .collect()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.links.iter().all(Link::is_quiet)
    }
}

impl Link {
    pub(super) fn is_quiet(&self) -> bool {
        self.sent.is_empty() && self.answers.is_empty()
    }
}

impl World<'_> {
    /// Takes what a client's locks say.
    pub(super) fn settle(&mut self, client: usize) {
        let locks: Vec<LockId> = self.clients[client].hub.locks().collect();
        for lock in locks {
            while let Some(event) = self.clients[client].hub.poll_event(lock) {
                self.trace.note(|| format!("    {lock:?} of {client}: [{event:?}]"));
                self.trace.told(self.since_the_beginning(), client, lock, &event);
                self.believe(client, lock, &event);
            }
            let process = &mut self.clients[client];
            while let Some(request) = process.hub.poll_request(lock) {
                let mut command = request.command;
                // Where clients know other servers, the second has the last three of five.
                command.server += if self.setting == OTHER_SERVERS && client == 1 { 2 } else { 0 };
                self.trace.note(|| {
                    format!("    {lock:?} of {client}: to {} {:?}", command.server, command.verb)
                });
                let belief = process.hub.attachment(lock).expect("it just asked");
                belief.tokens.insert(command.token.as_str().into());
                let (id, server, sent_at) = (request.id, command.server, self.now);
                let flight = Flight { client, lock, id, command, sent_at };
                process.links[server].sent.push_back(flight);
            }
        }
    }

    fn believe(&mut self, client: usize, lock: LockId, event: &Event) {
        if let Event::Acquired { .. } | Event::Extended { .. } = event {
            self.taken = true;
            self.end_what_expired();
        }
        if matches!(event, Event::Lost(_)) {
            self.note_end(client, lock, true);
        }
        let local = self.clients[client].local(self.now);
        let rate = self.clients[client].rate;
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        let mut belief = belief.clone();
        let left = |until: Instant| {
            u64::try_from(until.since(local).as_nanos()).expect("a lease is short") / rate
        };
        match event {
            Event::Acquired { valid_until: Some(until), fence: Some(ballot) } => {
                let smallest = belief.yeses.iter().min().copied().unwrap_or(*ballot);
                let ballot = if self.breaks(Rule::CountedBallot) { &smallest } else { ballot };
                // Shared holds exclude nobody who shares.
                let alone = belief.side == Side::Exclusive;
                let over = if alone { self.over } else { self.over_alone };
                assert!(*ballot > over, "ballots: {ballot} after {over}");
                let number = || self.storage.begin(belief.asked_at, *ballot);
                belief.hold = alone.then(number);
                let new = self.ballots.insert(*ballot);
                assert!(new || self.forgotten, "ballots: {ballot} twice");
                belief.granted_by = self.grants(&belief.tokens, left(*until), *ballot);
                belief.stands_on = belief.granted_by;
                belief.state = State::Held { since: self.now, until: *until, ballot: *ballot };
                self.trace.saw("a lock was acquired");
            }
            Event::Extended { valid_until: Some(until) } => {
                if let State::Held { until: known, ballot, .. } = &mut belief.state {
                    assert!(*until >= *known, "R4: shortened from {known:?} to {until:?}");
                    *known = *until;
                    belief.stands_on = self.grants(&belief.tokens, left(*until), *ballot);
                }
                self.trace.saw("a lock was prolonged");
            }
            Event::Warned { .. } => self.trace.saw("a warning"),
            Event::Lost(reason) => {
                belief.state = State::Over;
                let expired = *reason == LossReason::Expired;
                self.trace.saw(if expired { "a lease ran out" } else { "a lock was revoked" });
            }
            Event::Closed { clean } => {
                self.clients[client].hub.forget(lock);
                if *clean && !self.forgotten {
                    self.clean.extend(belief.tokens);
                }
                return;
            }
            Event::Failed(error) => {
                let unreachable = matches!(error, LockError::Connection(_));
                assert!(!belief.patient || unreachable, "liveness: {error} for no reason");
                belief.state = State::Over;
            }
            Event::Released => self.trace.saw("a release before the last server"),
            event @ (Event::Acquired { .. } | Event::Extended { .. } | _) => {
                panic!("M4: {event:?}")
            }
        }
        if let Some(known) = self.clients[client].hub.attachment(lock) {
            *known = belief;
        }
    }
}
