//! The slot of the lock moves, and masters are replaced.

use super::client::State;
use super::nodes::{Forgets, MASTERS, Progress};
use super::rules::Habit;
use super::{CLIENTS, Setting, World};

/// For how long a master that can't reach the others serves on.
const NODE_TIMEOUT: u64 = 1_500_000;

impl World<'_> {
    /// The slot moves one step on.
    pub(super) fn reshard(&mut self) {
        let (next, choice) = (self.entropy.pick(2), self.entropy.pick(4));
        self.reshard_by(next, choice);
    }

    fn reshard_by(&mut self, next: usize, choice: usize) {
        let before = self.nodes.reshard;
        let progress = self.nodes.go_on(next, choice, self.now);
        self.trace.event();
        self.trace.note(|| format!("the slot: {progress:?}"));
        let at = self.since_the_beginning();
        match progress {
            Progress::Opened => self.trace.fault(at, || "the slot begins to move".into()),
            Progress::Moved(_) => {
                if self.nodes.entry(self.keys.waiting()).is_some() {
                    self.trace.saw("the slot moves while somebody waits");
                }
            }
            Progress::Ended => {
                self.trace.fault(at, || "the slot has moved".into());
                let Some(reshard) = before else { return };
                if self.is_held_since(reshard.since) {
                    self.trace.saw("a lock is held across a whole move");
                }
                if reshard.upset {
                    self.trace.saw("a master is replaced while the slot moves");
                }
            }
            Progress::Known => {}
        }
    }

    /// A master dies, or can't reach the others any more, and its replica takes over.
    pub(super) fn fail_over(&mut self) {
        let number = self.entropy.pick(MASTERS);
        let forgetful = self.setting == Setting::ForgetfulCluster;
        let (writes, the_move) = (self.entropy.pick(2) == 1, self.entropy.pick(2) == 1);
        let alone = forgetful && self.entropy.pick(2) == 1;
        let forgets = Forgets {
            writes: forgetful && writes,
            the_move: forgetful && the_move || self.has_habit(Habit::ForgottenMove),
            alone_until: alone.then_some(self.now + NODE_TIMEOUT),
        };
        let Some(former) = self.nodes.fail_over(number, forgets) else { return };
        self.trace.saw("a master is replaced");
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("master {former} is replaced"));
        self.taken = true;
        if !alone {
            self.lose_requests_to(former);
        }
    }

    /// Nobody will carry out what was sent to a node that is gone.
    fn lose_requests_to(&mut self, node: usize) {
        for client in 0..CLIENTS {
            if self.clients[client].sent.iter().any(|flight| flight.way.node == node) {
                self.cut(client);
            }
        }
        self.ghosts.retain(|flight| flight.way.node != node);
    }

    /// Whether somebody has had the lock since then.
    fn is_held_since(&mut self, then: u64) -> bool {
        let mut held = false;
        for client in &mut self.clients {
            for lock in client.hub.locks().collect::<Vec<_>>() {
                let Some(belief) = client.hub.attachment(lock) else { continue };
                let came = belief.came.is_some_and(|(at, _)| at <= then);
                held |= came && matches!(belief.state, State::Held { .. });
            }
        }
        held
    }

    /// What moves has moved, and everybody is there.
    pub(super) fn make_whole(&mut self) {
        if !self.setting.is_cluster() {
            return;
        }
        self.nodes.heal();
        while self.nodes.reshard.is_some() {
            self.reshard_by(0, 0);
        }
        (0..MASTERS).for_each(|master| self.nodes.gossip(master));
    }
}
