//! Keeping what a majority has given.

use core::time::Duration;

use super::{Phase, RedLock};
use crate::lease::{Due, Hold, Terms};
use crate::options::TTL;
use crate::redis::call::Verb;
use crate::redis::quorum::{Verdict, Voice, valid_until};
use crate::time::earlier;
use crate::{Deadline, Event, Instant, LossReason, Timer};

/// How often the servers without our lock are asked to take it, before the next renewal does.
const REPAIRS: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct Held {
    hold: Hold,
    renewal: Option<Round>,
    /// The renewal to come.
    wanted: Option<Renewal>,
    /// The next time that the servers without our lock are asked to take it.
    repair_at: Option<Instant>,
    repairs: u32,
}

/// A renewal that all servers have been asked for.
#[derive(Clone, Copy, Debug)]
struct Round {
    started: Instant,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug)]
struct Renewal {
    ttl: Duration,
    automatic: bool,
    at: Instant,
    tries: u32,
}

impl Held {
    pub(super) fn new(
        terms: &Terms,
        valid_until: Instant,
        repair_at: Instant,
        now: Instant,
    ) -> Self {
        let hold = Hold::begin(terms, Some(valid_until), now);
        Self { hold, renewal: None, wanted: None, repair_at: Some(repair_at), repairs: 0 }
    }

    /// The caller wants it for `ttl` from now on.
    pub(super) fn want(&mut self, ttl: Duration, now: Instant) {
        let ttl = ttl.min(TTL.1);
        self.wanted = Some(Renewal { ttl, automatic: false, at: now, tries: 0 });
    }

    fn ends(&self) -> Instant {
        self.hold.valid_until().unwrap_or(Instant::FAR_FUTURE)
    }
}

impl RedLock {
    pub(super) fn decide_held(&mut self, now: Instant) {
        if let Some(reason) = self.due(now) {
            return self.lose(reason, now);
        }
        self.count_renewal(now);
        self.begin_renewal(now);
        self.repair(now);
    }

    fn begin_renewal(&mut self, now: Instant) {
        let enough = self.can_vote();
        let Phase::Held(held) = &mut self.phase else { return };
        if held.renewal.is_some() {
            return;
        }
        let Some(renewal) = held.wanted.take_if(|wanted| now >= wanted.at) else { return };
        if !enough {
            let rest = self.backoff.rest(renewal.tries, &mut self.jitter);
            held.wanted = Some(Renewal { at: now + rest, tries: renewal.tries + 1, ..renewal });
            return;
        }
        held.renewal = Some(Round { started: now, renewal });
        held.repair_at = None;
        let ends = held.ends();
        let verb = Verb::Keep { side: self.side, ballot: self.ballot, ttl: renewal.ttl };
        self.ask_all(&verb, ends.since(now), ends, now);
    }

    /// What time asks for; the reason, if it is over.
    fn due(&mut self, now: Instant) -> Option<LossReason> {
        let Phase::Held(held) = &mut self.phase else { return None };
        loop {
            match held.hold.due(now) {
                Due::Nothing => return None,
                Due::Warning => self.events.warned(held.hold.valid_until()),
                Due::Renewal(ttl) => {
                    let renewal = Renewal { ttl, automatic: true, at: now, tries: 0 };
                    held.wanted.get_or_insert(renewal);
                }
                Due::Loss(reason) => return Some(reason),
            }
        }
    }

    fn count_renewal(&mut self, now: Instant) {
        let Phase::Held(held) = &self.phase else { return };
        let Some(Round { started, renewal }) = held.renewal else { return };
        let longest = held.ends().since(started);
        self.stop_waiting(started, longest, now);
        let verdict = self.tally.verdict();
        let rest = self.backoff.rest(renewal.tries, &mut self.jitter);
        let Phase::Held(held) = &mut self.phase else { return };
        match verdict {
            Verdict::Won => {
                held.renewal = None;
                held.repairs = 0;
                held.repair_at = Some(now + rest);
                let until = valid_until(started, renewal.ttl);
                held.hold.prolong(Some(until), renewal.automatic, now);
                if held.wanted.is_none_or(|wanted| wanted.automatic) {
                    held.wanted = None;
                    self.events.extended(held.hold.valid_until());
                }
            }
            Verdict::Open => {}
            Verdict::Almost | Verdict::Lost if self.tally.denied() => {
                self.lose(LossReason::Revoked, now);
            }
            // Errors and silence are not a no.
            Verdict::Almost | Verdict::Lost => {
                held.renewal = None;
                let again = Renewal { at: now + rest, tries: renewal.tries + 1, ..renewal };
                held.wanted.get_or_insert(again);
            }
        }
    }

    /// Asks those that have not said that the lock is ours to take it: the more have it, the more
    /// may forget it.
    fn repair(&mut self, now: Instant) {
        let missing = |index: &usize| self.tally.of(*index) != Voice::Yes;
        let nothing_missing = !(0..self.servers.len()).any(|index| missing(&index));
        let Phase::Held(held) = &mut self.phase else { return };
        if nothing_missing {
            held.repair_at = None;
        }
        if held.repair_at.is_none_or(|at| now < at) {
            return;
        }
        let rest = self.backoff.rest(held.repairs, &mut self.jitter);
        held.repairs += 1;
        held.repair_at = Some(now + rest).filter(|_| held.repairs < REPAIRS);
        let ends = held.ends();
        let verb = Verb::Keep { side: self.side, ballot: self.ballot, ttl: self.lease.ttl() };
        for index in 0..self.servers.len() {
            let missing = self.tally.of(index) != Voice::Yes;
            if missing && self.servers.ask(index, verb.clone(), ends, now) {
                self.tally.set(index, Voice::Asked);
            }
        }
    }

    pub(super) fn lose(&mut self, reason: LossReason, now: Instant) {
        self.events.push(Event::Lost(reason));
        self.leave(true, now);
    }

    pub(super) fn held_deadline(&self, held: &Held) -> Option<Deadline> {
        let round = held
            .renewal
            .and_then(|round| self.patience_ends(round.started, held.ends().since(round.started)));
        let wanted = held.wanted.filter(|_| held.renewal.is_none()).map(|wanted| wanted.at);
        let renewal = earlier(earlier(round, wanted), held.repair_at);
        let renewal = renewal.map(|at| Deadline::new(at, Timer::Renewal));
        earlier(renewal, held.hold.deadline())
    }
}
