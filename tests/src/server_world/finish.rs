//! The end of a run: nothing more goes wrong, so everything must come right.

use lock_proto::LockId;

use super::client::State;
use super::{CLIENTS, World};
use crate::trace::Happening;

/// More rounds than any waiter needs.
const ROUNDS: usize = 4_000;
/// Longer than anything of ours may stay.
const AFTERWARDS: u64 = 120_000_000;

impl World<'_> {
    /// Lets everybody be served in turn, and then looks at what is left.
    pub(super) fn finish(&mut self) {
        self.trace.note(|| "the end begins".into());
        for client in &mut self.clients {
            client.paused_until = 0;
            (client.requests_from, client.answers_from) = (0, 0);
        }
        self.make_whole();
        for _ in 0..ROUNDS {
            if self.clients.iter().all(|client| client.hub.locks().next().is_none()) {
                return self.nothing_is_left();
            }
            self.round();
        }
        panic!("liveness: somebody waits for ever");
    }

    fn round(&mut self) {
        while !self.ghosts.is_empty() {
            self.ghost_arrives();
        }
        for (client, text) in std::mem::take(&mut self.messages) {
            self.deliver_message(client, &text);
        }
        for client in 0..CLIENTS {
            while !self.clients[client].sent.is_empty() || !self.clients[client].answers.is_empty()
            {
                self.execute_next(client);
                self.deliver_next(client);
                self.check();
            }
            self.release_held(client);
        }
        let quiet =
            self.messages.is_empty() && self.clients.iter().all(|client| client.sent.is_empty());
        let next = self.clients.iter().filter_map(|client| client.deadline(self.now)).min();
        if quiet && let Some(next) = next {
            self.pass_until(next.max(self.now + 1));
        }
        self.check();
    }

    fn release_held(&mut self, client: usize) {
        let now = self.clients[client].local(self.now);
        for lock in self.clients[client].hub.locks().collect::<Vec<LockId>>() {
            // Whoever stood behind one that leaves may be gone by now.
            let Some(belief) = self.clients[client].hub.attachment(lock) else { continue };
            if let State::Held { .. } = belief.state {
                if belief.patient {
                    self.trace.saw("whoever waits for ever is served");
                }
                self.note_end(client, lock, true);
                let at = self.since_the_beginning();
                self.trace.happened(at, || Happening::LetGo { client, lock });
                self.clients[client].hub.release(lock, now);
                self.settle(client);
            }
        }
    }

    fn nothing_is_left(&mut self) {
        self.now += AFTERWARDS;
        self.nodes.set_clock(self.epoch + self.now);
        let fence = self.keys.fence();
        let left: Vec<_> =
            self.nodes.entries().map(|(key, _)| key).filter(|key| ***key != *fence).collect();
        assert!(left.is_empty(), "leak: {left:?} is left behind");
    }
}
