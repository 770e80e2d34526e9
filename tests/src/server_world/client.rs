//! One client: its locks, its connection, its clock, and what it believes.

use std::collections::VecDeque;
use std::time::Duration;

use lock_proto::redis::{Command, FENCES, Reply, ServerLock, Side, Token, Verb};
use lock_proto::{Event, Fault, Hub, Instant, LockId, LossReason, RequestId, Succession};

use super::driver::{Driver, Way};
use super::nodes::MASTERS;
use super::{Rule, Setting, World};
use crate::entropy::Entropy;
use crate::limits::Limits;
use crate::storage::HoldNumber;

/// For so many microseconds a process keeps a lock to itself: 10 ms by the slowest of its clocks.
const PASSES_WITHIN: u64 = 11_200;

/// One incarnation of a client.
#[derive(Debug)]
pub(super) struct Client {
    /// How fast its clock runs, in thousandths.
    pub(super) rate: u64,
    /// How many microseconds its clock has lost.
    pub(super) behind: u64,
    /// Until when it stands still.
    pub(super) paused_until: u64,
    pub(super) hub: Hub<ServerLock, Belief>,
    pub(super) sent: VecDeque<Flight>,
    pub(super) answers: VecDeque<(LockId, RequestId, Result<Reply, Fault>)>,
    /// Whether this connection has drawn a fence before.
    pub(super) drawn: bool,
    pub(super) driver: Driver,
    /// Which node of a cluster it believes to have its locks.
    pub(super) map: usize,
    /// When the next request can arrive, and the next answer.
    pub(super) requests_from: u64,
    pub(super) answers_from: u64,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) client: usize,
    pub(super) lock: LockId,
    pub(super) id: RequestId,
    pub(super) command: Command,
    pub(super) way: Way,
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
    /// When it was asked for, in microseconds of everybody's time.
    pub(super) since: u64,
    /// When the last question was, by its client's clock.
    pub(super) asked_at: Instant,
    /// The last stamp of its refreshes.
    pub(super) stamp: u64,
    /// Whether an answer was lost since the last question.
    pub(super) unsure: bool,
    /// Its token, if it was replaced.
    pub(super) renamed: Option<Token>,
    /// What it writes to, if it holds the lock alone.
    pub(super) hold: Option<HoldNumber>,
    /// What was agreed about its end.
    pub(super) limits: Limits,
    /// Whether its caller said that it is lost.
    pub(super) given_up: bool,
    /// When it came from the server, and how often it was passed on since.
    pub(super) came: Option<(u64, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Held { until: Instant, fence: u64 },
    Over,
}

impl Belief {
    /// One that is asked for at `since` of everybody's time, and `asked_at` of its client's.
    pub(super) fn new(
        side: Side,
        token: &str,
        patient: bool,
        (since, asked_at): (u64, Instant),
    ) -> Self {
        Self {
            side,
            token: token.into(),
            state: State::Waiting,
            patient,
            over_before: 0,
            since,
            asked_at,
            stamp: 0,
            unsure: false,
            renamed: None,
            hold: None,
            limits: Limits::default(),
            given_up: false,
            came: None,
        }
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
            driver: Driver::Whole,
            map: 0,
            behind: 0,
            paused_until: 0,
            hub: Hub::new(),
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            drawn: false,
            requests_from: 0,
            answers_from: 0,
        }
    }

    /// Says which driver it has, and which node of a cluster it asks first.
    pub(super) fn draw_driver(&mut self, entropy: &mut Entropy) {
        self.driver = [Driver::Whole, Driver::Each][entropy.pick(2)];
        self.map = entropy.pick(MASTERS);
    }

    /// Its own clock.
    pub(super) fn local(&self, now: u64) -> Instant {
        Instant::from_nanos((now - self.behind.min(now)) * self.rate)
    }

    /// Until when those believe to hold the lock that go by `token`, by everybody's clock.
    pub(super) fn deadlines(&mut self, token: &str) -> Vec<u64> {
        let locks: Vec<LockId> = self.hub.locks().collect();
        let deadlines = locks.into_iter().filter_map(|lock| {
            let belief = self.hub.attachment(lock).filter(|belief| belief.token == token)?;
            let State::Held { until, .. } = belief.state else { return None };
            Some(until)
        });
        let deadlines: Vec<Instant> = deadlines.collect();
        deadlines.into_iter().map(|until| self.everybodys(until)).collect()
    }

    /// When its clock shows `local`, by everybody's, if nobody sets it meanwhile.
    pub(super) fn everybodys(&self, local: Instant) -> u64 {
        local.as_nanos().div_ceil(self.rate) + self.behind
    }

    /// When it wants to be woken, by everybody's clock.
    pub(super) fn deadline(&self, now: u64) -> Option<u64> {
        let due = self.everybodys(self.hub.poll_timeout()?);
        Some(due.max(self.paused_until).max(now))
    }

    pub(super) fn lock_of(&mut self, token: &str) -> Option<LockId> {
        let locks: Vec<LockId> = self.hub.locks().collect();
        locks
            .into_iter()
            .find(|lock| self.hub.attachment(*lock).is_some_and(|belief| belief.token == token))
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

    /// What those want that believe that they hold it; only until their deadline, if they look at it.
    pub(super) fn holders(&mut self, now: u64, by_deadline: bool) -> Vec<Side> {
        let local = self.local(now);
        let locks: Vec<LockId> = self.hub.locks().collect();
        let beliefs = locks.into_iter().filter_map(|lock| {
            let belief = self.hub.attachment(lock)?;
            let State::Held { until, .. } = belief.state else { return None };
            (local < until || !by_deadline).then_some(belief.side)
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
                let (at, own) = (self.since_the_beginning(), &self.clients[client]);
                let everybodys = |until| Duration::from_micros(own.everybodys(until));
                self.trace.told(at, client, lock, &event, everybodys);
                self.believe(client, lock, &event);
            }
            while let Some(request) = self.clients[client].hub.poll_request(lock) {
                let process = &mut self.clients[client];
                let command = request.command;
                self.trace.note(|| format!("    {lock:?} of {client}: {:?}", command.verb));
                let asked_at = process.local(self.now);
                if let Some(belief) = process.hub.attachment(lock) {
                    belief.asked_at = asked_at;
                    if let Verb::Enter { stamp, .. } = command.verb {
                        belief.stamp = stamp;
                    }
                }
                let way = self.way(client);
                let flight = self.sent(Flight { client, lock, id: request.id, command, way });
                self.clients[client].sent.push_back(flight);
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
        heir.since = heir.since.min(left.since);
        heir.stamp = left.stamp;
        heir.came = left.came.map(|(at, passes)| (at, passes + 1));
        heir.asked_at = left.asked_at;
        heir.renamed = left.renamed;
        hub.attachment(before).expect("it is there").token = unused;
    }

    fn believe(&mut self, client: usize, lock: LockId, event: &Event) {
        if let Event::Acquired { .. } | Event::Extended { .. } = event {
            self.taken = true;
            self.end_what_expired();
        }
        let forgets = self.forgets();
        if matches!(event, Event::Lost(_)) {
            if self.breaks(Rule::ToldLoss) {
                return;
            }
            self.note_end(client, lock, true);
        }
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        let known = belief.clone();
        let (side, before) = (known.side, known.over_before);
        let wild = self.setting == Setting::Wild;
        let now = self.clients[client].local(self.now);
        let lasting = !forgets && self.setting != Setting::Wild;
        let before = if lasting { self.fence_to_exceed(side) } else { before };
        let until = match event {
            Event::Acquired { valid_until, .. } | Event::Extended { valid_until } => *valid_until,
            Event::Warned { .. }
            | Event::Lost(_)
            | Event::Failed(_)
            | Event::Released
            | Event::Closed { .. }
            | _ => None,
        };
        let until = until.map(|until| self.believed(client, &known, until));
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        match event {
            Event::Acquired { valid_until: Some(_), fence: Some(fence) } => {
                assert!(*fence > before, "fence: {fence} after {before}");
                let until = until.expect("it has just said so");
                belief.state = State::Held { until, fence: *fence };
                belief.limits.begin(now);
                let (came_at, passes) = *belief.came.get_or_insert((self.now, 0));
                let kept = self.now - came_at;
                let offered = wild || kept <= PASSES_WITHIN && passes < FENCES;
                assert!(offered, "passing: {passes} times in {kept} us");
                let number = || self.storage.begin(belief.since, *fence);
                belief.hold = belief.is_alone().then(number);
                self.trace.saw("a lock was acquired");
            }
            Event::Extended { valid_until: Some(_) } => {
                belief.limits.prolong();
                if let State::Held { until: known, .. } = &mut belief.state {
                    *known = until.expect("it has just said so");
                }
            }
            Event::Warned { .. } => self.trace.saw("a warning"),
            Event::Lost(reason) => {
                belief.state = State::Over;
                let surely = *reason == LossReason::Revoked && !belief.given_up && !forgets;
                if surely
                    && !self.doubled.contains(&belief.token)
                    && !self.late.contains(&belief.token)
                {
                    let keys = [self.keys.lock(), self.keys.readers()];
                    let held = self.nodes.holds(keys, &belief.token);
                    assert!(!held, "loss: {} is told that it lost what it has", belief.token);
                }
                let expired = *reason == LossReason::Expired;
                self.trace.saw(if expired { "a lease ran out" } else { "a lock was revoked" });
            }
            Event::Closed { clean } => {
                let token = belief.token.clone();
                self.clients[client].hub.forget(lock);
                let reused = self.breaks(Rule::FreshToken) || self.breaks(Rule::TokenOfItsOwn);
                if *clean && !reused && !self.doubled.contains(&token) {
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
