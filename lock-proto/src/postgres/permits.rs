//! One acquisition of permits of a semaphore.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use super::advisory::{LONGEST_WAIT, SHORTEST_WAIT, TRIES_WITHIN};
use super::call::{Command, PermitKeys, Permits, Reply, Subject, Verb};
use super::key::AdvisoryKey;
use super::leaving::Leaving;
use super::phase::{Asked, Failing, Phase, Wish, no_session};
use crate::event::Events;
use crate::lease::{Due, Hold, Terms};
use crate::machine::RequestIds;
use crate::options::Budget;
use crate::outbox::Outbox;
use crate::time::earlier;
use crate::{
    AcquireOptions, Backoff, Deadline, Event, Fault, FaultKind, Instant, Jitter, LockError,
    LossReason, Machine, Request, RequestId, Seed, Timer,
};

/// How often whoever is inside the gate looks for permits of those who could not tell it.
const LOOK: Duration = Duration::from_secs(1);
/// One question and one cancel beside it.
const REQUESTS: usize = 2;

/// One acquisition of permits of a semaphore.
///
/// ```text
/// Wanting: outside ── refused ──> at the gate ──> inside
///    └─────────── enough permits ───────────────────┘──> Held ──> Leaving ──> Closed
/// ```
///
/// Each permit is an advisory lock, so that those of a process that died are free at once. They are
/// first tried for, all or none, unless somebody is at the gate. Otherwise the machine waits there,
/// in the server's queue; inside it keeps what it gets, is told when a permit is given back, and
/// looks once a second for those whose holder died.
///
/// What [`AdvisoryLock`](super::AdvisoryLock) says of errors holds here as well.
#[derive(Debug)]
pub struct PermitLock {
    keys: PermitKeys,
    count: u32,
    /// Whether others of its process may stand behind it.
    leads: bool,
    terms: Terms,
    budget: Budget,
    backoff: Backoff,
    jitter: Jitter,
    phase: Phase,
    /// The permits that are ours.
    ours: Vec<u32>,
    /// Whether we have the gate.
    inside: bool,
    asked: Option<Asked>,
    failing: Option<Failing>,
    /// Whether more than `ours` and the gate may be held by a session of ours.
    doubt: bool,
    lingers: bool,
    /// A permit came back since we last asked.
    told: bool,
    ids: RequestIds,
    requests: Outbox<Request<Command>, REQUESTS>,
    events: Events,
}

impl PermitLock {
    /// Asks for `count` permits from `now` on.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range, or more is asked for than
    /// there is.
    pub fn new(
        keys: PermitKeys,
        count: u32,
        options: &AcquireOptions,
        seed: &Seed,
        now: Instant,
    ) -> Result<Self, LockError> {
        crate::Demand::permits(count, keys.limit())?;
        let terms = options.terms()?;
        let budget = Budget::of(options);
        let give_up_at = if budget.waits() { budget.ends(now) } else { now + TRIES_WITHIN };
        let mut lock = Self {
            keys,
            count,
            leads: budget.waits(),
            terms,
            budget,
            backoff: options.backoff(),
            jitter: seed.jitter(),
            phase: Phase::Wanting(Wish::new(give_up_at, now)),
            ours: Vec::new(),
            inside: false,
            asked: None,
            failing: None,
            doubt: false,
            lingers: false,
            told: false,
            ids: RequestIds::new(),
            requests: Outbox::new(),
            events: Events::new(),
        };
        lock.decide(now);
        Ok(lock)
    }

    fn command(&self, verb: Verb) -> Command {
        let wanted = self.count - u32::try_from(self.ours.len()).unwrap_or(self.count);
        let doubt = self.doubt && verb == Verb::Unlock;
        let (ours, inside) = (self.ours.clone(), self.inside || doubt);
        let permits = Permits { keys: self.keys, wanted, ours, inside, doubt };
        Command::new(Subject::Permits(permits), verb)
    }

    fn ask(&mut self, verb: Verb, not_after: Instant, now: Instant) {
        let request = self.ids.next(self.command(verb), not_after);
        self.asked = Some(Asked { id: request.id, sent: now, verb, before: self.doubt });
        self.doubt = true;
        self.told = false;
        self.requests.push(request);
        if let Phase::Wanting(wish) = &mut self.phase {
            wish.stands_by = false;
        }
    }

    /// Takes every decision. All inputs end here.
    fn decide(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Behind(give_up_at) if now >= *give_up_at => {
                self.fail(self.budget.timed_out(), now);
            }
            Phase::Wanting(_) => self.decide_wanting(now),
            Phase::Held { .. } => self.decide_held(now),
            Phase::Leaving(_) => self.decide_leaving(now),
            Phase::Behind(_) | Phase::Closed => {}
        }
    }

    fn decide_wanting(&mut self, now: Instant) {
        let Phase::Wanting(wish) = &self.phase else { return };
        let (give_up_at, ask_at, queues) = (wish.give_up_at, wish.ask_at, wish.queues);
        if now >= give_up_at {
            let once = !self.budget.waits();
            let error = wish.unheard(self.failing.as_ref(), self.asked.as_ref(), once, now);
            let error = error.map_or_else(|| self.budget.timed_out(), LockError::Connection);
            self.fail(error, now);
        } else if let Some(failing) = self.failing.as_ref().filter(|it| now >= it.ends_hope()) {
            let last = failing.last.clone();
            self.fail(LockError::Connection(last), now);
        } else if self.asked.is_none() && now >= ask_at {
            let left = give_up_at.since(now);
            let verb = if queues && !self.inside && left >= SHORTEST_WAIT {
                Verb::Wait { limit: (left <= LONGEST_WAIT).then_some(left) }
            } else {
                Verb::Try
            };
            self.ask(verb, give_up_at, now);
        }
    }

    fn decide_held(&mut self, now: Instant) {
        loop {
            let Phase::Held { hold, .. } = &mut self.phase else { return };
            match hold.due(now) {
                Due::Nothing => return,
                Due::Warning => self.events.warned(hold.valid_until()),
                Due::Renewal(ttl) => self.prolong(ttl, true, now),
                Due::Loss(reason) => {
                    self.events.push(Event::Lost(reason));
                    return self.leave(None, now);
                }
            }
        }
    }

    fn decide_leaving(&mut self, now: Instant) {
        let dirty = self.dirty();
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        let waiting = self.asked.as_ref().map(|asked| asked.verb);
        if waiting.is_none() && !dirty {
            self.close(!self.lingers);
        } else if leaving.is_over(now) {
            self.lose_sight();
            self.close(false);
        } else if let Some(verb) = leaving.next(waiting, now) {
            let command = self.command(verb);
            // However late it is, it takes nothing.
            let request = self.ids.next(command, Instant::FAR_FUTURE);
            if let Phase::Leaving(leaving) = &mut self.phase {
                leaving.asked(request.id, verb, now);
            }
            self.requests.push(request);
        }
    }

    /// Whether anything may be ours on a session.
    fn dirty(&self) -> bool {
        self.doubt || self.inside || !self.ours.is_empty()
    }

    fn clear(&mut self) {
        self.doubt = false;
        self.inside = false;
        self.ours.clear();
    }

    fn close(&mut self, clean: bool) {
        self.events.push(Event::Closed { clean });
        self.phase = Phase::Closed;
    }

    fn fail(&mut self, error: LockError, now: Instant) {
        self.events.push(Event::Failed(error));
        self.leave(None, now);
    }

    fn leave(&mut self, held_since: Option<Instant>, now: Instant) {
        while let Some(unsent) = self.requests.pop() {
            if let Some(asked) = self.asked.take_if(|asked| asked.id == unsent.id) {
                self.doubt = asked.before;
            }
        }
        let mut leaving = Leaving::new(held_since, now);
        if let Phase::Wanting(wish) = &self.phase
            && now >= wish.give_up_at
        {
            leaving.expect_expiry(now);
        }
        self.phase = Phase::Leaving(leaving);
        self.decide_leaving(now);
    }

    fn prolong(&mut self, ttl: Duration, automatic: bool, now: Instant) {
        let Phase::Held { hold, .. } = &mut self.phase else { return };
        let valid_until = hold.valid_until().map(|_| now + ttl);
        hold.prolong(valid_until, automatic, now);
        self.events.extended(hold.valid_until());
    }

    /// More permits are ours.
    fn took(&mut self, permits: Vec<u32>, now: Instant) {
        self.doubt = false;
        self.ours.extend(permits);
        let complete = u32::try_from(self.ours.len()).is_ok_and(|ours| ours >= self.count);
        // The gate was given back with the last.
        self.inside &= !complete;
        let Phase::Wanting(wish) = &mut self.phase else { return };
        if complete {
            let valid_until = self.terms.ttl.map(|ttl| now + ttl);
            let hold = Hold::begin(&self.terms, valid_until, now);
            self.events.push(Event::Acquired { valid_until, fence: None });
            self.phase = Phase::Held { hold, since: now };
        } else {
            wish.ask_at = if self.told { now } else { now + LOOK };
        }
    }

    /// The answer to a try or a wait.
    fn answered(&mut self, asked: &Asked, reply: Result<Reply, Fault>, now: Instant) {
        let wanted = matches!(self.phase, Phase::Wanting(_));
        if reply.is_ok() {
            self.failing = None;
        }
        match (asked.verb, reply) {
            (Verb::Try, Ok(Reply::Took(permits))) => self.took(permits, now),
            (Verb::Try, Ok(Reply::Busy)) => {
                self.doubt = false;
                self.refused(now);
            }
            (Verb::Wait { .. }, Ok(Reply::Granted { .. })) => {
                self.doubt = false;
                self.inside = true;
                if let Phase::Wanting(wish) = &mut self.phase {
                    wish.ask_at = now;
                }
            }
            (_, Ok(Reply::Full)) => {
                self.doubt = asked.before;
                self.find_no_session(now);
            }
            (_, Ok(Reply::Soon)) => {
                self.doubt = asked.before;
                self.stand_by(now);
            }
            (_, Ok(Reply::Expired)) if wanted => self.await_end(asked.verb, now),
            (_, Ok(Reply::Deadlock(detail))) if wanted => {
                self.fail(LockError::Deadlock(detail), now);
            }
            (_, Ok(Reply::Cancelled)) if wanted => {
                let fault = Fault::refused("the server was told to cancel the wait");
                self.fail(LockError::Backend(fault), now);
            }
            (_, Ok(_)) if wanted => {
                let fault = Fault::unknown("the server answered nonsense");
                self.fail(LockError::Backend(fault), now);
            }
            (_, Ok(_)) => {}
            (_, Err(fault)) => self.faulted(asked, fault, wanted, now),
        }
    }

    fn faulted(&mut self, asked: &Asked, fault: Fault, wanted: bool, now: Instant) {
        match fault.kind() {
            FaultKind::Refused if wanted => return self.fail(LockError::Backend(fault), now),
            FaultKind::Refused => return,
            FaultKind::NotSent => self.doubt = asked.before,
            // Its session is gone, and with it what stood there, as soon as the server notices.
            FaultKind::Unknown => {
                self.clear();
                self.lingers = true;
            }
        }
        let Phase::Wanting(wish) = &mut self.phase else { return };
        if !self.budget.waits() && !wish.may_be_repeated(&fault) {
            return self.fail(LockError::Connection(fault), now);
        }
        // What comes too late to be asked says nothing about the server.
        if self.budget.waits() && now >= wish.give_up_at {
            return;
        }
        let since = self.failing.take().map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, last: fault });
        wish.repeats = wish.repeats.saturating_add(1);
        self.rest(now);
    }

    /// The server's clock was ahead of ours: time is up soon, and nothing more is asked.
    fn await_end(&mut self, verb: Verb, now: Instant) {
        if let Verb::Wait { limit: Some(_) } = verb
            && let Phase::Wanting(wish) = &mut self.phase
        {
            wish.ask_at = Instant::FAR_FUTURE;
        } else {
            let fault = Fault::refused("the server ended a wait that was to have no end");
            self.fail(LockError::Backend(fault), now);
        }
    }

    /// Somebody else has what is wanted.
    fn refused(&mut self, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        if self.budget.waits() {
            wish.queue(now);
        } else {
            self.fail(self.budget.timed_out(), now);
        }
    }

    /// There is no session to ask on: it is tried again in a while.
    fn rest(&mut self, now: Instant) {
        if let Phase::Wanting(wish) = &mut self.phase {
            wish.rest(self.backoff, &mut self.jitter, now);
        }
    }

    fn find_no_session(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Wanting(_)) && !self.budget.waits() {
            self.fail(LockError::Connection(no_session()), now);
        } else {
            self.rest(now);
        }
    }

    /// There will be a session soon, and a nudge says when.
    fn stand_by(&mut self, now: Instant) {
        self.rest(now);
        if let Phase::Wanting(wish) = &mut self.phase {
            wish.stands_by = true;
        }
    }

    /// The answer to what was asked in leaving.
    fn left(&mut self, verb: Verb, reply: Result<Reply, Fault>, now: Instant) {
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        match (verb, reply) {
            (Verb::Unlock, Ok(Reply::Unlocked(held))) => {
                if leaving.held_since().is_some() && !held {
                    self.events.push(Event::Lost(LossReason::Revoked));
                }
                self.clear();
            }
            (Verb::Unlock, Err(fault)) if fault.kind() == FaultKind::Unknown => self.lose_sight(),
            (Verb::Close, _) => self.lose_sight(),
            (_, Err(_)) => leaving.failed(now),
            (_, Ok(_)) => {}
        }
    }

    /// The session is gone. If it was to end a hold, nobody knows how long that had lasted.
    fn lose_sight(&mut self) {
        self.clear();
        self.lingers = true;
        if let Phase::Leaving(leaving) = &self.phase
            && leaving.held_since().is_some()
        {
            self.events.push(Event::Lost(LossReason::Disconnected));
        }
    }
}

impl crate::machine::sealed::Sealed for PermitLock {}

impl Machine for PermitLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Infallible;
    type Cohort = AdvisoryKey;

    fn cohort(&self) -> Option<AdvisoryKey> {
        self.leads.then(|| self.keys.gate())
    }

    fn stand_behind(&mut self) {
        if let Phase::Wanting(wish) = &self.phase {
            let give_up_at = wish.give_up_at;
            while self.requests.pop().is_some() {}
            self.asked = None;
            self.doubt = false;
            self.phase = Phase::Behind(give_up_at);
        }
    }

    fn follow(&mut self, before: &mut Self, now: Instant) -> bool {
        if let Phase::Behind(give_up_at) = self.phase {
            self.failing = before.failing.take();
            self.phase = Phase::Wanting(Wish::new(give_up_at, now));
            self.decide(now);
        }
        false
    }

    /// Whoever has its permits is in nobody's way.
    fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Held { .. } | Phase::Leaving(_) | Phase::Closed)
    }

    fn poll_request(&mut self) -> Option<Request<Command>> {
        self.requests.pop()
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
            Phase::Held { hold, .. } => hold.deadline(),
            Phase::Leaving(leaving) => {
                Some(leaving.deadline(self.asked.as_ref().map(|asked| asked.verb)))
            }
            Phase::Closed => None,
        }
    }

    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        if let Some(asked) = self.asked.take_if(|asked| asked.id == id) {
            self.answered(&asked, reply, now);
        } else if let Phase::Leaving(leaving) = &mut self.phase
            && let Some(verb) = leaving.answered(id)
        {
            self.left(verb, reply, now);
        }
        self.decide(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    fn handle_nudge(&mut self, now: Instant) {
        if let Phase::Wanting(wish) = &mut self.phase
            && (self.inside || !self.doubt)
        {
            wish.ask_at = now;
            self.told = true;
        }
        self.decide(now);
    }

    fn handle_message(&mut self, message: Infallible, _now: Instant) {
        match message {}
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        match self.phase {
            Phase::Held { .. } => {
                self.clear();
                self.lingers = true;
                self.events.push(Event::Lost(reason));
                self.leave(None, now);
            }
            // The gate is somebody else's now, and so are the permits.
            Phase::Wanting(_) if self.asked.is_none() => {
                self.clear();
                self.lingers = true;
                self.rest(now);
            }
            Phase::Behind(_) | Phase::Wanting(_) | Phase::Leaving(_) | Phase::Closed => {}
        }
        self.decide(now);
    }

    fn extend(&mut self, ttl: Duration, now: Instant) {
        self.decide(now);
        self.prolong(ttl, false, now);
    }

    fn release(&mut self, now: Instant) {
        match self.phase {
            Phase::Held { since, .. } => self.leave(Some(since), now),
            Phase::Behind(_) | Phase::Wanting(_) => self.leave(None, now),
            Phase::Leaving(_) | Phase::Closed => {}
        }
        self.decide(now);
    }
}
