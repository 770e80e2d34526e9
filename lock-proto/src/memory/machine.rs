//! One acquisition in a lock table.

use alloc::sync::Arc;
use core::convert::Infallible;
use core::time::Duration;

use super::{Command, Grant, LockTable, Reply};
use crate::event::Events;
use crate::lease::{Due, Hold, Terms};
use crate::machine::RequestIds;
use crate::options::Budget;
use crate::time::Span;
use crate::{
    AcquireOptions, Deadline, Demand, Event, Fault, FaultKind, Instant, LockError, LockId,
    LockName, LossReason, Machine, Request, RequestId, Timer,
};

/// One acquisition of a lock in a [`LockTable`](super::LockTable).
///
/// ```text
/// Entering ── granted ──> Held ── lost, released ──> Leaving ──> Closed
///     └─── busy, out of time, released ────────────────┘
/// ```
///
/// The request to enter is answered when the turn comes, so a wait costs nothing. Whoever stops
/// waiting asks to leave, and closes when both requests have been answered.
#[derive(Clone, Debug)]
pub struct MemoryLock {
    demand: Demand,
    budget: Budget,
    phase: Phase,
    ids: RequestIds,
    /// Never more than one: an extension waits for the answer to the last, and whoever leaves takes
    /// back what was not handed out.
    unsent: Option<Request<Ask>>,
    events: Events,
}

/// What one acquisition is to be, all of it in its range.
#[derive(Clone, Debug)]
pub struct Wish {
    demand: Demand,
    terms: Terms,
    budget: Budget,
    owner: Option<Arc<str>>,
}

/// A command in short, of which the demand goes without saying.
#[derive(Clone, Debug)]
enum Ask {
    Enter { ttl: Option<Span>, owner: Option<Arc<str>> },
    Extend { ttl: Span },
    Leave,
}

#[derive(Clone, Debug)]
enum Phase {
    /// In the queue, or about to be.
    Entering {
        asked: RequestId,
        give_up_at: Instant,
        terms: Terms,
    },
    /// Ours, while `hold` says so.
    Held {
        hold: Hold,
        extending: Option<Extension>,
        wanted: Option<Span>,
    },
    /// The table is told to forget us, and owes up to two answers.
    Leaving {
        entering: Option<RequestId>,
        leaving: Option<RequestId>,
        clean: bool,
    },
    Closed,
}

#[derive(Clone, Debug)]
struct Extension {
    asked: RequestId,
    automatic: bool,
}

impl Wish {
    /// Wants `demand`.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range, or more is asked for than
    /// there is.
    #[inline]
    pub fn new(demand: Demand, options: &AcquireOptions) -> Result<Self, LockError> {
        Ok(Self {
            demand: demand.checked()?,
            terms: options.terms()?,
            budget: Budget::of(options),
            owner: options.owner().map(Arc::clone),
        })
    }

    /// Takes the lock `name` from `table` at once, if nobody is in the way and the table is not slow;
    /// otherwise nothing has happened.
    #[inline]
    pub fn take(
        &self,
        table: &mut LockTable,
        lock: LockId,
        name: &LockName,
        now: Instant,
    ) -> Option<Grant> {
        table.take_at_once(lock, name, self.demand, self.terms.ttl, self.owner.as_ref(), now)
    }

    /// A machine that has what was granted at `now`: as if it had asked for it, and had told of it.
    #[must_use]
    #[inline]
    pub fn held(self, grant: Grant, now: Instant) -> MemoryLock {
        let mut ids = RequestIds::new();
        let _ = ids.draw();
        let hold = Hold::begin(&self.terms, grant.valid_until, now);
        MemoryLock {
            demand: self.demand,
            budget: self.budget,
            phase: Phase::Held { hold, extending: None, wanted: None },
            ids,
            unsent: None,
            events: Events::new(),
        }
    }

    /// A machine that is to ask for it from `now` on.
    #[must_use]
    pub fn asking(self, now: Instant) -> MemoryLock {
        let Self { demand, terms, budget, owner } = self;
        let mut ids = RequestIds::new();
        let enter = Ask::Enter { ttl: terms.ttl.map(Span::from), owner };
        let request = ids.next(enter, Instant::FAR_FUTURE);
        // A single try ends with its answer, however late that comes.
        let give_up_at = if budget.waits() { budget.ends(now) } else { Instant::FAR_FUTURE };
        let phase = Phase::Entering { asked: request.id, give_up_at, terms };
        MemoryLock { demand, budget, phase, ids, unsent: Some(request), events: Events::new() }
    }
}

impl MemoryLock {
    /// Asks for `demand` from `now` on.
    ///
    /// # Errors
    ///
    /// As [`Wish::new`].
    pub fn new(demand: Demand, options: &AcquireOptions, now: Instant) -> Result<Self, LockError> {
        Wish::new(demand, options).map(|wish| wish.asking(now))
    }

    /// Gives the lock `name` back to `table` at once, if it is held and no answer is to come;
    /// otherwise nothing has happened. It comes to the same as a release whose request is carried
    /// out.
    #[inline]
    pub fn give_back_at_once(
        &mut self,
        table: &mut LockTable,
        lock: LockId,
        name: &LockName,
        now: Instant,
    ) -> bool {
        let held = matches!(self.phase, Phase::Held { extending: None, .. });
        if !held || table.is_slow() {
            return false;
        }
        table.leave_at_once(name, lock, self.demand, now);
        self.phase = Phase::Closed;
        true
    }

    #[inline]
    fn entered(&mut self, reply: Result<Reply, Fault>, now: Instant) {
        match reply {
            Ok(Reply::Granted { fence, valid_until }) => {
                let Phase::Entering { terms, .. } = &self.phase else { return };
                let hold = Hold::begin(terms, valid_until, now);
                self.events.push(Event::Acquired { valid_until, fence: Some(fence) });
                self.phase = Phase::Held { hold, extending: None, wanted: None };
            }
            Ok(Reply::Busy) => {
                self.fail(self.budget.timed_out());
                self.close(true);
            }
            Err(fault) => {
                let absent = fault.kind() != FaultKind::Unknown;
                self.fail(LockError::Backend(fault));
                if absent {
                    self.close(true);
                } else {
                    self.leave(None);
                }
            }
            Ok(Reply::Withdrawn | Reply::Extended { .. } | Reply::NotHeld | Reply::Left) => {
                self.fail(LockError::Backend(Fault::unknown("the lock table answered nonsense")));
                self.leave(None);
            }
        }
    }

    /// An answer counts only while what it prolongs still stands.
    fn extended(&mut self, automatic: bool, reply: Result<Reply, Fault>, now: Instant) {
        let Phase::Held { hold, wanted, .. } = &mut self.phase else {
            return;
        };
        let wanted = wanted.take();
        match reply {
            Ok(Reply::Extended { valid_until }) => {
                if hold.valid_until().is_some_and(|at| now >= at) {
                    return;
                }
                hold.prolong(valid_until, automatic, now);
                if wanted.is_none() {
                    self.events.extended(hold.valid_until());
                }
            }
            Ok(Reply::NotHeld) => return self.lose(LossReason::Expired),
            // Unknown is not a no: the lease ends by itself if nothing prolongs it.
            Ok(_) | Err(_) => hold.renewal_failed(now),
        }
        if let Some(ttl) = wanted {
            self.ask_to_extend(ttl.into(), false);
        }
    }

    fn left(&mut self, id: RequestId, reply: Result<Reply, Fault>) {
        let Phase::Leaving { entering, leaving, clean } = &mut self.phase else {
            return;
        };
        if entering.take_if(|entering| *entering == id).is_some() {
            // The leave came first and found nothing, so this grant needs one of its own.
            if leaving.is_none() && may_hold(&reply) {
                return self.leave(None);
            }
        } else if leaving.take_if(|leaving| *leaving == id).is_some() {
            *clean = *clean && matches!(reply, Ok(Reply::Left));
        } else {
            return;
        }
        if entering.is_none() && leaving.is_none() {
            let clean = *clean;
            self.close(clean);
        }
    }

    fn fail(&mut self, error: LockError) {
        self.events.push(Event::Failed(error));
    }

    fn lose(&mut self, reason: LossReason) {
        self.events.push(Event::Lost(reason));
        self.leave(None);
    }

    /// Asks the table to forget us, unless it has never heard of us.
    fn leave(&mut self, entering: Option<RequestId>) {
        if let Some(unsent) = self.unsent.take()
            && entering == Some(unsent.id)
        {
            return self.close(true);
        }
        let request = self.ids.next(Ask::Leave, Instant::FAR_FUTURE);
        self.phase = Phase::Leaving { entering, leaving: Some(request.id), clean: true };
        self.unsent = Some(request);
    }

    fn close(&mut self, clean: bool) {
        self.events.push(Event::Closed { clean });
        self.phase = Phase::Closed;
    }

    fn ask_to_extend(&mut self, ttl: Duration, automatic: bool) {
        let Phase::Held { hold, extending, wanted } = &mut self.phase else {
            return;
        };
        if extending.is_some() {
            *wanted = Some(ttl.into()).filter(|_| !automatic).or(*wanted);
            return;
        }
        let not_after = hold.valid_until().unwrap_or(Instant::FAR_FUTURE);
        let request = self.ids.next(Ask::Extend { ttl: ttl.into() }, not_after);
        *extending = Some(Extension { asked: request.id, automatic });
        self.unsent = Some(request);
    }

    /// Takes every decision that time takes.
    #[inline]
    fn decide(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Entering { asked, give_up_at, .. } if now >= *give_up_at => {
                let entering = *asked;
                self.fail(self.budget.timed_out());
                self.leave(Some(entering));
            }
            Phase::Held { hold, .. } if hold.ends() => self.decide_held(now),
            Phase::Entering { .. } | Phase::Held { .. } | Phase::Leaving { .. } | Phase::Closed => {
            }
        }
    }

    fn decide_held(&mut self, now: Instant) {
        let Phase::Held { hold, .. } = &mut self.phase else {
            return;
        };
        match hold.due(now) {
            Due::Nothing => {}
            Due::Renewal(ttl) => {
                self.ask_to_extend(ttl, true);
                self.decide_held(now);
            }
            Due::Warning => {
                self.events.warned(hold.valid_until());
                self.decide_held(now);
            }
            Due::Loss(reason) => self.lose(reason),
        }
    }
}

/// Whether an answer to a request to enter leaves us something to give back. Only a clear no does
/// not.
fn may_hold(reply: &Result<Reply, Fault>) -> bool {
    match reply {
        Ok(Reply::Busy | Reply::Withdrawn) => false,
        Ok(_) => true,
        Err(fault) => fault.kind() == FaultKind::Unknown,
    }
}

impl crate::machine::sealed::Sealed for MemoryLock {}

impl Machine for MemoryLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Infallible;
    type Cohort = Infallible;

    #[inline]
    fn poll_request(&mut self) -> Option<Request<Command>> {
        let demand = self.demand;
        Some(self.unsent.take()?.map(|ask| match ask {
            Ask::Enter { ttl, owner } => {
                let ttl = ttl.map(Duration::from);
                Command::Enter { demand, wait: self.budget.waits(), ttl, owner }
            }
            Ask::Extend { ttl } => Command::Extend { demand, ttl: ttl.into() },
            Ask::Leave => Command::Leave { demand },
        }))
    }

    #[inline]
    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    #[inline]
    fn poll_timeout(&self) -> Option<Deadline> {
        match &self.phase {
            Phase::Entering { give_up_at, .. } if *give_up_at < Instant::FAR_FUTURE => {
                Some(Deadline::new(*give_up_at, Timer::Budget))
            }
            Phase::Held { hold, .. } => hold.deadline(),
            Phase::Entering { .. } | Phase::Leaving { .. } | Phase::Closed => None,
        }
    }

    #[inline]
    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        match &mut self.phase {
            Phase::Entering { asked, .. } if *asked == id => self.entered(reply, now),
            Phase::Held { extending, .. } => {
                if let Some(extension) = extending.take_if(|extension| extension.asked == id) {
                    self.extended(extension.automatic, reply, now);
                }
            }
            Phase::Leaving { .. } => self.left(id, reply),
            Phase::Entering { .. } | Phase::Closed => {}
        }
        self.decide(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    fn handle_nudge(&mut self, now: Instant) {
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
        self.ask_to_extend(ttl, false);
        self.decide(now);
    }

    #[inline]
    fn release(&mut self, now: Instant) {
        match &self.phase {
            Phase::Entering { asked, .. } => {
                let entering = *asked;
                self.leave(Some(entering));
            }
            Phase::Held { .. } => self.leave(None),
            Phase::Leaving { .. } | Phase::Closed => {}
        }
        self.decide(now);
    }
}
