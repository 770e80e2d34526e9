//! The end of a run: nothing more goes wrong, so everything must come right.

use super::World;
use super::server::Wire;

/// More rounds than any waiter needs.
const ROUNDS: usize = 20_000;
/// Long enough for every idle session to be closed.
const AFTERWARDS: u64 = 200_000_000;

impl World<'_> {
    /// Lets everybody be served in turn, and then looks at what is left.
    pub(super) fn finish(&mut self) {
        self.trace.note(|| "the end begins".into());
        self.up = true;
        self.rounds("liveness: somebody waits for ever", |world| {
            world.clients.iter().all(|client| client.hub.locks().next().is_none())
        });
        while self.move_any() {
            self.check();
        }
        assert_eq!(self.server.rows(), [], "leak: nobody wants it");
        self.now += AFTERWARDS;
        self.rounds("leak: a session that nobody uses", |world| {
            world.clients.iter().all(|client| client.office.sessions.ids().next().is_none())
        });
        while self.move_any() {}
        let lives = |wire: &&Wire| wire.backend.is_some();
        assert_eq!(self.wires.values().filter(lives).count(), 0, "leak: a session");
    }

    fn rounds(&mut self, what: &str, is_over: impl Fn(&Self) -> bool) {
        for _ in 0..ROUNDS {
            if is_over(self) {
                return;
            }
            if !self.move_any() && !self.release_held() {
                let next = self.next_deadline().unwrap_or(self.now);
                self.pass_until(next.max(self.now + 1));
                self.expire();
            }
            self.check();
        }
        panic!("{what}");
    }
}
