//! Winning a majority, or resting until the next vote.

use core::time::Duration;

use super::servers::Mark;
use super::{Held, Phase, RedLock};
use crate::redis::call::Verb;
use crate::redis::options::drift;
use crate::redis::quorum::{Tally, Verdict, Voice, majority, valid_until};
use crate::{Event, Fault, Instant, LockError};

/// How often a waiter asks all servers, although nothing woke it: it stays alive in their queues,
/// which believe in it for [`LIVENESS`](crate::redis::LIVENESS).
const REFRESH: Duration = Duration::from_secs(1);
/// Servers that have not answered for so long are at fault, and not somebody else's hold.
const SILENCE: Duration = Duration::from_millis(500);
/// How often one vote is asked for again at a higher ballot.
const CORRECTIONS: u32 = 3;

impl RedLock {
    pub(super) fn decide_voting(&mut self, now: Instant) {
        let Phase::Voting { started, corrections } = self.phase else { return };
        self.stop_waiting(started, self.longest_vote(started), now);
        match self.tally.verdict() {
            Verdict::Open => {}
            Verdict::Won => {
                let valid_until = valid_until(started, self.lease.ttl());
                if now + self.lease.min_validity() <= valid_until {
                    self.acquired(valid_until, now);
                } else {
                    self.vote_lost(now);
                }
            }
            Verdict::Almost if corrections < CORRECTIONS && self.can_vote() => {
                self.vote(corrections + 1, now);
            }
            Verdict::Almost | Verdict::Lost => self.vote_lost(now),
        }
    }

    pub(super) fn decide_resting(&mut self, retry_at: Instant, now: Instant) {
        if now >= retry_at {
            self.vote_when_possible(now);
        } else {
            self.step_back(now);
        }
    }

    pub(super) fn decide_starved(&mut self, until: Instant, now: Instant) {
        if self.can_vote() {
            self.vote(0, now);
        } else if now >= until {
            self.tally = Tally::new(self.servers.len());
            self.vote_lost(now);
        } else {
            self.step_back(now);
        }
    }

    fn vote_when_possible(&mut self, now: Instant) {
        if self.can_vote() {
            return self.vote(0, now);
        }
        let until = (now + REFRESH).min(self.give_up_at.max(now + self.backoff_rest()));
        self.nudged = false;
        self.phase = Phase::Starved { since: now, until };
        self.step_back(now);
    }

    pub(super) fn can_vote(&self) -> bool {
        self.servers.idle() >= majority(self.servers.len())
    }

    /// Asks every server for its vote, at a ballot above all that were seen.
    fn vote(&mut self, corrections: u32, now: Instant) {
        let wall = self.born_micros.saturating_add(micros(now.since(self.born)));
        // One that can't rise is refused by those that have seen it.
        let above = self.servers.seen().max(self.ballot).saturating_add(1);
        self.ballot = wall.max(above);
        self.nudged = false;
        self.refusal = None;
        self.trouble = None;
        let verb = Verb::Vote {
            side: self.side,
            ballot: self.ballot,
            ttl: self.lease.ttl(),
            wait: self.queues(now),
            came: self.born_micros,
        };
        self.ask_all(&verb, self.longest_vote(now), Instant::FAR_FUTURE, now);
        self.phase = Phase::Voting { started: now, corrections };
    }

    /// Begins a round.
    pub(super) fn ask_all(&mut self, verb: &Verb, longest: Duration, ends: Instant, now: Instant) {
        self.tally = Tally::new(self.servers.len());
        for index in 0..self.servers.len() {
            let server = self.servers.get_mut(index);
            server.stepped_back = false;
            // A caller in a hurry gives up, and what was sent is given back: no reason not to send.
            let not_after = (now + server.patience(longest.max(SILENCE))).min(ends);
            if self.servers.ask(index, verb.clone(), not_after, now) {
                self.tally.set(index, Voice::Asked);
            }
        }
    }

    /// Goes on without those whose answers should be there.
    pub(super) fn stop_waiting(&mut self, started: Instant, longest: Duration, now: Instant) {
        for index in 0..self.servers.len() {
            let server = self.servers.get_mut(index);
            if self.tally.of(index) == Voice::Asked && now >= started + server.patience(longest) {
                server.was_silent();
                self.tally.set(index, Voice::Silent);
            }
        }
    }

    /// When the next of those who were asked should have answered.
    pub(super) fn patience_ends(&self, started: Instant, longest: Duration) -> Option<Instant> {
        let asked = self.servers.all().filter(|(index, _)| self.tally.of(*index) == Voice::Asked);
        asked.map(|(_, server)| started + server.patience(longest)).min()
    }

    /// No answer is waited for longer than a vote can still be won, or than the caller waits.
    pub(super) fn longest_vote(&self, started: Instant) -> Duration {
        let (ttl, min_validity) = (self.lease.ttl(), self.lease.min_validity());
        let winnable = ttl.saturating_sub(drift(ttl)).saturating_sub(min_validity);
        winnable.min(self.give_up_at.since(started))
    }

    /// Whether to stand in the queues. Who can't reach a majority would only keep others out, but
    /// one answer that is late should cost nobody the place.
    fn queues(&self, now: Instant) -> bool {
        let unreachable_for = self.unreachable_since.map(|since| now.since(since));
        self.budget.waits() && unreachable_for.is_none_or(|time| time < REFRESH)
    }

    fn acquired(&mut self, valid_until: Instant, now: Instant) {
        let fence = Some(self.ballot).filter(|_| self.fencing);
        self.events.push(Event::Acquired { valid_until: Some(valid_until), fence });
        let repair_at = now + self.backoff.rest(0, &mut self.jitter);
        self.phase = Phase::Held(Held::new(&self.lease.terms(), valid_until, repair_at, now));
        self.decide(now);
    }

    fn vote_lost(&mut self, now: Instant) {
        self.servers.discard_unsent();
        let queued = self.queues(now);
        let began = match self.phase {
            Phase::Voting { started: began, .. } | Phase::Starved { since: began, .. } => began,
            Phase::Resting { .. } | Phase::Held(_) | Phase::Leaving(_) | Phase::Closed => now,
        };
        self.learn_reach(began);
        // What fails for as long as a lease fails for ever.
        let hopeless =
            self.unreachable_since.is_some_and(|since| now.since(since) >= self.lease.ttl());
        if self.tally.refused()
            && let Some(refusal) = self.refusal.take()
        {
            self.fail(LockError::Backend(refusal), now);
        } else if !self.budget.waits() || now >= self.give_up_at || hopeless {
            let error = self.out_of_time(now);
            self.fail(error, now);
        } else if self.nudged {
            self.vote_when_possible(now);
        } else {
            // Without a place in the queues nobody would wake us.
            let rest = if queued && self.tally.held_by_one() {
                self.jitter.between(REFRESH - REFRESH / 10, REFRESH)
            } else {
                self.backoff_rest()
            };
            self.tries += 1;
            let retry_at = (now + rest).min(self.give_up_at);
            self.phase = Phase::Resting { retry_at };
            self.step_back(now);
        }
    }

    /// Whether a majority answers, as far as the round that began at `began` shows it.
    pub(super) fn learn_reach(&mut self, began: Instant) {
        if self.tally.reached() {
            self.unreachable_since = None;
        } else if self.tally.unreachable() {
            self.unreachable_since.get_or_insert(began);
        }
    }

    fn backoff_rest(&mut self) -> Duration {
        self.backoff.rest(self.tries, &mut self.jitter).min(REFRESH)
    }

    fn out_of_time(&mut self, now: Instant) -> LockError {
        let Some(since) = self.unreachable_since else { return self.budget.timed_out() };
        let fault = self.trouble.take().or_else(|| self.refusal.take());
        // In less time than that the servers may well have had no chance to answer.
        let hurried = self.budget.waits() && now >= self.give_up_at;
        if fault.is_none() && hurried && now.since(since) < SILENCE {
            return self.budget.timed_out();
        }
        LockError::Connection(fault.unwrap_or_else(|| {
            Fault::unknown("too few of the servers answered in time to make a majority")
        }))
    }

    /// Gives back every vote that was got, at once: it keeps others from winning.
    fn step_back(&mut self, now: Instant) {
        let stay = self.queues(now);
        let verb = Verb::StepBack { side: self.side, ballot: self.ballot, stay };
        for index in 0..self.servers.len() {
            let server = self.servers.get_mut(index);
            let in_the_way = match server.mark() {
                Mark::Nothing => false,
                Mark::Place => !stay,
                Mark::Lock => true,
            };
            if in_the_way && server.is_idle() && !server.stepped_back {
                server.stepped_back = true;
                self.servers.ask(index, verb.clone(), now + REFRESH, now);
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
