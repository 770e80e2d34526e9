//! Permits of a semaphore on several servers.

mod choosing;
mod parts;

use alloc::format;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use self::parts::{Maker, News, Parts, Role, State};
use super::call::{Command, Message, Reply};
use super::keys::Keys;
use super::options::{Lease, RedisOptions};
use crate::event::Events;
use crate::lease::{Due, Hold};
use crate::options::{Budget, TTL};
use crate::time::earlier;
use crate::{
    AcquireOptions, Deadline, Demand, Event, Fault, Instant, Jitter, LockError, LossReason,
    Machine, Request, RequestId, Seed, Timer,
};

/// The most permits that one acquisition may take on several servers: each is a mutex of its own.
const MAX_COUNT: u32 = 64;
/// How long a single try waits for those that are choosing their slots at this moment.
const GATE_WITHIN: Duration = Duration::from_millis(100);

/// One acquisition of permits of a semaphore on several servers.
///
/// ```text
/// Queueing ── at the gate ──> Choosing ── slots for all ──> Held ── lost, released ──> Leaving
///    └──────────── out of time, released ────┴─────────────────────────────────────> ──> Closed
/// ```
///
/// A semaphore of `limit` is as many mutexes, its slots; who has one has a permit. A vote over
/// counters would admit too many: two takers of the last permit may each be counted by other
/// servers. Takers queue at a gate, a mutex as well, in the order they came. Whoever is inside
/// tries slots from a random one on, then waits at some of them, and opens the gate when it has
/// all its permits, so that two who have some each can't wait for one another. The ballot of the
/// gate is the fencing token.
///
/// M3 holds for each of these mutexes, and each time that one is asked for.
#[derive(Debug)]
pub struct Slots {
    count: usize,
    limit: u32,
    lease: Lease,
    fencing: bool,
    budget: Budget,
    give_up_at: Instant,
    jitter: Jitter,
    phase: Phase,
    parts: Parts,
    /// The next slot to try.
    next: u32,
    trouble: Option<LockError>,
    events: Events,
}

#[derive(Debug)]
enum Phase {
    /// At the gate.
    Queueing,
    /// Inside: trying slots, or waiting at some of them.
    Choosing(Choice),
    /// Ours, while `hold` says so and every slot is.
    Held {
        hold: Hold,
        renewal: Option<Renewal>,
    },
    /// Every mutex is told to forget us.
    Leaving {
        /// Whether it was told that others can have them.
        told: bool,
    },
    Closed,
}

#[derive(Debug)]
struct Choice {
    fence: Option<u64>,
    tried: u32,
    /// Until when the same slots are waited at; `None` while slots are tried.
    watch_until: Option<Instant>,
    /// When the slots that are ours are prolonged.
    extend_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Renewal {
    automatic: bool,
}

impl Slots {
    /// Asks for `demand` from `now` on; see [`RedLock::new`](super::RedLock::new).
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range, or more is asked for than
    /// there is or than 64; [`LockError::Unsupported`] for anything but permits.
    #[expect(clippy::too_many_arguments, reason = "each is of a type of its own")]
    pub fn new(
        keys: Keys,
        demand: Demand,
        options: &AcquireOptions,
        settings: &RedisOptions,
        servers: &[Duration],
        wall_micros: u64,
        seed: &Seed,
        now: Instant,
    ) -> Result<Self, LockError> {
        let Demand::Permits { count, limit } = demand.checked()? else {
            return Err(LockError::Unsupported("slots are for permits".into()));
        };
        if count > MAX_COUNT {
            let problem = format!("at most {MAX_COUNT} can be taken at once, not {count}");
            return Err(LockError::config("permits", problem));
        }
        let lease = settings.lease(options)?;
        let budget = Budget::of(options);
        let mut jitter = seed.jitter();
        let mut own = AcquireOptions::new().with_ttl(lease.ttl()).with_backoff(options.backoff());
        if let Some(owner) = options.owner() {
            own = own.with_owner(owner);
        }
        let first = jitter.next_u64() % u64::from(limit);
        let maker = Maker {
            keys,
            options: own,
            settings: settings.clone().with_fencing(true),
            patience: Vec::from(servers),
            born: now,
            born_micros: wall_micros,
            jitter: jitter.clone(),
        };
        let mut slots = Self {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            limit,
            lease,
            fencing: settings.fencing(),
            budget,
            give_up_at: budget.ends(now),
            jitter,
            phase: Phase::Queueing,
            parts: Parts::new(maker),
            next: u32::try_from(first).unwrap_or(0),
            trouble: None,
            events: Events::new(),
        };
        slots.queue(now)?;
        Ok(slots)
    }

    fn queue(&mut self, now: Instant) -> Result<(), LockError> {
        let left = self.give_up_at.since(now);
        let timeout = if self.budget.waits() { left } else { GATE_WITHIN };
        self.phase = Phase::Queueing;
        self.parts.want(Role::Gate, Some(timeout), now)
    }

    /// Takes every decision. All inputs end here.
    fn decide(&mut self, now: Instant) {
        self.listen(now);
        match &self.phase {
            Phase::Queueing | Phase::Leaving { .. } | Phase::Closed => {}
            Phase::Choosing(_) => self.choose(now),
            Phase::Held { .. } => self.hold_on(now),
        }
        // What was just let go of may be gone already.
        self.listen(now);
        if let Phase::Leaving { told } = &mut self.phase {
            if self.parts.is_empty() {
                self.events.push(Event::Closed { clean: self.parts.clean });
                self.phase = Phase::Closed;
            } else if self.parts.are_released() && !core::mem::replace(told, true) {
                self.events.push(Event::Released);
            }
        }
    }

    fn listen(&mut self, now: Instant) {
        while let Some(news) = self.parts.poll_news() {
            self.heard(news, now);
        }
    }

    fn heard(&mut self, news: News, now: Instant) {
        match (news, &self.phase) {
            (News::Entered(fence), Phase::Queueing) => {
                let extend_at = now + self.lease.ttl() / 3;
                self.phase =
                    Phase::Choosing(Choice { fence, tried: 0, watch_until: None, extend_at });
            }
            (News::Failed(Role::Gate, error), Phase::Queueing) => {
                let error = if error.is_timeout() { self.budget.timed_out() } else { error };
                self.fail(error, now);
            }
            (News::Failed(Role::Slot(_), error @ LockError::Backend(_)), Phase::Choosing(_)) => {
                self.fail(error, now);
            }
            (News::Failed(Role::Slot(_), error), Phase::Choosing(_)) if !error.is_timeout() => {
                self.trouble = Some(error);
            }
            (News::Lost(Role::Gate, _), Phase::Choosing(_)) => {
                // Somebody else may have gone in: begin again, with nothing.
                self.parts.release(now, |_| true);
                if let Err(error) = self.queue(now) {
                    self.fail(error, now);
                }
            }
            (News::Lost(Role::Slot(_), reason), Phase::Held { .. }) => self.lose(reason, now),
            (News::Progress | News::Entered(_) | News::Failed(..) | News::Lost(..), _) => {}
        }
    }

    fn acquired(&mut self, valid_until: Instant, now: Instant) {
        let Phase::Choosing(choice) = &self.phase else { return };
        let fence = choice.fence.filter(|_| self.fencing);
        let mut left = self.count;
        // Two that were waited at may have been got at once.
        self.parts.release(now, |part| {
            let keeps = matches!((part.role, part.state), (Role::Slot(_), State::Held(_)));
            let keeps = keeps && left > 0;
            left -= usize::from(keeps);
            !keeps
        });
        self.events.push(Event::Acquired { valid_until: Some(valid_until), fence });
        let hold = Hold::begin(&self.lease.terms(), Some(valid_until), now);
        self.phase = Phase::Held { hold, renewal: None };
    }

    fn hold_on(&mut self, now: Instant) {
        let until = self.parts.valid_until();
        let Phase::Held { hold, renewal } = &mut self.phase else { return };
        loop {
            match hold.due(now) {
                Due::Nothing => break,
                Due::Warning => self.events.warned(hold.valid_until()),
                Due::Renewal(ttl) => {
                    if renewal.is_none() {
                        *renewal = Some(Renewal { automatic: true });
                        self.parts.extend(ttl, now);
                    }
                }
                Due::Loss(reason) => return self.lose(reason, now),
            }
        }
        if let Some(Renewal { automatic }) = renewal.take_if(|_| self.parts.all_prolonged()) {
            hold.prolong(until, automatic, now);
            self.events.extended(hold.valid_until());
        }
    }

    fn fail(&mut self, error: LockError, now: Instant) {
        self.events.push(Event::Failed(error));
        self.leave(now);
    }

    fn lose(&mut self, reason: LossReason, now: Instant) {
        self.events.push(Event::Lost(reason));
        self.leave(now);
    }

    fn leave(&mut self, now: Instant) {
        self.parts.release(now, |_| true);
        self.phase = Phase::Leaving { told: false };
    }
}

impl crate::machine::sealed::Sealed for Slots {}

impl Machine for Slots {
    type Command = Command;
    type Reply = Reply;
    type Message = Message;
    type Cohort = Infallible;

    fn poll_request(&mut self) -> Option<Request<Command>> {
        self.parts.poll_request()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let own = match &self.phase {
            Phase::Choosing(choice) => {
                let watch = choice.watch_until.map(|at| Deadline::new(at, Timer::Retry));
                let waits = self.budget.waits();
                let budget = waits.then(|| Deadline::new(self.give_up_at, Timer::Budget));
                let extend = Some(Deadline::new(choice.extend_at, Timer::Renewal));
                earlier(earlier(watch, budget), extend)
            }
            Phase::Held { hold, .. } => hold.deadline(),
            Phase::Queueing | Phase::Leaving { .. } | Phase::Closed => None,
        };
        earlier(own, self.parts.poll_timeout())
    }

    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        self.parts.handle_reply(id, reply, now);
        self.decide(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.parts.handle_timeout(now);
        self.decide(now);
    }

    fn handle_nudge(&mut self, now: Instant) {
        self.parts.handle_nudge(now);
        self.decide(now);
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        self.parts.handle_message(message, now);
        self.decide(now);
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        if let Phase::Held { .. } = self.phase {
            self.lose(reason, now);
        }
        self.decide(now);
    }

    fn extend(&mut self, ttl: Duration, now: Instant) {
        self.decide(now);
        if let Phase::Held { renewal, .. } = &mut self.phase {
            *renewal = Some(Renewal { automatic: false });
            self.parts.extend(ttl.min(TTL.1), now);
        }
        self.decide(now);
    }

    fn release(&mut self, now: Instant) {
        match self.phase {
            Phase::Queueing | Phase::Choosing(_) | Phase::Held { .. } => self.leave(now),
            Phase::Leaving { .. } | Phase::Closed => {}
        }
        self.decide(now);
    }
}
