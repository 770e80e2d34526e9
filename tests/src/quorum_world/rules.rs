//! What can be wrong between clients and servers that vote.

use std::collections::VecDeque;

use lock_proto::redis::{Command, Reply, Verb};
use lock_proto::{Fault, LockId};

use super::faults::Trouble;
use super::servers::Flight;
use super::{EPOCH, LATENESS, Rule, Setting, World};

impl World<'_> {
    pub(super) fn breaks(&self, rule: Rule) -> bool {
        self.setting == Setting::Broken(rule)
    }

    /// Whether a server may forget.
    pub(super) fn forgets(&self) -> bool {
        match self.setting {
            Setting::Forgetful | Setting::Agreed => true,
            Setting::Broken(
                Rule::ServersApart | Rule::SpareServer | Rule::SpareGrant | Rule::NoFastClock,
            ) => true,
            Setting::Broken(_) => false,
            Setting::Faithful | Setting::Wild => false,
        }
    }

    /// Whether whoever asks after a hold was over has the greater ballot because its clock says so.
    pub(super) fn are_clocks_to_order(&self) -> bool {
        self.setting == Setting::Agreed || self.breaks(Rule::NoFastClock)
    }

    /// A client's wall clock.
    pub(super) fn wall(&mut self, client: usize) -> u64 {
        if self.are_clocks_to_order() {
            let fast = self.breaks(Rule::NoFastClock) && client == 0;
            return EPOCH + self.now + if fast { 1_000_000_000 } else { 0 };
        }
        if self.has(Trouble::StillClocks) {
            return EPOCH;
        }
        let jump = if self.has(Trouble::WallJumps) { self.entropy.pick(3) as u64 } else { 0 };
        EPOCH + self.now - LATENESS[client].min(self.now) + jump * 3_600_000_000
    }

    /// The clocks that stop while their machines sleep do so, now and then.
    pub(super) fn stop_clocks(&mut self, before: u64) {
        for client in 0..self.clients.len() {
            if self.breaks(Rule::SleeplessClock) && self.entropy.happens(64) {
                self.clients[client].behind += self.now - before;
            }
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
