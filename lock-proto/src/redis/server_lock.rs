//! One acquisition on one server, which decides whose turn it is.

use core::time::Duration;

use super::call::{CLAIM, Command, Message, Reply, Side, Verb};
use super::cohort::{Cohort, Legacy, Tenure};
use super::keys::Keys;
use super::leaving::{Leaving, Release};
use super::options::{Lease, RedisOptions, trusted};
use super::phase::{Asked, Dirt, Errand, Extension, Failing, Held, Phase, Wish};
use super::refreshes::Refreshes;
use super::token::Token;
use crate::event::Events;
use crate::lease::{Due, Hold};
use crate::machine::RequestIds;
use crate::options::{Budget, TTL};
use crate::time::earlier;
use crate::{
    AcquireOptions, Backoff, Deadline, Event, Fault, FaultKind, Instant, Jitter, LockError,
    LossReason, Machine, Request, RequestId, Seed, Timer,
};

/// How often a waiter says that it is still there, and asks whether it was let in.
const REFRESH: Duration = Duration::from_millis(1250);
/// A lock whose lease runs out is asked for this much later than the server said.
const AFTER_EXPIRY: Duration = Duration::from_millis(2);
/// The server's clock was never earlier than this, in microseconds since 1970: a smaller fence
/// was minted by a counter that was lost.
const PLAUSIBLE: u64 = 1_600_000_000_000_000;
/// A request that was not sent by now comes to nothing.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// A question without an answer for so long is the server's fault, and not somebody else's hold.
const SILENCE: Duration = Duration::from_millis(500);

/// One acquisition of a lock on one server.
///
/// ```text
/// Wanting ── yes, let in ──> Held ── lost, released ──> Leaving ──> Closed
///    └─── refused, out of time, released ──────────────────┘
/// ```
///
/// A mutex is first asked for with plain commands, everything else and every further question with
/// a script that puts a waiter in the queue beside the lock. Whoever gives the lock back hands it to
/// the first waiter in the same step, for a short claim, and tells it; the waiter holds from then
/// on and claims the full lease at once. A waiter asks about once a second in case the message was
/// lost, and so says that it is alive.
///
/// One token stands for the whole life (R1): after an answer that was lost, asking again with it
/// finds what is there already (R7).
#[derive(Clone, Debug)]
pub struct ServerLock {
    pub(super) keys: Keys,
    pub(super) token: Token,
    pub(super) side: Side,
    pub(super) lease: Lease,
    pub(super) fencing: bool,
    pub(super) budget: Budget,
    /// Whether others of its process may stand behind it.
    pub(super) leads: bool,
    backoff: Backoff,
    jitter: Jitter,
    pub(super) phase: Phase,
    pub(super) asked: Option<Asked>,
    pub(super) failing: Option<Failing>,
    pub(super) refreshes: Refreshes,
    /// Whether anything of ours may be on the server.
    pub(super) dirty: Dirt,
    ids: RequestIds,
    pub(super) events: Events,
}

impl ServerLock {
    /// Asks for `side` of the lock from `now` on.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range.
    pub fn new(
        keys: Keys,
        side: Side,
        options: &AcquireOptions,
        settings: &RedisOptions,
        seed: &Seed,
        now: Instant,
    ) -> Result<Self, LockError> {
        let side = side.checked()?;
        let lease = settings.lease(options)?;
        let budget = Budget::of(options);
        // A single try ends with its answer, however late that comes.
        let give_up_at = if budget.waits() { budget.ends(now) } else { Instant::FAR_FUTURE };
        let token = Token::new(settings.identity(), options.owner().map(AsRef::as_ref), seed);
        let mut lock = Self {
            keys,
            token,
            side,
            lease,
            fencing: settings.fencing(),
            budget,
            leads: false,
            backoff: settings.backoff(options),
            jitter: seed.jitter(),
            phase: Phase::Wanting(Wish { give_up_at, ask_at: now, faults: 0 }),
            asked: None,
            failing: None,
            refreshes: Refreshes::new(),
            dirty: Dirt::None,
            ids: RequestIds::new(),
            events: Events::new(),
        };
        match side {
            Side::Exclusive => lock.take(now),
            Side::Shared | Side::Permits { .. } => lock.enter(now),
        }
        Ok(lock)
    }

    /// The same lock, of which others are known to wait: it stands in the queue from the start,
    /// instead of being asked for with plain commands first. A single try stays one.
    #[must_use]
    pub fn queueing(mut self, now: Instant) -> Self {
        if let Phase::Wanting(_) = self.phase
            && self.budget.waits()
        {
            self.withdraw();
            self.enter(now);
        }
        self
    }

    /// What marks this acquisition on the server.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    fn take(&mut self, now: Instant) {
        self.ask(Errand::Take, now);
    }

    fn enter(&mut self, now: Instant) {
        self.refreshes.stamp(now);
        self.ask(Errand::Enter, now);
    }

    fn ask(&mut self, errand: Errand, now: Instant) {
        debug_assert!(self.asked.is_none(), "one question at a time");
        let before = self.dirty;
        if errand.takes() && before == Dirt::None {
            self.dirty = Dirt::Ours;
        }
        let id = self.ids.draw();
        self.asked = Some(Asked { id, sent: now, unsent: true, errand, before });
    }

    /// The question that nobody has taken yet.
    fn question(&mut self) -> Option<Request<Command>> {
        let asked = self.asked.as_mut().filter(|asked| asked.unsent)?;
        asked.unsent = false;
        let (side, ttl) = (self.side, self.lease.ttl());
        let verb = match asked.errand {
            Errand::Take => Verb::Take { ttl, fencing: self.fencing },
            Errand::Enter => {
                Verb::Enter { side, ttl, wait: self.budget.waits(), stamp: self.refreshes.last() }
            }
            Errand::Mint { .. } => Verb::Mint,
            Errand::Extend { ttl, .. } => Verb::Extend { side, ttl: ttl.into() },
        };
        let not_after = match (&self.phase, &asked.errand) {
            (Phase::Held(held), _) => held.hold.valid_until().unwrap_or(Instant::FAR_FUTURE),
            (_, Errand::Mint { valid_until }) => *valid_until,
            (_, Errand::Take | Errand::Enter | Errand::Extend { .. }) => asked.sent + SEND_WITHIN,
        };
        let command = Command::new(0, &self.keys, &self.token, verb);
        Some(Request { id: asked.id, not_after, command })
    }

    /// The release that nobody has taken yet.
    fn release_asked(&mut self) -> Option<Request<Command>> {
        let Phase::Leaving(leaving) = &mut self.phase else { return None };
        let (id, release, not_after) = leaving.hand_out()?;
        let verb = match release {
            Release::Plain => Verb::GiveBack,
            Release::Full { refuse_for } => Verb::Leave { side: self.side, refuse_for },
        };
        let command = Command::new(0, &self.keys, &self.token, verb);
        Some(Request { id, not_after, command })
    }

    /// Records the answer to the one question.
    fn answered(&mut self, asked: Asked, reply: Result<Reply, Fault>, now: Instant) {
        match &reply {
            Err(fault) if asked.errand.takes() => self.failed_to_take(&asked, fault.kind()),
            Ok([0, ..]) if !asked.errand.queues(self.budget) => self.untouched(&asked),
            Ok(_) | Err(_) => {}
        }
        match &mut self.phase {
            Phase::Wanting(_) => match reply {
                Ok(reply) => self.told(&asked, reply, now),
                Err(fault) => self.failed_to_ask(fault, now),
            },
            Phase::Held(_) => self.extended(&asked, reply, now),
            Phase::Leaving(leaving) => {
                let absent = match &reply {
                    Ok([first, ..]) => *first == 0,
                    Err(fault) => fault.kind() != FaultKind::Unknown,
                };
                if !absent {
                    leaving.ask_again(now);
                }
            }
            Phase::Behind(_) | Phase::Closed => {}
        }
    }

    fn failed_to_take(&mut self, asked: &Asked, fault: FaultKind) {
        match fault {
            FaultKind::NotSent => self.untouched(asked),
            // A plain command is carried out or refused; a script may have come half-way.
            FaultKind::Refused if matches!(asked.errand, Errand::Take) => self.untouched(asked),
            FaultKind::Refused => {}
            FaultKind::Unknown => self.dirty = Dirt::Doubtful,
        }
    }

    /// The question has left nothing on the server.
    fn untouched(&mut self, asked: &Asked) {
        if self.dirty == Dirt::Ours {
            self.dirty = asked.before;
        }
    }

    /// The server answered while the lock is wanted.
    fn told(&mut self, asked: &Asked, reply: Reply, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        wish.faults = 0;
        self.failing = None;
        let fence = u64::try_from(reply[1]).unwrap_or(0);
        match (&asked.errand, reply[0]) {
            (Errand::Mint { valid_until }, minted @ 1..) => {
                self.won(*valid_until, Tenure::new(minted.unsigned_abs(), now), now);
            }
            (Errand::Take | Errand::Enter, 1) => {
                let valid_until = asked.sent + trusted(self.lease.ttl());
                // R6: an unlikely number is no fence, and neither is the lack of one.
                if self.fencing && fence < PLAUSIBLE && matches!(asked.errand, Errand::Take) {
                    return self.ask(Errand::Mint { valid_until }, now);
                }
                let tenure = match asked.errand {
                    Errand::Enter => Tenure::granted(fence, now),
                    Errand::Take | Errand::Mint { .. } | Errand::Extend { .. } => {
                        Tenure::new(fence, now)
                    }
                };
                self.won(valid_until, tenure, now);
            }
            (Errand::Take, 0) if self.budget.waits() => wish.ask_at = now,
            (Errand::Enter, 0) if self.budget.waits() => {
                let remaining = Duration::from_millis(fence);
                let first = reply[2] == 0 && !remaining.is_zero();
                let rest = self.jitter.between(REFRESH - REFRESH / 10, REFRESH);
                let expired = remaining.saturating_add(AFTER_EXPIRY);
                wish.ask_at = now + if first { rest.min(expired) } else { rest };
            }
            (Errand::Take | Errand::Enter, 0) => self.fail(self.budget.timed_out(), now),
            // It was ours when we asked, and is not any more.
            (Errand::Mint { .. }, 0) => self.again(now),
            _ => self.fail(LockError::Backend(Fault::unknown("the server answered nonsense")), now),
        }
    }

    /// Ours until `valid_until`, unless that is too soon to be of use.
    fn won(&mut self, valid_until: Instant, tenure: Tenure, now: Instant) {
        if now + self.lease.min_validity() > valid_until {
            return self.again(now);
        }
        self.hold(Hold::begin(&self.lease.terms(), Some(valid_until), now), tenure);
    }

    pub(super) fn hold(&mut self, hold: Hold, tenure: Tenure) {
        let fence = Some(tenure.fence).filter(|_| self.fencing);
        self.events.push(Event::Acquired { valid_until: hold.valid_until(), fence });
        self.refreshes.settle();
        self.phase = Phase::Held(Held { hold, tenure, wanted: None });
    }

    /// Asks once more with the same token, or gives up what was to be a single try.
    fn again(&mut self, now: Instant) {
        if !self.budget.waits() {
            return self.fail(self.budget.timed_out(), now);
        }
        if let Phase::Wanting(wish) = &mut self.phase {
            wish.ask_at = now;
        }
    }

    fn failed_to_ask(&mut self, fault: Fault, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        if fault.kind() == FaultKind::Refused {
            return self.fail(LockError::Backend(fault), now);
        }
        if !self.budget.waits() {
            return self.fail(LockError::Connection(fault), now);
        }
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, last: fault });
        wish.ask_at = now + self.backoff.rest(wish.faults, &mut self.jitter);
        wish.faults += 1;
    }

    /// The server answered while the lock is held.
    fn extended(&mut self, asked: &Asked, reply: Result<Reply, Fault>, now: Instant) {
        let Phase::Held(held) = &mut self.phase else { return };
        // R3: what was lost does not come back.
        let alive = held.hold.valid_until().is_some_and(|until| now < until);
        let (ttl, automatic) = match asked.errand {
            Errand::Extend { ttl, automatic } => (ttl, automatic),
            // A refresh that was overtaken by the grant: a yes proves a lease, a no is out of date.
            Errand::Enter if matches!(reply, Ok([1, ..])) => (self.lease.ttl().into(), false),
            Errand::Take | Errand::Enter | Errand::Mint { .. } => return,
        };
        match reply {
            Ok([1, ..]) if alive => {
                let valid_until = asked.sent + trusted(ttl.into());
                held.hold.prolong(Some(valid_until), automatic, now);
                if held.wanted.is_none_or(|wanted| wanted.automatic) {
                    held.wanted = None;
                    self.events.extended(held.hold.valid_until());
                }
            }
            Ok([1, ..]) => {}
            Ok([0, ..]) => self.lose(LossReason::Revoked, now),
            Ok(_) | Err(_) => {
                held.hold.renewal_failed(now);
                if !automatic && held.wanted.is_none() {
                    let at = now + self.backoff.rest(1, &mut self.jitter);
                    held.wanted = Some(Extension { ttl, automatic, at });
                }
            }
        }
    }

    fn fail(&mut self, error: LockError, now: Instant) {
        self.events.push(Event::Failed(error));
        self.leave(now);
    }

    fn lose(&mut self, reason: LossReason, now: Instant) {
        self.events.push(Event::Lost(reason));
        self.leave(now);
        if let Phase::Leaving(leaving) = &mut self.phase {
            leaving.legacy = Legacy::Nothing;
        }
    }

    /// Takes back what was not handed out yet.
    pub(super) fn withdraw(&mut self) {
        if let Some(asked) = self.asked.take_if(|asked| asked.unsent) {
            self.untouched(&asked);
        }
    }

    /// Gives back whatever may be ours on the server.
    fn leave(&mut self, now: Instant) {
        self.withdraw();
        let legacy = match &self.phase {
            Phase::Wanting(wish) => Legacy::Place { ask_at: wish.ask_at },
            Phase::Held(Held { hold, tenure, .. }) => {
                Legacy::Hold { valid_until: hold.valid_until(), tenure: *tenure }
            }
            Phase::Behind(_) | Phase::Leaving(_) | Phase::Closed => Legacy::Nothing,
        };
        self.phase = Phase::Leaving(Leaving::new(legacy, now));
    }

    /// Takes every decision. All inputs end here.
    pub(super) fn decide(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Behind(give_up_at) if now >= *give_up_at => {
                self.fail(self.budget.timed_out(), now);
                self.decide(now);
            }
            Phase::Behind(_) => {}
            Phase::Wanting(_) => self.decide_wanting(now),
            Phase::Held(_) => self.decide_held(now),
            Phase::Leaving(_) => self.decide_leaving(now),
            Phase::Closed => {}
        }
    }

    fn decide_wanting(&mut self, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        let failing = self.failing.as_ref();
        if now >= wish.give_up_at {
            let unheard = self.asked.as_ref().is_some_and(|asked| now >= asked.sent + SILENCE);
            let silence = || Fault::unknown("the server did not answer in time");
            let fault = failing.map(|failing| failing.last.clone());
            let fault = fault.or_else(|| unheard.then(silence));
            let error = fault.map_or_else(|| self.budget.timed_out(), LockError::Connection);
            self.fail(error, now);
            self.decide(now);
        } else if let Some(failing) = failing.filter(|failing| now >= failing.ends_hope()) {
            self.fail(LockError::Connection(failing.last.clone()), now);
            self.decide(now);
        } else if self.asked.is_none() && now >= wish.ask_at {
            self.enter(now);
        }
    }

    fn decide_held(&mut self, now: Instant) {
        let Phase::Held(held) = &mut self.phase else { return };
        loop {
            match held.hold.due(now) {
                Due::Nothing => break,
                Due::Warning => self.events.warned(held.hold.valid_until()),
                Due::Renewal(ttl) => {
                    let ttl = ttl.into();
                    held.wanted.get_or_insert(Extension { ttl, automatic: true, at: now });
                }
                Due::Loss(reason) => {
                    self.lose(reason, now);
                    return self.decide(now);
                }
            }
        }
        if self.asked.is_none()
            && let Some(Extension { ttl, automatic, .. }) =
                held.wanted.take_if(|wanted| now >= wanted.at)
        {
            self.ask(Errand::Extend { ttl, automatic }, now);
        }
    }

    fn decide_leaving(&mut self, now: Instant) {
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        let overtaken = self.asked.as_ref().is_some_and(|asked| asked.errand.takes());
        if let Some(clean) = leaving.over(self.dirty, overtaken, now) {
            self.events.push(Event::Closed { clean });
            self.phase = Phase::Closed;
        } else if leaving.due(now) {
            let refuse_for = Leaving::refuse_for(self.dirty, overtaken);
            // Whoever has never stood in the queue has no place in it to give up.
            let plain = leaving.is_plain() && refuse_for.is_none() && self.refreshes.is_empty();
            let release = if plain && self.side == Side::Exclusive {
                Release::Plain
            } else {
                Release::Full { refuse_for }
            };
            leaving.ask(self.ids.draw(), release);
        }
    }
}

impl crate::machine::sealed::Sealed for ServerLock {}

impl Machine for ServerLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Message;
    type Cohort = Cohort;

    fn cohort(&self) -> Option<Cohort> {
        self.leads.then(|| Cohort::new(&self.keys, &self.lease))
    }

    fn stand_behind(&mut self) {
        self.wait_behind();
    }

    fn follow(&mut self, before: &mut Self, now: Instant) -> bool {
        self.take_over(before, now)
    }

    fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_) | Phase::Closed)
    }

    fn poll_request(&mut self) -> Option<Request<Command>> {
        self.release_asked().or_else(|| self.question())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        match &self.phase {
            Phase::Behind(give_up_at) => Deadline::budget(*give_up_at),
            Phase::Wanting(wish) => {
                let hopeless = self.failing.as_ref().map(Failing::ends_hope);
                let ends = hopeless.map_or(wish.give_up_at, |at| at.min(wish.give_up_at));
                let ask = self.asked.is_none().then(|| Deadline::new(wish.ask_at, Timer::Retry));
                earlier(ask, Deadline::budget(ends))
            }
            Phase::Held(held) => {
                let wanted = held.wanted.filter(|_| self.asked.is_none());
                let extend = wanted.map(|wanted| Deadline::new(wanted.at, Timer::Renewal));
                earlier(extend, held.hold.deadline())
            }
            Phase::Leaving(leaving) => Some(leaving.deadline()),
            Phase::Closed => None,
        }
    }

    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        let released = match &mut self.phase {
            Phase::Leaving(leaving) => leaving.answered(id, &reply, now),
            Phase::Behind(_) | Phase::Wanting(_) | Phase::Held(_) | Phase::Closed => false,
        };
        if !released && let Some(asked) = self.asked.take_if(|asked| asked.id == id) {
            self.answered(asked, reply, now);
        }
        self.decide(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    fn handle_nudge(&mut self, now: Instant) {
        if let Phase::Wanting(wish) = &mut self.phase {
            wish.ask_at = now;
        }
        self.decide(now);
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        match &mut self.phase {
            Phase::Wanting(wish) => {
                // A refresh that still counts dates a claim that is still valid (`options.rs`).
                match self.refreshes.sent(message.stamp, now) {
                    Some(sent) if now < wish.give_up_at => {
                        let until = sent + trusted(CLAIM);
                        let tenure = Tenure::granted(message.fence, now);
                        self.hold(Hold::begin_claim(&self.lease.terms(), until, now), tenure);
                    }
                    Some(_) | None => wish.ask_at = now,
                }
            }
            Phase::Leaving(leaving) => leaving.ask_again(now),
            Phase::Behind(_) | Phase::Held(_) | Phase::Closed => {}
        }
        self.decide(now);
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        if let Phase::Held(_) = self.phase {
            self.lose(reason, now);
        }
        self.decide(now);
    }

    fn extend(&mut self, ttl: Duration, now: Instant) {
        if let Phase::Held(held) = &mut self.phase {
            // The server takes no longer one.
            let ttl = ttl.min(TTL.1).into();
            held.wanted = Some(Extension { ttl, automatic: false, at: now });
        }
        self.decide(now);
    }

    fn release(&mut self, now: Instant) {
        match self.phase {
            Phase::Behind(_) | Phase::Wanting(_) | Phase::Held(_) => self.leave(now),
            Phase::Leaving(_) | Phase::Closed => {}
        }
        self.decide(now);
    }
}
