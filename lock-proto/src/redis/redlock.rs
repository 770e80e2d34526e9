//! One acquisition on several servers, of which a majority decides.

mod held;
mod leaving;
mod servers;
mod voting;

use alloc::format;
use core::convert::Infallible;
use core::time::Duration;

use self::held::Held;
use self::leaving::Leaving;
use self::servers::{Answer, Errand, Servers};
use super::call::{Command, Message, Reply, Side};
use super::keys::Keys;
use super::options::{Lease, RedisOptions};
use super::quorum::{MAX_SERVERS, Tally, Voice};
use super::token::Token;
use crate::event::Events;
use crate::options::Budget;
use crate::{
    AcquireOptions, Backoff, Deadline, Event, Fault, FaultKind, Instant, Jitter, LockError,
    LossReason, Machine, Request, RequestId, Seed, Timer,
};

/// One acquisition of a lock on two to nine servers, or on one.
///
/// ```text
/// Voting ──────── a majority in time ───────> Held ── lost, released ──> Leaving ──> Closed
///  │  ^                                                                     │
///  v  │ back-off, nudged                                                    │
/// Resting, Starved ── out of time, released ────────────────────────────────┘
/// ```
///
/// All servers are asked for their vote at once; a majority of yeses at one and the same ballot
/// wins, and the ballot is the fencing token (R18, R19). A vote that can't be won any more is given
/// back at once, and repeated after a rest. A waiter stands in a queue on every server, ordered by
/// when it came, so that all agree who is next; whoever gives the lock back nudges that one.
///
/// One token stands for the whole life (R1). What gives a vote back between two votes names the
/// ballot of the vote, so that a later vote is safe from it however late it arrives; what gives
/// everything back in the end is asked for when nothing will be taken any more.
///
/// A server that owes an answer sits out the next round: its old yes counts for nothing then (R2).
/// While the lock is held, a server that has lost it is made to take it again, but never if it is
/// another's there, and what it says counts only while the lock is still ours (R3, R20).
#[derive(Clone, Debug)]
pub struct RedLock {
    side: Side,
    lease: Lease,
    fencing: bool,
    budget: Budget,
    backoff: Backoff,
    jitter: Jitter,
    born: Instant,
    born_micros: u64,
    give_up_at: Instant,
    phase: Phase,
    servers: Servers,
    tally: Tally,
    /// The ballot of the last vote.
    ballot: u64,
    /// Votes lost since the last nudge.
    tries: u32,
    /// The lock may have become free since the vote began.
    nudged: bool,
    /// No vote is known to have been winnable since then, for lack of answers.
    unreachable_since: Option<Instant>,
    refusal: Option<Fault>,
    trouble: Option<Fault>,
    events: Events,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Every server has been asked.
    Voting {
        started: Instant,
        corrections: u32,
    },
    /// The last vote was lost.
    Resting {
        retry_at: Instant,
    },
    /// A vote is due, and too few servers owe us nothing. Then that counts as a lost vote.
    Starved {
        since: Instant,
        until: Instant,
    },
    /// Ours, while its hold says so.
    Held(Held),
    /// Telling every server to forget us.
    Leaving(Leaving),
    Closed,
}

impl RedLock {
    /// Asks for `side` of the lock from `now` on; on the wall clock that is `wall_micros`
    /// microseconds after 1970.
    ///
    /// `servers` says for each server how long to wait for its answer before the vote goes on
    /// without it.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is out of its range, or there are no servers or
    /// more than [`MAX_SERVERS`]; [`LockError::Unsupported`] for permits.
    #[expect(clippy::too_many_arguments, reason = "each is of a type of its own")]
    pub fn new(
        keys: Keys,
        side: Side,
        options: &AcquireOptions,
        settings: &RedisOptions,
        servers: &[Duration],
        wall_micros: u64,
        seed: &Seed,
        now: Instant,
    ) -> Result<Self, LockError> {
        if servers.is_empty() || servers.len() > MAX_SERVERS {
            let problem = format!("a lock stands on 1 to {MAX_SERVERS}, not {}", servers.len());
            return Err(LockError::config("servers", problem));
        }
        if let Side::Permits { .. } = side {
            let problem = "permits on several servers are slots, not votes";
            return Err(LockError::Unsupported(problem.into()));
        }
        let lease = settings.lease(options)?;
        let budget = Budget::of(options);
        let token = Token::new(settings.identity(), options.owner().map(AsRef::as_ref), seed);
        let mut lock = Self {
            side,
            lease,
            fencing: settings.fencing(),
            budget,
            backoff: settings.backoff(options),
            jitter: seed.jitter(),
            born: now,
            born_micros: wall_micros,
            give_up_at: budget.ends(now),
            phase: Phase::Resting { retry_at: now },
            tally: Tally::new(servers.len()),
            servers: Servers::new(keys, token, servers, now),
            ballot: 0,
            tries: 0,
            nudged: false,
            unreachable_since: None,
            refusal: None,
            trouble: None,
            events: Events::new(),
        };
        lock.decide(now);
        Ok(lock)
    }

    /// What marks this acquisition on the servers.
    #[must_use]
    pub fn token(&self) -> &Token {
        self.servers.token()
    }

    /// Its place in the queues, which a message to it repeats.
    pub(super) fn came(&self) -> u64 {
        self.born_micros
    }

    /// Records what a server said about the round that is on, or about the last one.
    fn heard(&mut self, index: usize, errand: Errand, answer: Answer, now: Instant) {
        let voice = match (errand, answer) {
            (Errand::Vote { ballot, .. }, Answer::Yes(at)) if ballot != at => Voice::Almost,
            (Errand::Vote { .. } | Errand::Keep, Answer::Yes(_)) => Voice::Yes,
            (Errand::Vote { .. } | Errand::Keep, Answer::TooLow) => Voice::Almost,
            (Errand::Vote { .. } | Errand::Keep, Answer::No(highest)) => Voice::No { highest },
            (Errand::Vote { .. } | Errand::Keep, Answer::Fault(fault)) => self.fault(fault),
            (Errand::Vote { .. } | Errand::Keep, Answer::Done) => return,
            (Errand::StepBack { .. }, _) => return,
            (Errand::Quit, _) => return self.quit_answered(index, now),
        };
        self.tally.hear(index, voice);
        // The vote was lost before it was known whether it could have been won.
        if matches!(self.phase, Phase::Resting { .. } | Phase::Starved { .. }) {
            self.learn_reach(now);
        }
    }

    fn fault(&mut self, fault: Fault) -> Voice {
        if fault.kind() == FaultKind::Refused {
            self.refusal = Some(fault);
            Voice::Refused
        } else {
            self.trouble = Some(fault);
            Voice::Silent
        }
    }

    /// Takes every decision. All inputs end here.
    fn decide(&mut self, now: Instant) {
        match &self.phase {
            Phase::Voting { .. } => self.decide_voting(now),
            Phase::Resting { retry_at } => self.decide_resting(*retry_at, now),
            Phase::Starved { until, .. } => self.decide_starved(*until, now),
            Phase::Held(_) => self.decide_held(now),
            Phase::Leaving(_) => self.decide_leaving(now),
            Phase::Closed => {}
        }
    }

    fn fail(&mut self, error: LockError, now: Instant) {
        self.events.push(Event::Failed(error));
        self.leave(false, now);
    }

    /// Somebody says that the lock may be free.
    fn look(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Voting { .. } => self.nudged = true,
            Phase::Resting { retry_at } => *retry_at = now,
            Phase::Starved { .. } | Phase::Held(_) | Phase::Leaving(_) | Phase::Closed => return,
        }
        self.tries = 0;
        self.decide(now);
    }
}

impl crate::machine::sealed::Sealed for RedLock {}

impl Machine for RedLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Message;
    type Cohort = Infallible;

    fn poll_request(&mut self) -> Option<Request<Command>> {
        self.servers.poll_request()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        match &self.phase {
            Phase::Voting { started, .. } => {
                let ends = self.patience_ends(*started, self.longest_vote(*started))?;
                Some(Deadline::new(ends, Timer::Retry))
            }
            Phase::Resting { retry_at: at } | Phase::Starved { until: at, .. } => {
                Some(Deadline::new(*at, Timer::Retry))
            }
            Phase::Held(held) => self.held_deadline(held),
            Phase::Leaving(leaving) => Some(self.leaving_deadline(leaving)),
            Phase::Closed => None,
        }
    }

    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        if let Some((index, errand, answer)) = self.servers.settle(id, reply, now) {
            self.heard(index, errand, answer, now);
            self.decide(now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    fn handle_nudge(&mut self, now: Instant) {
        self.look(now);
    }

    fn handle_message(&mut self, _message: Message, now: Instant) {
        self.look(now);
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        if let Phase::Held(_) = self.phase {
            self.lose(reason, now);
        }
        self.decide(now);
    }

    fn extend(&mut self, ttl: Duration, now: Instant) {
        if let Phase::Held(held) = &mut self.phase {
            held.want(ttl, now);
        }
        self.decide(now);
    }

    fn release(&mut self, now: Instant) {
        match self.phase {
            Phase::Voting { .. } | Phase::Resting { .. } | Phase::Starved { .. } => {
                self.leave(false, now);
            }
            Phase::Held(_) => self.leave(true, now),
            Phase::Leaving(_) | Phase::Closed => {}
        }
    }
}
