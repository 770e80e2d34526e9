//! One acquisition in a lock table.

use alloc::sync::Arc;
use core::convert::Infallible;
use core::time::Duration;

use super::{Command, Reply};
use crate::event::Events;
use crate::lease::{Due, Hold, Terms};
use crate::machine::RequestIds;
use crate::options::Budget;
use crate::outbox::Outbox;
use crate::{
    AcquireOptions, Deadline, Demand, Event, Fault, FaultKind, Instant, LockError, LockName,
    LossReason, Machine, Request, RequestId, Timer,
};

/// One question and its cancel.
const REQUESTS: usize = 2;

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
    name: LockName,
    demand: Demand,
    budget: Budget,
    phase: Phase,
    ids: RequestIds,
    requests: Outbox<Request<Ask>, REQUESTS>,
    events: Events,
}

/// A command in short, of which the name and the demand go without saying.
#[derive(Clone, Debug)]
enum Ask {
    Enter { ttl: Option<Duration>, owner: Option<Arc<str>> },
    Extend { ttl: Duration },
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
        wanted: Option<Duration>,
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

impl MemoryLock {
    /// Asks for `demand` of `name` from `now` on.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range, or more is asked for than
    /// there is.
    #[inline]
    pub fn new(
        name: LockName,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<Self, LockError> {
        let demand = demand.checked()?;
        let terms = options.terms()?;
        let budget = Budget::of(options);
        let enter = Ask::Enter { ttl: terms.ttl, owner: options.owner().map(Arc::clone) };
        let mut ids = RequestIds::new();
        let request = ids.next(enter, Instant::FAR_FUTURE);
        // A single try ends with its answer, however late that comes.
        let give_up_at = if budget.waits() { budget.ends(now) } else { Instant::FAR_FUTURE };
        let phase = Phase::Entering { asked: request.id, give_up_at, terms };
        let mut requests = Outbox::new();
        requests.push(request);
        Ok(Self { name, demand, budget, phase, ids, requests, events: Events::new() })
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
            self.ask_to_extend(ttl, false);
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
        while let Some(unsent) = self.requests.pop() {
            if entering == Some(unsent.id) {
                return self.close(true);
            }
        }
        let request = self.ids.next(Ask::Leave, Instant::FAR_FUTURE);
        self.phase = Phase::Leaving { entering, leaving: Some(request.id), clean: true };
        self.requests.push(request);
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
            *wanted = Some(ttl).filter(|_| !automatic).or(*wanted);
            return;
        }
        let not_after = hold.valid_until().unwrap_or(Instant::FAR_FUTURE);
        let request = self.ids.next(Ask::Extend { ttl }, not_after);
        *extending = Some(Extension { asked: request.id, automatic });
        self.requests.push(request);
    }

    /// Takes every decision that time takes.
    fn decide(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Entering { asked, give_up_at, .. } if now >= *give_up_at => {
                let entering = *asked;
                self.fail(self.budget.timed_out());
                self.leave(Some(entering));
            }
            Phase::Held { hold, .. } => match hold.due(now) {
                Due::Nothing => {}
                Due::Renewal(ttl) => {
                    self.ask_to_extend(ttl, true);
                    self.decide(now);
                }
                Due::Warning => {
                    self.events.warned(hold.valid_until());
                    self.decide(now);
                }
                Due::Loss(reason) => self.lose(reason),
            },
            Phase::Entering { .. } | Phase::Leaving { .. } | Phase::Closed => {}
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
        let request = self.requests.pop()?;
        let (name, demand) = (self.name.clone(), self.demand);
        Some(request.map(|ask| match ask {
            Ask::Enter { ttl, owner } => {
                Command::Enter { name, demand, wait: self.budget.waits(), ttl, owner }
            }
            Ask::Extend { ttl } => Command::Extend { name, demand, ttl },
            Ask::Leave => Command::Leave { name, demand },
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
