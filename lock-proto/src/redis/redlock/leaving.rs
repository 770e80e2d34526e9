//! Giving back what may be ours on several servers.

use core::time::Duration;

use super::servers::{Mark, Server};
use super::{Phase, RedLock};
use crate::redis::quorum::majority;
use crate::{Deadline, Event, Instant, Timer};

/// Then what remains is left to its lease.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// A release that failed is tried again after this, and after twice as long each further time.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct Leaving {
    give_up_at: Instant,
    /// Somebody waits until others can have the lock, and has not been told so.
    awaited: bool,
}

impl RedLock {
    pub(super) fn leave(&mut self, awaited: bool, now: Instant) {
        self.servers.discard_unsent();
        for index in 0..self.servers.len() {
            self.servers.get_mut(index).quit_at = now;
        }
        self.phase = Phase::Leaving(Leaving { give_up_at: now + LEAVE_WITHIN, awaited });
        self.decide_leaving(now);
    }

    pub(super) fn decide_leaving(&mut self, now: Instant) {
        let Phase::Leaving(leaving) = &self.phase else { return };
        let give_up_at = leaving.give_up_at;
        for index in 0..self.servers.len() {
            let server = self.servers.get_mut(index);
            let due = server.quit_at <= now && now < give_up_at;
            if server.is_idle() && !server.is_done() && due {
                self.servers.ask_to_quit(index, self.side, give_up_at, now);
            }
        }
        let done = self.servers.all().all(|(_, server)| server.is_idle() && server.is_done());
        if done || now >= give_up_at {
            let spotless = |server: &Server| {
                server.is_idle() && server.mark() == Mark::Nothing && !server.is_late(now)
            };
            let clean = self.servers.all().all(|(_, server)| spotless(server));
            self.events.push(Event::Closed { clean });
            self.phase = Phase::Closed;
        } else {
            self.tell_of_release();
        }
    }

    /// A vote that stays on a minority hinders nobody yet, but would if another server failed.
    fn tell_of_release(&mut self) {
        let free = self.is_free();
        if let Phase::Leaving(leaving) = &mut self.phase
            && free
            && core::mem::take(&mut leaving.awaited)
        {
            self.events.push(Event::Released);
        }
    }

    pub(super) fn quit_answered(&mut self, index: usize, now: Instant) {
        let server = self.servers.get_mut(index);
        if server.quit_at < Instant::FAR_FUTURE {
            server.quit_at = now + PAUSE * (1 << server.quits.saturating_sub(1).min(5));
        }
    }

    pub(super) fn leaving_deadline(&self, leaving: &Leaving) -> Deadline {
        let retries =
            self.servers.all().filter(|(_, server)| server.is_idle() && !server.is_done());
        let retry_at = retries.map(|(_, server)| server.quit_at).min();
        let ends = leaving.give_up_at;
        Deadline::new(retry_at.map_or(ends, |at| at.min(ends)), Timer::Retry)
    }

    /// Whether a majority has nothing of ours, so that others can have the lock.
    fn is_free(&self) -> bool {
        let free = |server: &Server| server.is_idle() && server.mark() == Mark::Nothing;
        let count = self.servers.all().filter(|(_, server)| free(server)).count();
        count >= majority(self.servers.len())
    }
}

impl Server {
    /// Whether nothing more is to be asked of it.
    fn is_done(&self) -> bool {
        self.mark() == Mark::Nothing || self.quit_at == Instant::FAR_FUTURE
    }
}
