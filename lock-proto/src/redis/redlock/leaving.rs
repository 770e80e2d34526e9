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

#[derive(Debug)]
pub(super) struct Leaving {
    give_up_at: Instant,
    /// Somebody waits until it is over: what a majority has forgotten is free.
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
        let free = self.is_free();
        for index in 0..self.servers.len() {
            let server = self.servers.get_mut(index);
            if server.is_idle() && !server.is_done(free) && now >= server.quit_at {
                self.servers.ask_to_quit(index, self.side, give_up_at, now);
            }
        }
        let done = self.servers.all().all(|(_, server)| server.is_idle() && server.is_done(free));
        if done || now >= self.leaving_ends() {
            let spotless = |server: &Server| {
                server.is_idle() && server.mark() == Mark::Nothing && !server.is_late(now)
            };
            let clean = self.servers.all().all(|(_, server)| spotless(server));
            self.events.push(Event::Closed { clean });
            self.phase = Phase::Closed;
        }
    }

    pub(super) fn quit_answered(&mut self, index: usize, now: Instant) {
        let server = self.servers.get_mut(index);
        if server.quit_at < Instant::FAR_FUTURE {
            server.quit_at = now + PAUSE * (1 << server.quits.saturating_sub(1).min(5));
        }
    }

    pub(super) fn leaving_deadline(&self, leaving: &Leaving) -> Deadline {
        let free = self.is_free();
        let retries =
            self.servers.all().filter(|(_, server)| server.is_idle() && !server.is_done(free));
        let retry_at = retries.map(|(_, server)| server.quit_at).min();
        let ends = self.leaving_ends().min(leaving.give_up_at);
        Deadline::new(retry_at.map_or(ends, |at| at.min(ends)), Timer::Retry)
    }

    /// Whether a majority has nothing of ours, so that others can have the lock.
    fn is_free(&self) -> bool {
        let free = |server: &Server| server.is_idle() && server.mark() == Mark::Nothing;
        let count = self.servers.all().filter(|(_, server)| free(server)).count();
        count >= majority(self.servers.len())
    }

    /// When to give up on those that have not answered.
    fn leaving_ends(&self) -> Instant {
        let Phase::Leaving(leaving) = &self.phase else { return Instant::FAR_FUTURE };
        let owed = self.servers.all().filter_map(|(_, server)| server.answers_by()).max();
        match owed {
            Some(at) if leaving.awaited && self.is_free() => at.min(leaving.give_up_at),
            Some(_) | None => leaving.give_up_at,
        }
    }
}

impl Server {
    /// Whether nothing more is to be asked of it; `free`: the lock is free without it.
    fn is_done(&self, free: bool) -> bool {
        let given_up = self.quit_at == Instant::FAR_FUTURE || (free && self.quits > 0);
        self.mark() == Mark::Nothing || given_up
    }
}
