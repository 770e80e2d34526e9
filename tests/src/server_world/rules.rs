//! What can be wrong with a server, or with the driver between it and its clients.

use std::collections::VecDeque;

use lock_proto::redis::{Token, Verb};
use lock_proto::{Instant, LockId, Seed};

use super::client::{Belief, Flight};
use super::{Setting, World};
use crate::redis_model::Omission;

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the zoo names every rule")]
pub enum Rule {
    /// The scripts keep all their rules.
    Script(Omission),
    /// R1: each acquisition has a token of its own.
    TokenOfItsOwn,
    /// R1: a token that was given up is not used again.
    FreshToken,
    /// R2: clocks that differ are allowed for.
    Drift,
    /// R2: validity counts from the request, and not from its answer.
    CountedFromRequest,
    /// Validity is not rounded up.
    NotRounded,
    /// Validity is told by a clock that nobody sets.
    MonotonicClock,
    /// Validity is told by a clock that runs while its machine sleeps.
    SleeplessClock,
    /// Whoever asks is told by the deadline, and not by the last tick.
    DeadlineItself,
    /// A loss is told.
    ToldLoss,
    /// R5: an answer that was lost is not a no.
    UnknownIsNoNo,
    /// R5: a request that was sent is not taken back by a cancel.
    SentIsSent,
    /// R7: after an answer that was lost the same token is used.
    SameToken,
    /// R11: a grant is dated by the refresh whose stamp it has.
    OwnStamp,
    /// R13: a claim is prolonged, and not asked for again.
    ClaimedByExtend,
    /// R15: whoever waits looks for itself now and then.
    Fallback,
    /// R22: the first number of a connection is minted by script.
    MintedPerConnection,
    /// R23: the server's clock does not go back where a counter is lost.
    ClockGoesOn,
    /// The server's clock does not go ahead.
    SteadyServer,
    /// Locks are not evicted.
    KeptLocks,
    /// What was agreed about the end of a hold is kept.
    KeptLimits,
    /// What is written with an older token is refused.
    FencedStorage,
    /// Requests find their way through a cluster as they should.
    Driver(Habit),
}

/// What is wrong with the way of requests through a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the zoo names every habit")]
pub enum Habit {
    /// That some keys are elsewhere is taken for a no.
    NoOnTryAgain,
    /// That the keys are elsewhere is taken for a no.
    LossOnMoved,
    /// What broke is sent again, and the last answer is that of all tries.
    SilentRetries,
    /// Where one command of several failed, nothing is said to have been carried out.
    UntoldSteps,
    /// A replica takes over that knows nothing of the move of the slot.
    ForgottenMove,
}

impl World<'_> {
    pub(super) fn breaks(&self, rule: Rule) -> bool {
        self.setting == Setting::Broken(rule)
    }

    /// From what the token of the next acquisition is drawn.
    pub(super) fn seed(&self, client: usize) -> Seed {
        let idle = self.clients[client].hub.locks().next().is_none();
        let shared = self.breaks(Rule::TokenOfItsOwn) || (self.breaks(Rule::FreshToken) && idle);
        let number = if shared { 100 + client } else { self.started };
        Seed::from_bytes([u8::try_from(number).unwrap_or(0); 32])
    }

    /// Until when a client believes that a lock is its own.
    pub(super) fn believed(&self, client: usize, belief: &Belief, until: Instant) -> Instant {
        let now = self.clients[client].local(self.now);
        if self.breaks(Rule::CountedFromRequest) {
            until + now.since(belief.asked_at)
        } else if self.breaks(Rule::NotRounded) {
            Instant::from_nanos(until.as_nanos().next_multiple_of(1_000_000_000))
        } else {
            until
        }
    }

    /// A request as it is sent.
    pub(super) fn sent(&mut self, mut flight: Flight) -> Flight {
        let command = &mut flight.command;
        if self.breaks(Rule::ClaimedByExtend)
            && let Verb::Extend { side, ttl } = command.verb
        {
            command.verb = Verb::Enter { side, ttl, wait: false, stamp: 0 };
        }
        if self.breaks(Rule::SameToken)
            && let Some(belief) = self.clients[flight.client].hub.attachment(flight.lock)
        {
            if std::mem::take(&mut belief.unsure) && command.takes() {
                self.renamed += 1;
                let seed = Seed::from_bytes([200 + self.renamed; 32]);
                let identity = lock_proto::file::Identity::new("build-7", 4242);
                self.ledger.abandon(&belief.token);
                belief.renamed = Some(Token::new(&identity, None, &seed));
            }
            if let Some(token) = &belief.renamed {
                command.token = token.clone();
                belief.token = token.as_str().into();
            }
        }
        flight
    }

    /// The clocks of this world that are not to be trusted go on, or not.
    pub(super) fn shift_clocks(&mut self, before: u64) {
        for client in 0..self.clients.len() {
            let sleeps = self.breaks(Rule::SleeplessClock) && self.entropy.happens(64);
            let shift = if sleeps {
                self.now - before
            } else if self.breaks(Rule::MonotonicClock) && self.entropy.happens(24) {
                2_000_000
            } else {
                0
            };
            let clock = &mut self.clients[client].behind;
            *clock = (*clock + shift).min(self.now);
            self.taken |= shift > 0;
        }
    }

    /// A cancelled call forgets what it has sent.
    pub(super) fn take_back(&mut self, client: usize, lock: LockId) {
        if !self.breaks(Rule::SentIsSent) {
            return;
        }
        let now = self.clients[client].local(self.now);
        let process = &mut self.clients[client];
        let (own, others): (VecDeque<Flight>, VecDeque<Flight>) =
            process.sent.drain(..).partition(|flight| flight.lock == lock);
        process.sent = others;
        for flight in own {
            let fault = Err(lock_proto::Fault::not_sent("the call was cancelled"));
            process.hub.handle_reply(lock, flight.id, fault, now);
            self.ghosts.push(flight);
        }
    }
}
