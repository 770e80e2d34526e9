//! One acquisition of an advisory lock.

use core::convert::Infallible;
use core::time::Duration;

use super::call::{Command, Mode, Reply, Subject, Verb};
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

/// Whoever has had the lock for longer gives it back, where others may wait.
const PASS_WITHIN: Duration = Duration::from_millis(10);
/// A single try ends with its answer, however late that comes, up to this.
pub(super) const TRIES_WITHIN: Duration = Duration::from_secs(5);
/// A wait that would be shorter is none: the server's time-outs are whole milliseconds.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// A `lock_timeout` of more is refused.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);
/// One question and one cancel beside it.
const REQUESTS: usize = 2;

/// One acquisition of an advisory lock.
///
/// ```text
/// Wanting ── granted ──> Held ── lost, released ──> Leaving ──> Closed
///    └── refused, out of time, released ──────────────┘
/// ```
///
/// The lock is first tried on a session that others share. Where it is not free the machine stands
/// in the server's own queue, on a session that holds nothing else, until the `lock_timeout` of its
/// wait comes.
///
/// An error does not mean that the lock is not held: a grant may fall together with a time-out, a
/// cancel or the end of a deadlock, and a session keeps what it was granted. So the lock is given
/// back after each of them, and if that fails its session is closed.
///
/// The lock lasts as long as its session. There is no lease to renew, and a ttl is kept by this
/// side alone.
#[derive(Clone, Debug)]
pub struct AdvisoryLock {
    key: AdvisoryKey,
    mode: Mode,
    /// Whether others of its process may stand behind it.
    leads: bool,
    /// Whether a hold may be passed on without the server.
    passes: bool,
    terms: Terms,
    budget: Budget,
    backoff: Backoff,
    jitter: Jitter,
    phase: Phase,
    asked: Option<Asked>,
    failing: Option<Failing>,
    /// Whether the lock may be held by a session of ours.
    dirty: bool,
    /// A session went away and the server may not have noticed yet.
    lingers: bool,
    ids: RequestIds,
    requests: Outbox<Request<Command>, REQUESTS>,
    events: Events,
}

impl AdvisoryLock {
    /// Asks for `key` from `now` on.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range.
    pub fn new(
        key: AdvisoryKey,
        mode: Mode,
        options: &AcquireOptions,
        seed: &Seed,
        now: Instant,
    ) -> Result<Self, LockError> {
        let terms = options.terms()?;
        let budget = Budget::of(options);
        let give_up_at = if budget.waits() { budget.ends(now) } else { now + TRIES_WITHIN };
        let mut lock = Self {
            key,
            mode,
            leads: false,
            passes: false,
            terms,
            budget,
            backoff: options.backoff(),
            jitter: seed.jitter(),
            phase: Phase::Wanting(Wish::new(give_up_at, now)),
            asked: None,
            failing: None,
            dirty: false,
            lingers: false,
            ids: RequestIds::new(),
            requests: Outbox::new(),
            events: Events::new(),
        };
        lock.decide(now);
        Ok(lock)
    }

    /// The same lock, which others of its process may stand behind: one waits in the server's
    /// queue for all of them. Unless each must be `fenced`, they also pass the lock on among
    /// themselves, for up to 10 ms.
    #[must_use]
    pub fn leading(mut self, fenced: bool) -> Self {
        self.leads = self.budget.waits() && self.mode == Mode::Exclusive;
        self.passes = self.leads && !fenced && self.terms.max_hold.is_none();
        self
    }

    /// The same lock, which others were just found to hold: it stands in the server's queue from the
    /// start, instead of being tried first. A single try stays one.
    #[must_use]
    pub fn queueing(mut self, now: Instant) -> Self {
        if let Phase::Wanting(wish) = &mut self.phase
            && self.budget.waits()
        {
            wish.queue(now);
            wish.presumes = true;
            self.withdraw();
            self.decide(now);
        }
        self
    }

    fn ask(&mut self, verb: Verb, not_after: Instant, now: Instant) {
        let request =
            self.ids.next(Command::new(Subject::Lock(self.key, self.mode), verb), not_after);
        self.asked = Some(Asked { id: request.id, sent: now, verb, before: self.dirty });
        self.dirty = true;
        self.requests.push(request);
        if let Phase::Wanting(wish) = &mut self.phase {
            wish.stands_by = false;
        }
    }

    /// Takes back the first question, which nobody has seen.
    fn withdraw(&mut self) {
        while self.requests.pop().is_some() {}
        self.asked = None;
        self.dirty = false;
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
            let verb = if queues && left >= SHORTEST_WAIT {
                let limit = (left <= LONGEST_WAIT).then_some(left);
                Verb::Wait { limit }
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
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        let waiting = self.asked.as_ref().map(|asked| asked.verb);
        if waiting.is_none() && !self.dirty {
            self.close(!self.lingers);
        } else if leaving.is_over(now) {
            self.lose_sight();
            self.close(false);
        } else if let Some(verb) = leaving.next(waiting, now) {
            let command = Command::new(Subject::Lock(self.key, self.mode), verb);
            // However late it is, it takes nothing.
            let request = self.ids.next(command, Instant::FAR_FUTURE);
            leaving.asked(request.id, verb, now);
            self.requests.push(request);
        }
    }

    fn close(&mut self, clean: bool) {
        self.events.push(Event::Closed { clean });
        self.phase = Phase::Closed;
    }

    fn fail(&mut self, error: LockError, now: Instant) {
        self.events.push(Event::Failed(error));
        self.leave(None, now);
    }

    /// Gives back whatever may be ours, or passes the hold that began at `held_since` on.
    fn leave(&mut self, held_since: Option<Instant>, now: Instant) {
        while let Some(unsent) = self.requests.pop() {
            if let Some(asked) = self.asked.take_if(|asked| asked.id == unsent.id) {
                self.dirty = asked.before;
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

    fn hold(&mut self, fence: Option<u64>, since: Instant, now: Instant) {
        // Nothing but this process ends the lock, so its ttl runs from the moment it is ours.
        let valid_until = self.terms.ttl.map(|ttl| now + ttl);
        let hold = Hold::begin(&self.terms, valid_until, now);
        self.events.push(Event::Acquired { valid_until, fence });
        self.phase = Phase::Held { hold, since };
    }

    /// The answer to a try or a wait.
    fn answered(&mut self, asked: &Asked, reply: Result<Reply, Fault>, now: Instant) {
        let wanted = matches!(self.phase, Phase::Wanting(_));
        if reply.is_ok() {
            self.failing = None;
        }
        match reply {
            Ok(Reply::Granted { fence }) if wanted => self.hold(fence, now, now),
            Ok(Reply::Granted { .. }) => {}
            Ok(Reply::Busy) => {
                self.dirty = false;
                self.refused(now);
            }
            Ok(Reply::Full) => {
                self.dirty = asked.before;
                self.find_no_session(now);
            }
            Ok(Reply::Soon) => {
                self.dirty = asked.before;
                self.stand_by(now);
            }
            // From here on the lock may be ours all the same, so that it is given back.
            Ok(Reply::Expired) if wanted => self.await_end(asked.verb, now),
            Ok(Reply::Deadlock(detail)) if wanted => self.fail(LockError::Deadlock(detail), now),
            Ok(Reply::Cancelled) if wanted => {
                let fault = Fault::refused("the server was told to cancel the wait");
                self.fail(LockError::Backend(fault), now);
            }
            Ok(Reply::Unlocked(_) | Reply::Took(_) | Reply::Done) if wanted => {
                let fault = Fault::unknown("the server answered nonsense");
                self.fail(LockError::Backend(fault), now);
            }
            Ok(
                Reply::Expired
                | Reply::Deadlock(_)
                | Reply::Cancelled
                | Reply::Unlocked(_)
                | Reply::Took(_)
                | Reply::Done,
            ) => {}
            Err(fault) => self.faulted(asked, fault, wanted, now),
        }
    }

    fn faulted(&mut self, asked: &Asked, fault: Fault, wanted: bool, now: Instant) {
        match fault.kind() {
            FaultKind::Refused if wanted => self.fail(LockError::Backend(fault), now),
            FaultKind::Refused => {}
            FaultKind::NotSent => {
                self.dirty = asked.before;
                self.failed_to_ask(fault, now);
            }
            // Its session is gone, and with it what stood there, as soon as the server notices.
            FaultKind::Unknown => {
                self.dirty = false;
                self.lingers = true;
                self.failed_to_ask(fault, now);
            }
        }
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

    /// Somebody else has it.
    fn refused(&mut self, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        if self.budget.waits() {
            wish.queue(now);
        } else {
            self.fail(self.budget.timed_out(), now);
        }
    }

    /// There is no session to wait on: it is tried again in a while.
    fn find_no_session(&mut self, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        if !self.budget.waits() {
            self.fail(LockError::Connection(no_session()), now);
        } else if core::mem::take(&mut wish.presumes) {
            // There may be room to try.
            wish.queues = false;
            wish.ask_at = now;
        } else {
            wish.rest(self.backoff, &mut self.jitter, now);
        }
    }

    /// There will be a session soon, and a nudge says when.
    fn stand_by(&mut self, now: Instant) {
        let Phase::Wanting(wish) = &mut self.phase else { return };
        wish.rest(self.backoff, &mut self.jitter, now);
        wish.stands_by = true;
    }

    fn failed_to_ask(&mut self, fault: Fault, now: Instant) {
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
        wish.rest(self.backoff, &mut self.jitter, now);
    }

    /// The answer to what was asked in leaving.
    fn left(&mut self, verb: Verb, reply: Result<Reply, Fault>, now: Instant) {
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        match (verb, reply) {
            (Verb::Unlock, Ok(Reply::Unlocked(held))) => {
                self.dirty = false;
                if leaving.held_since().is_some() && !held {
                    self.events.push(Event::Lost(LossReason::Revoked));
                }
            }
            (Verb::Unlock, Err(fault)) if fault.kind() == FaultKind::Unknown => self.lose_sight(),
            (Verb::Close, _) => self.lose_sight(),
            (_, Err(_)) => leaving.failed(now),
            (_, Ok(_)) => {}
        }
    }

    /// The session is gone. If it was to end a hold, nobody knows how long that had lasted.
    fn lose_sight(&mut self) {
        self.dirty = false;
        self.lingers = true;
        if let Phase::Leaving(leaving) = &self.phase
            && leaving.held_since().is_some()
        {
            self.events.push(Event::Lost(LossReason::Disconnected));
        }
    }

    /// Goes on from where `before` was, which leaves; otherwise asks the server for itself.
    fn take_over(&mut self, before: &mut Self, now: Instant) -> bool {
        let Phase::Behind(give_up_at) = self.phase else { return false };
        self.failing = before.failing.take();
        if let Some(since) = before.bequeath(self.passes, now) {
            self.dirty = true;
            self.hold(None, since, now);
            self.decide(now);
            return true;
        }
        self.phase = Phase::Wanting(Wish::new(give_up_at, now));
        self.decide(now);
        false
    }

    /// Gives its hold away, as long as no release of it was handed out; since when it lasts.
    fn bequeath(&mut self, passes: bool, now: Instant) -> Option<Instant> {
        let Phase::Leaving(leaving) = &self.phase else { return None };
        let since = leaving.held_since().filter(|since| now.since(*since) <= PASS_WITHIN)?;
        if !passes || !self.passes {
            return None;
        }
        self.requests.pop()?;
        self.dirty = false;
        self.close(true);
        Some(since)
    }
}

impl crate::machine::sealed::Sealed for AdvisoryLock {}

impl Machine for AdvisoryLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Infallible;
    type Cohort = AdvisoryKey;

    fn cohort(&self) -> Option<AdvisoryKey> {
        self.leads.then_some(self.key)
    }

    fn stand_behind(&mut self) {
        if let Phase::Wanting(wish) = &self.phase {
            self.phase = Phase::Behind(wish.give_up_at);
            self.withdraw();
        }
    }

    fn follow(&mut self, before: &mut Self, now: Instant) -> bool {
        self.take_over(before, now)
    }

    fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_) | Phase::Closed)
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
        // What may be ours already must not be taken twice.
        if let Phase::Wanting(wish) = &mut self.phase
            && !self.dirty
        {
            wish.ask_at = now;
        }
        self.decide(now);
    }

    fn handle_message(&mut self, message: Infallible, _now: Instant) {
        match message {}
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        if let Phase::Held { .. } = self.phase {
            self.dirty = false;
            self.lingers = true;
            self.events.push(Event::Lost(reason));
            self.leave(None, now);
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
