//! One acquisition on lock files.

use alloc::sync::Arc;
use core::convert::Infallible;
use core::time::Duration;

use super::claims::{Claims, Outcome};
use super::step::Step;
use super::{Command, Identity, Reply};
use crate::event::Events;
use crate::lease::{Due, Hold, Terms};
use crate::machine::RequestIds;
use crate::options::Budget;
use crate::outbox::Outbox;
use crate::time::earlier;
use crate::{
    AcquireOptions, Backoff, Deadline, Demand, Event, Fault, FaultKind, Instant, Jitter, LockError,
    LockName, LossReason, Machine, Request, RequestId, Seed, Timer,
};

/// How often a holder looks whether its lock file is still there.
const PROBE: Duration = Duration::from_millis(500);
/// How often a waiter tries although nothing woke it, where the file system can wake it.
const WATCHED_REST: Duration = Duration::from_secs(1);
/// A close is announced just before it unlocks the file, so whoever was woken may be refused once
/// more: it rests this long before its next try, twice as long before each further one.
const WOKEN_REST: Duration = Duration::from_micros(50);
/// The tries after a wake-up: their rests add up to 13 ms.
const WOKEN_TRIES: u32 = 8;
/// One step and the cancel of the place in the queue.
const REQUESTS: usize = 2;

/// What the locks of one directory have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLockOptions {
    identity: Identity,
    remove_on_release: bool,
}

impl FileLockOptions {
    /// Lock files stay where they are when they are released, which is the fastest.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity, remove_on_release: false }
    }

    /// Deletes the file of an exclusive lock, or of a permit, while it is still locked and just
    /// before it is released, as DistributedLock.FileSystem for .NET does.
    #[must_use]
    pub fn with_remove_on_release(mut self, remove: bool) -> Self {
        self.remove_on_release = remove;
        self
    }
}

/// One acquisition of a lock on files.
///
/// ```text
/// Taking ── all claims made ──> Held ── lost, released ──> Leaving ──> Closed
///   └─── refused, out of time, released ──────────────────────┘
/// ```
///
/// Whoever takes or leaves has a goal, and the state of its claims says which step is next; a step
/// is asked for when the one before has been answered. After a file was locked its path must still
/// name it: a deleted lock file can be locked by one process while others lock the new one. While
/// the lock is held the same is looked at twice a second.
///
/// A refused file stays open while its machine rests, because closing it would wake every other
/// waiter for nothing.
#[derive(Debug)]
pub struct FileLock {
    name: LockName,
    demand: Demand,
    owner: Option<Arc<str>>,
    settings: FileLockOptions,
    terms: Terms,
    budget: Budget,
    backoff: Backoff,
    jitter: Jitter,
    phase: Phase,
    place: Place,
    claims: Claims,
    outstanding: Option<(RequestId, Step)>,
    ids: RequestIds,
    requests: Outbox<Request<Command>, REQUESTS>,
    events: Events,
}

#[derive(Debug)]
enum Phase {
    /// Claiming the files; `rest_until` is set while somebody else has one of them, `woken` counts
    /// the tries since the last wake-up.
    Taking {
        give_up_at: Instant,
        rest_until: Option<Instant>,
        rests: u32,
        woken: u32,
    },
    /// Ours, while `hold` says so and the files are where they were.
    Held {
        hold: Hold,
        probe_at: Instant,
    },
    /// Closing the files, then giving the place in the queue back.
    Leaving {
        clean: bool,
    },
    Closed,
}

/// Where we stand in the process's own queue.
#[derive(Debug)]
enum Place {
    Outside,
    Queued {
        asked: RequestId,
    },
    Inside,
    /// The queue owes up to two answers.
    Leaving {
        entering: Option<RequestId>,
        leaving: Option<RequestId>,
    },
}

impl FileLock {
    /// Asks for `demand` of `name` from `now` on.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range, or more is asked for than
    /// there is.
    pub fn new(
        name: LockName,
        demand: Demand,
        options: &AcquireOptions,
        settings: FileLockOptions,
        seed: &Seed,
        now: Instant,
    ) -> Result<Self, LockError> {
        let demand = demand.checked()?;
        let terms = options.terms()?;
        let budget = Budget::of(options);
        let give_up_at = budget.ends(now);
        let mut machine = Self {
            name,
            demand,
            owner: options.owner().map(Arc::clone),
            terms,
            budget,
            backoff: options.backoff(),
            jitter: seed.jitter(),
            phase: Phase::Taking { give_up_at, rest_until: None, rests: 0, woken: WOKEN_TRIES },
            place: Place::Outside,
            claims: Claims::new(demand, budget.waits(), settings.remove_on_release),
            settings,
            outstanding: None,
            ids: RequestIds::new(),
            requests: Outbox::new(),
            events: Events::new(),
        };
        machine.decide(now);
        Ok(machine)
    }

    /// Takes every decision. All inputs end here.
    fn decide(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Taking { .. } => self.decide_taking(now),
            Phase::Held { .. } => self.decide_held(now),
            Phase::Leaving { .. } => self.decide_leaving(),
            Phase::Closed => {}
        }
    }

    fn decide_taking(&mut self, now: Instant) {
        let Phase::Taking { give_up_at, rest_until, .. } = &mut self.phase else {
            return;
        };
        let out_of_time = now >= *give_up_at;
        match self.place {
            Place::Outside => return self.enter(),
            Place::Queued { .. } if out_of_time && self.budget.waits() => {
                return self.fail(self.budget.timed_out());
            }
            Place::Queued { .. } | Place::Leaving { .. } => return,
            Place::Inside => {}
        }
        if rest_until.is_some_and(|until| now < until && !out_of_time) || self.outstanding.is_some()
        {
            return;
        }
        // A deadline that cuts a rest short still gets its try.
        if rest_until.take().is_some() {
            self.claims.try_again();
        }
        match self.claims.next_to_take() {
            Outcome::Next(step) => self.ask(step),
            Outcome::Refused if out_of_time || !self.budget.waits() => {
                self.fail(self.budget.timed_out());
            }
            Outcome::Refused => self.rest(now),
            Outcome::Finished => self.acquired(now),
        }
    }

    fn decide_held(&mut self, now: Instant) {
        let Phase::Held { hold, probe_at } = &mut self.phase else {
            return;
        };
        match hold.due(now) {
            Due::Loss(reason) => self.lose(reason),
            Due::Renewal(ttl) => {
                self.prolong(ttl, true, now);
                self.decide_held(now);
            }
            Due::Warning => {
                self.events.warned(hold.valid_until());
                self.decide_held(now);
            }
            Due::Nothing if self.outstanding.is_some() || now < *probe_at => {}
            Due::Nothing => match self.claims.next_to_probe() {
                Some(step) => self.ask(step),
                None => *probe_at = now + PROBE,
            },
        }
    }

    fn decide_leaving(&mut self) {
        if self.outstanding.is_some() {
            return;
        }
        if let Some(step) = self.claims.next_to_leave() {
            return self.ask(step);
        }
        match self.place {
            Place::Queued { asked } => self.leave_queue(Some(asked)),
            Place::Inside => self.leave_queue(None),
            Place::Leaving { .. } => {}
            Place::Outside => {
                let Phase::Leaving { clean } = self.phase else {
                    return;
                };
                let clean = clean && !self.claims.leaks();
                self.events.push(Event::Closed { clean });
                self.phase = Phase::Closed;
            }
        }
    }

    fn enter(&mut self) {
        let enter = Command::Enter { demand: self.demand, wait: self.budget.waits() };
        let request = self.ids.next(enter, Instant::FAR_FUTURE);
        self.place = Place::Queued { asked: request.id };
        self.requests.push(request);
    }

    fn leave_queue(&mut self, entering: Option<RequestId>) {
        let request = self.ids.next(Command::Leave, Instant::FAR_FUTURE);
        self.place = Place::Leaving { entering, leaving: Some(request.id) };
        self.requests.push(request);
    }

    fn ask(&mut self, step: Step) {
        let command = step.command(self.demand, || self.claims.record_to_write());
        let request = self.ids.next(command, Instant::FAR_FUTURE);
        self.outstanding = Some((request.id, step));
        self.requests.push(request);
    }

    fn rest(&mut self, now: Instant) {
        let Phase::Taking { rest_until, rests, woken, .. } = &mut self.phase else { return };
        let rest = if *woken < WOKEN_TRIES {
            *woken += 1;
            WOKEN_REST * (1 << (*woken - 1))
        } else if self.claims.wake_us() {
            WATCHED_REST
        } else {
            *rests = rests.saturating_add(1);
            self.backoff.rest(*rests - 1, &mut self.jitter)
        };
        *rest_until = Some(now + rest);
    }

    fn acquired(&mut self, now: Instant) {
        // Nothing but this process ends the lock, so its lease runs from the moment it is ours.
        let valid_until = self.terms.ttl.map(|ttl| now + ttl);
        let hold = Hold::begin(&self.terms, valid_until, now);
        self.events.push(Event::Acquired { valid_until, fence: self.claims.fence() });
        self.phase = Phase::Held { hold, probe_at: now + PROBE };
    }

    fn prolong(&mut self, ttl: Duration, automatic: bool, now: Instant) {
        let Phase::Held { hold, .. } = &mut self.phase else {
            return;
        };
        let valid_until = hold.valid_until().map(|_| now + ttl);
        hold.prolong(valid_until, automatic, now);
        self.events.extended(hold.valid_until());
    }

    fn fail(&mut self, error: LockError) {
        self.events.push(Event::Failed(error));
        self.leave();
    }

    fn lose(&mut self, reason: LossReason) {
        self.claims.keep_files();
        self.events.push(Event::Lost(reason));
        self.leave();
    }

    /// What was not yet handed out is never asked: it could take the lock.
    fn leave(&mut self) {
        while let Some(unsent) = self.requests.pop() {
            if let Place::Queued { asked } = self.place
                && asked == unsent.id
            {
                self.place = Place::Outside;
            }
            self.outstanding.take_if(|(id, _)| *id == unsent.id);
        }
        self.phase = Phase::Leaving { clean: true };
        self.decide_leaving();
    }

    fn answered(&mut self, step: Step, reply: Result<Reply, Fault>) {
        let nonsense = || Fault::unknown("the file system answered nonsense");
        match (reply.and_then(|reply| step.checked(reply).ok_or_else(nonsense)), step) {
            (Ok(Reply::Contents { bytes, wall_micros }), Step::Read(file)) => {
                let (owner, name) = (self.owner.as_deref(), self.name.as_str());
                self.claims.record(file, &bytes, wall_micros, &self.settings.identity, owner, name);
            }
            (Ok(reply), step) => {
                let replaced = self.claims.answered(step, &reply);
                if replaced && matches!(self.phase, Phase::Held { .. }) {
                    self.lose(LossReason::Replaced);
                }
            }
            (Err(fault), step) => self.faulted(step, fault),
        }
    }

    fn faulted(&mut self, step: Step, fault: Fault) {
        let unknown = fault.kind() == FaultKind::Unknown;
        self.claims.faulted(step, unknown);
        match &self.phase {
            // Being woken is a convenience.
            Phase::Taking { .. } if matches!(step, Step::Watch(_)) => {}
            Phase::Taking { .. } => self.fail(LockError::Backend(fault)),
            // That the file could not be looked at says nothing about it, and whether all was
            // closed is known to the claims.
            Phase::Held { .. } | Phase::Leaving { .. } | Phase::Closed => {}
        }
    }

    /// An answer about the place in the process's queue; whether it was one.
    fn placed(&mut self, id: RequestId, reply: &Result<Reply, Fault>) -> bool {
        match &mut self.place {
            Place::Queued { asked } if *asked == id => {
                self.place = if may_be_inside(reply) { Place::Inside } else { Place::Outside };
                if let Phase::Taking { .. } = self.phase {
                    match reply {
                        Ok(Reply::Done) => {}
                        Ok(Reply::Busy | Reply::Withdrawn) => self.fail(self.budget.timed_out()),
                        Ok(_) => {
                            let fault = Fault::unknown("the queue answered nonsense");
                            self.fail(LockError::Backend(fault));
                        }
                        Err(fault) => self.fail(LockError::Backend(fault.clone())),
                    }
                }
            }
            Place::Leaving { entering, leaving } => {
                let entered = entering.take_if(|asked| *asked == id).is_some();
                if !entered && leaving.take_if(|asked| *asked == id).is_none() {
                    return false;
                }
                if let Phase::Leaving { clean } = &mut self.phase {
                    *clean &= entered || matches!(reply, Ok(Reply::Done));
                }
                match (entering, leaving) {
                    // The leave came first and found nothing, so this place needs one of its own.
                    (None, None) if entered && may_be_inside(reply) => self.place = Place::Inside,
                    (None, None) => self.place = Place::Outside,
                    (Some(_), _) | (_, Some(_)) => {}
                }
            }
            Place::Outside | Place::Queued { .. } | Place::Inside => return false,
        }
        true
    }
}

/// Whether an answer to a request to enter leaves a place to give back. Only a clear no does not.
fn may_be_inside(reply: &Result<Reply, Fault>) -> bool {
    match reply {
        Ok(Reply::Busy | Reply::Withdrawn) => false,
        Ok(_) => true,
        Err(fault) => fault.kind() == FaultKind::Unknown,
    }
}

impl crate::machine::sealed::Sealed for FileLock {}

impl Machine for FileLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Infallible;
    type Cohort = Infallible;

    fn poll_request(&mut self) -> Option<Request<Command>> {
        self.requests.pop()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        match &self.phase {
            Phase::Taking { give_up_at, rest_until, .. } => {
                let queued = matches!(self.place, Place::Queued { .. });
                let waits = (queued || rest_until.is_some()) && self.budget.waits();
                let bounded = waits && *give_up_at < Instant::FAR_FUTURE;
                let budget = bounded.then(|| Deadline::new(*give_up_at, Timer::Budget));
                let retry = rest_until.map(|at| Deadline::new(at, Timer::Retry));
                earlier(budget, retry)
            }
            Phase::Held { hold, probe_at } => {
                let idle = self.outstanding.is_none();
                let probe = idle.then(|| Deadline::new(*probe_at, Timer::Probe));
                earlier(hold.deadline(), probe)
            }
            Phase::Leaving { .. } | Phase::Closed => None,
        }
    }

    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        if let Some((_, step)) = self.outstanding.take_if(|(asked, _)| *asked == id) {
            self.answered(step, reply);
        } else if !self.placed(id, &reply) {
            return;
        }
        self.decide(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    fn handle_nudge(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Taking { rest_until, woken, .. } => {
                *woken = 0;
                *rest_until = rest_until.map(|_| now);
            }
            Phase::Held { probe_at, .. } => *probe_at = now,
            Phase::Leaving { .. } | Phase::Closed => {}
        }
        self.decide(now);
    }

    fn handle_message(&mut self, message: Self::Message, _now: Instant) {
        match message {}
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        if let Phase::Held { .. } = self.phase {
            self.lose(reason);
        }
        self.decide(now);
    }

    fn extend(&mut self, ttl: Duration, now: Instant) {
        self.decide(now);
        self.prolong(ttl, false, now);
    }

    fn release(&mut self, now: Instant) {
        if let Phase::Taking { .. } | Phase::Held { .. } = self.phase {
            self.leave();
        }
        self.decide(now);
    }
}
