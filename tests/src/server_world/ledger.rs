//! What a fair server must have done, told from its answers.

use std::collections::{BTreeMap, BTreeSet};

use lock_proto::redis::{CLAIM, Keys, LIVENESS, Reply, Side, Verb};

use super::LIMIT;
use super::client::Flight;
use super::nodes::Nodes;
use crate::redis_model::Value;

/// Who may have the lock, and who waits for it, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Until when each token may have the lock, in milliseconds of the server's clock.
    leases: BTreeMap<String, i64>,
    waiting: Vec<Waiter>,
    /// Until when each token that was given up is refused.
    refused: BTreeMap<String, i64>,
    /// Tokens that nobody goes by any more.
    abandoned: BTreeSet<String>,
    /// Whether everybody waits in one line.
    in_line: bool,
}

#[derive(Debug)]
struct Waiter {
    token: String,
    alive_until: i64,
    /// It was not heard of for so long that it may have lost its place.
    faltered: bool,
}

impl Ledger {
    pub(super) fn new(sides: &[Side]) -> Self {
        Self { in_line: sides == [Side::Exclusive], ..Self::default() }
    }

    /// Somebody goes by another token from now on.
    pub(super) fn abandon(&mut self, token: &str) {
        self.abandoned.insert(token.into());
    }

    /// The server's clock goes back from `now`, in microseconds: what is over stays so.
    pub(super) fn settle(&mut self, now: i64) {
        let now = now / 1_000;
        self.refused.retain(|_, until| now < *until);
        for waiter in &mut self.waiting {
            waiter.faltered |= waiter.alive_until <= now;
        }
    }

    /// Records what a request did; `let_in` are those who were told of a grant, and `before` had
    /// the lock.
    pub(super) fn record(
        &mut self,
        flight: &Flight,
        reply: Reply,
        let_in: &[&str],
        before: Option<&str>,
        nodes: &Nodes,
    ) {
        let now = nodes.now_us() / 1_000;
        let token = flight.command.token.as_str();
        let yes = reply[0] == 1;
        if let Verb::GiveBack | Verb::Leave { .. } = flight.command.verb {
            self.waiting.retain(|waiter| waiter.token != *token);
        }
        if let Verb::Leave { refuse_for: Some(refuse_for), .. } = &flight.command.verb {
            self.refused.insert(token.into(), now + millis(*refuse_for));
        }
        self.let_in(let_in, nodes.now_us());
        match &flight.command.verb {
            Verb::Take { ttl, .. } if yes => self.lease(token, now + millis(*ttl)),
            Verb::Enter { ttl, .. } if yes => {
                self.check_that_it_is_wanted(token, now);
                if before == Some(token) {
                    self.waiting.retain(|waiter| waiter.token != *token);
                } else {
                    self.grant(token, now);
                }
                self.lease(token, now + millis(CLAIM.max(*ttl)));
            }
            Verb::Enter { side, wait, .. } if reply[0] == 0 => {
                self.check_refusal(token, *side, &flight.command.keys, nodes);
                if *wait {
                    self.check_that_it_is_wanted(token, now);
                    self.wait(token, now);
                }
            }
            Verb::Extend { ttl, .. } if yes => self.lease(token, now + millis(*ttl)),
            Verb::GiveBack | Verb::Leave { .. } if yes => {
                self.leases.remove(token);
                self.check_gap(&flight.command.keys, now, nodes);
            }
            Verb::GiveBack | Verb::Leave { .. } => {}
            Verb::Take { .. } | Verb::Enter { .. } | Verb::Extend { .. } | Verb::Mint => {}
            Verb::Vote { .. } | Verb::Keep { .. } | Verb::StepBack { .. } | Verb::Quit { .. } => {}
        }
    }

    /// Records that some are told of a grant, at `now` in microseconds.
    pub(super) fn let_in(&mut self, tokens: &[&str], now: i64) {
        let now = now / 1_000;
        for token in tokens {
            self.grant(token, now);
            self.lease(token, now + millis(CLAIM));
        }
    }

    fn lease(&mut self, token: &str, until: i64) {
        let known = self.leases.entry(token.into()).or_insert(until);
        *known = until.max(*known);
    }

    fn wait(&mut self, token: &str, now: i64) {
        let alive_until = now + millis(LIVENESS);
        match self.waiting.iter_mut().find(|waiter| waiter.token == *token) {
            Some(waiter) => {
                waiter.faltered |= waiter.alive_until <= now;
                waiter.alive_until = alive_until;
            }
            None => {
                self.waiting.push(Waiter { token: token.into(), alive_until, faltered: false });
            }
        }
    }

    /// R14: a question that was overtaken by a cancel comes to nothing.
    fn check_that_it_is_wanted(&self, token: &str, now: i64) {
        let refused = self.refused.get(token).is_some_and(|until| now < *until);
        assert!(!refused, "refusal: {token} was given up, and is let in");
    }

    /// R16: whoever came first, and was never silent for too long, is first.
    fn grant(&mut self, token: &str, now: i64) {
        let place = self.waiting.iter().position(|waiter| waiter.token == *token);
        let before = &self.waiting[..place.unwrap_or(self.waiting.len())];
        let passed = before.iter().find(|it| it.alive_until > now && !it.faltered);
        assert!(passed.is_none() || !self.in_line, "order: {token} before {passed:?}");
        self.waiting.retain(|waiter| waiter.token != *token);
    }

    /// R16: nobody can come in between while a lock changes hands.
    fn check_gap(&self, keys: &Keys, now: i64, nodes: &Nodes) {
        let free = nodes.entry(keys.lock()).is_none();
        let next = self.waiting.iter().find(|it| it.alive_until > now && !it.faltered);
        assert!(
            next.is_none() || !free || !self.in_line,
            "order: the lock is free, and {next:?} waits"
        );
    }

    /// Whoever is refused is refused for somebody who is there.
    fn check_refusal(&self, token: &str, side: Side, keys: &Keys, nodes: &Nodes) {
        let now = nodes.now_us() / 1_000;
        // Takers of permits live to a fraction of a millisecond.
        let lives = |it: &&Waiter| it.token != *token && it.alive_until + 1 >= now;
        if self.waiting.iter().any(|waiter| lives(&waiter)) {
            return;
        }
        let there = nodes.entry(keys.lock()).map(|entry| &entry.value);
        let readers = nodes.entry(keys.readers()).map(|entry| &entry.value);
        let here = |holder: &str| {
            let known = self.leases.get(holder).is_some_and(|until| *until >= now);
            known && !self.abandoned.contains(holder)
        };
        let held = match (side, there, readers) {
            (Side::Permits { count, .. }, Some(Value::Sorted(permits)), _) => {
                let owner = |permit: &str| permit.split(':').next().is_some_and(here);
                let out = permits.keys().filter(|permit| owner(permit)).count();
                out + count as usize > LIMIT as usize
            }
            (_, Some(Value::Text(holder)), _) if &**holder == "somebody" => true,
            (_, Some(Value::Text(holder)), Some(Value::Sorted(members)))
                if &**holder == "readers" =>
            {
                members.keys().any(|member| here(member))
            }
            (_, Some(Value::Text(holder)), _) => here(holder),
            (_, None | Some(_), _) => false,
        };
        assert!(held, "liveness: {token} is refused for {there:?}, and nobody is there");
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    millis.try_into().expect("a lease is short")
}
