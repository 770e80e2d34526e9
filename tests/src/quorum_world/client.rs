//! One client: its locks, its connections, its clock, and what it believes.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use lock_proto::redis::{RedisLock, Reply, Side};
use lock_proto::{Event, Fault, Hub, Instant, LockError, LockId, LossReason, RequestId};

use super::faults::Trouble;
use super::servers::Flight;
use super::{Rule, Setting, World};
use crate::limits::Limits;
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
    /// When the next request can arrive, and the next answer.
    pub(super) requests_from: u64,
    pub(super) answers_from: u64,
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
    /// The ballot that was to be exceeded then, if clocks order ballots.
    pub(super) over_before: u64,
    /// The ballots of the yeses that it has heard.
    pub(super) yeses: Vec<u64>,
    /// What it writes to, if it holds the lock alone.
    pub(super) hold: Option<HoldNumber>,
    /// What was agreed about its end.
    pub(super) limits: Limits,
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
        let (stands_on, granted_by, limits) = (0, 0, Limits::default());
        Self {
            side,
            tokens,
            state,
            patient,
            stands_on,
            granted_by,
            asked_at,
            over_before: 0,
            yeses,
            hold,
            limits,
        }
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

    /// When its clock shows `local`, by everybody's, if nobody sets it meanwhile.
    fn everybodys(&self, local: Instant) -> u64 {
        local.as_nanos().div_ceil(self.rate) + self.behind
    }

    /// When it wants to be woken, by everybody's clock.
    pub(super) fn deadline(&self, now: u64) -> Option<u64> {
        let due = self.everybodys(self.hub.poll_timeout()?);
        Some(due.max(self.paused_until).max(now))
    }

    pub(super) fn lock_of(&mut self, token: &str) -> Option<LockId> {
        let locks: Vec<LockId> = self.hub.locks().collect();
        locks.into_iter().find(|lock| {
            self.hub.attachment(*lock).is_some_and(|known| known.tokens.contains(token))
        })
    }

    /// Looks at what was agreed about the ends of its holds.
    pub(super) fn check_limits(&mut self, now: Instant) {
        for lock in self.hub.locks().collect::<Vec<LockId>>() {
            if let Some(belief) = self.hub.attachment(lock)
                && let State::Held { .. } = belief.state
            {
                belief.limits.check(now);
            }
        }
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

    /// Whether anything on it can arrive.
    pub(super) fn moves(&self, now: u64) -> bool {
        let requests = !self.sent.is_empty() && now >= self.requests_from;
        requests || !self.answers.is_empty() && now >= self.answers_from
    }
}

impl World<'_> {
    /// Takes what a client's locks say.
    pub(super) fn settle(&mut self, client: usize) {
        let locks: Vec<LockId> = self.clients[client].hub.locks().collect();
        for lock in locks {
            while let Some(event) = self.clients[client].hub.poll_event(lock) {
                self.trace.note(|| format!("    {lock:?} of {client}: [{event:?}]"));
                let (at, own) = (self.since_the_beginning(), &self.clients[client]);
                let everybodys = |until| Duration::from_micros(own.everybodys(until));
                self.trace.told(at, client, lock, &event, everybodys);
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
                let alone = belief.side == Side::Exclusive;
                let ordered = self.are_clocks_to_order();
                let over = self.ballot_to_exceed(belief.side);
                let over = if ordered { belief.over_before } else { over };
                assert!(*ballot > over, "ballots: {ballot} after {over}");
                let number = || self.storage.begin(belief.asked_at, *ballot);
                belief.hold = alone.then(number);
                let new = self.ballots.insert(*ballot);
                assert!(new || self.forgotten, "ballots: {ballot} twice");
                belief.granted_by = self.grants(&belief.tokens, left(*until), *ballot);
                belief.stands_on = belief.granted_by;
                belief.state = State::Held { since: self.now, until: *until, ballot: *ballot };
                belief.limits.begin(local);
                self.trace.saw("a lock was acquired");
            }
            Event::Extended { valid_until: Some(until) } => {
                if let State::Held { until: known, ballot, .. } = &mut belief.state {
                    assert!(*until >= *known, "R4: shortened from {known:?} to {until:?}");
                    *known = *until;
                    belief.stands_on = self.grants(&belief.tokens, left(*until), *ballot);
                }
                belief.limits.prolong();
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
                    let once = |token: &String| !self.doubled.contains(token);
                    self.clean.extend(belief.tokens.into_iter().filter(once));
                }
                return;
            }
            Event::Failed(error) => {
                let unwilling = matches!(error, LockError::Backend(_)) && self.has(Trouble::Errors);
                let unreachable = matches!(error, LockError::Connection(_)) || unwilling;
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
