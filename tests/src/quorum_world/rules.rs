//! What can be wrong between clients and servers that vote, and what holders write to.

use std::collections::VecDeque;

use lock_proto::redis::{Command, Reply, Verb};
use lock_proto::{Fault, LockId};

use super::servers::Flight;
use super::{EPOCH, LATENESS, Rule, Setting, World};
use crate::storage::HoldNumber;

/// The fault that only some runs have.
const PAUSES: usize = 0;
/// Wall clocks are set, apart from those that leases are told by.
const WALL_JUMPS: usize = 1;

impl World<'_> {
    pub(super) fn breaks(&self, rule: Rule) -> bool {
        self.setting == Setting::Broken(rule)
    }

    /// Whether a server may forget.
    pub(super) fn forgets(&self) -> bool {
        match self.setting {
            Setting::Forgetful => true,
            Setting::Broken(rule) => {
                matches!(rule, Rule::ServersApart | Rule::SpareServer | Rule::SpareGrant)
            }
            Setting::Faithful | Setting::Wild => false,
        }
    }

    /// A client's wall clock.
    pub(super) fn wall(&mut self, client: usize) -> u64 {
        let jump = if self.swarm.has(WALL_JUMPS) { self.entropy.pick(3) as u64 } else { 0 };
        EPOCH + self.now - LATENESS[client].min(self.now) + jump * 3_600_000_000
    }

    /// A client stands still, and goes on where it was.
    pub(super) fn pause(&mut self, client: usize) {
        if self.swarm.has(PAUSES) {
            let lengths = [40_000, 300_000, 2_000_000, 10_000_000];
            let length = lengths[self.entropy.pick(lengths.len())];
            self.clients[client].paused_until = self.now + length;
            let at = self.since_the_beginning();
            self.trace.fault(at, || format!("client {client} stands still: {} ms", length / 1_000));
            self.trace.saw("a client stood still");
        }
    }

    pub(super) fn is_paused(&self, client: usize) -> bool {
        self.now < self.clients[client].paused_until
    }

    /// The clocks that stop while their machines sleep do so, now and then.
    pub(super) fn stop_clocks(&mut self, before: u64) {
        for client in 0..self.clients.len() {
            if self.breaks(Rule::SleeplessClock) && self.entropy.happens(64) {
                self.clients[client].behind += self.now - before;
            }
        }
    }

    /// Somebody writes to what its lock is for, without a look at whether it still has the lock; or
    /// what was written arrives.
    pub(super) fn write(&mut self, client: usize) {
        let way = self.storage.on_the_way();
        if way > 0 && self.entropy.pick(2) == 0 {
            let chosen = self.entropy.pick(way);
            return self.storage.arrive(chosen, self.trace);
        }
        let hub = &mut self.clients[client].hub;
        let locks: Vec<LockId> = hub.locks().collect();
        let holds = locks.into_iter().filter_map(|lock| hub.attachment(lock)?.hold);
        let holds: Vec<HoldNumber> = holds.collect();
        if !holds.is_empty() {
            self.storage.send(holds[self.entropy.pick(holds.len())]);
        }
    }

    /// A cancelled call forgets what it has sent.
    pub(super) fn take_back(&mut self, client: usize, lock: LockId) {
        if !self.breaks(Rule::SentIsSent) {
            return;
        }
        let now = self.clients[client].local(self.now);
        for server in 0..self.servers.len() {
            let process = &mut self.clients[client];
            let sent = &mut process.links[server].sent;
            let (own, others): (VecDeque<Flight>, VecDeque<Flight>) =
                sent.drain(..).partition(|flight| flight.lock == lock);
            *sent = others;
            for flight in own {
                let fault = Err(Fault::not_sent("the call was cancelled"));
                process.hub.handle_reply(lock, flight.id, fault, now);
                self.ghosts.push(flight);
            }
        }
    }

    /// What a broken driver says without asking the server.
    pub(super) fn made_up(&mut self, flight: &Flight, is_down: bool) -> Option<Reply> {
        let Setting::Broken(rule) = self.setting else { return None };
        match (rule, &flight.command.verb) {
            (Rule::LostVoteGoesBack, Verb::StepBack { .. }) => Some([1, 0, 0]),
            (Rule::SilenceIsNoYes, Verb::Vote { ballot, .. }) if is_down => {
                Some([1, ballot.cast_signed(), ballot.cast_signed()])
            }
            (Rule::FailedExtensionKeeps, Verb::Keep { side, .. }) if is_down => {
                let verb = Verb::Quit { side: *side, refuse_for: None };
                let Command { keys, token, .. } = &flight.command;
                for (server, number) in self.servers.iter_mut().zip(0..) {
                    server.set_clock(self.now);
                    let quit = Command::new(number, keys, token, verb.clone());
                    // What the server says of it is nobody's answer.
                    drop(server.store.execute(&quit, &flight.client.to_string()));
                }
                None
            }
            (_, _) => None,
        }
    }

    /// Notes the ballot of a vote that was given.
    pub(super) fn note_yes(&mut self, flight: &Flight, reply: Reply) {
        let belief = self.clients[flight.client].hub.attachment(flight.lock);
        if let (Some(belief), [1, ballot, _]) = (belief, reply) {
            belief.yeses.push(ballot.unsigned_abs());
        }
    }
}
