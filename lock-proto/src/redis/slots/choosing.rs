//! Choosing the slots.

use core::time::Duration;

use super::parts::{Part, Role, State};
use super::{Phase, Slots};
use crate::Instant;

/// How many slots are tried before a taker waits at some of them.
const SCAN: u32 = 64;
/// At how many slots a taker waits at once.
const WATCHED: u32 = 16;
/// How long it waits at the same slots if there are more.
const WATCH: Duration = Duration::from_secs(2);

impl Slots {
    pub(super) fn choose(&mut self, now: Instant) {
        let (held, most) = (self.parts.held(), self.most_tried());
        let until = self.parts.valid_until().unwrap_or(Instant::FAR_FUTURE);
        let Phase::Choosing(choice) = &mut self.phase else { return };
        if held >= self.count {
            if now + self.lease.min_validity() <= until {
                return self.acquired(until, now);
            }
            // Some were got long before the others.
            if self.parts.all_prolonged() {
                choice.extend_at = now;
            }
        }
        if now >= self.give_up_at && self.budget.waits() {
            let error = self.trouble.take().unwrap_or_else(|| self.budget.timed_out());
            return self.fail(error, now);
        }
        if now >= choice.extend_at {
            choice.extend_at = now + self.lease.ttl() / 3;
            self.parts.extend(self.lease.ttl(), now);
        }
        if held >= self.count {
            return;
        }
        match choice.watch_until {
            None => self.scan(now),
            Some(until) if now >= until || self.parts.wanted() == 0 => {
                choice.watch_until = None;
                choice.tried = most.saturating_sub(WATCHED);
                self.parts.release(now, is_wanted_slot);
                self.scan(now);
            }
            Some(_) => {}
        }
    }

    /// Tries as many slots at once as are missing.
    fn scan(&mut self, now: Instant) {
        let missing = self.count - self.parts.held();
        let most = self.most_tried();
        let Phase::Choosing(choice) = &mut self.phase else { return };
        while choice.tried < most && self.parts.wanted() < missing {
            choice.tried += 1;
            let slot = self.next;
            self.next = if slot + 1 == self.limit { 0 } else { slot + 1 };
            if !self.parts.is_at(slot)
                && let Err(error) = self.parts.want(Role::Slot(slot), Some(Duration::ZERO), now)
            {
                return self.fail(error, now);
            }
        }
        if self.parts.wanted() > 0 {
            return;
        }
        if self.budget.waits() {
            self.watch(now);
        } else {
            let error = self.trouble.take().unwrap_or_else(|| self.budget.timed_out());
            self.fail(error, now);
        }
    }

    fn most_tried(&self) -> u32 {
        self.limit.min(SCAN.max(u32::try_from(self.count).unwrap_or(SCAN) * 2))
    }

    /// Waits at some slots.
    fn watch(&mut self, now: Instant) {
        let Phase::Choosing(choice) = &mut self.phase else { return };
        choice.watch_until = Some(now + self.jitter.between(WATCH / 2, WATCH));
        for _ in 0..self.limit.min(WATCHED.max(u32::try_from(self.count).unwrap_or(WATCHED))) {
            let slot = self.next;
            self.next = if slot + 1 == self.limit { 0 } else { slot + 1 };
            if !self.parts.is_at(slot)
                && let Err(error) = self.parts.want(Role::Slot(slot), None, now)
            {
                return self.fail(error, now);
            }
        }
        if self.limit <= WATCHED {
            choice.watch_until = Some(Instant::FAR_FUTURE);
        }
    }
}

fn is_wanted_slot(part: &Part) -> bool {
    matches!((part.role, part.state), (Role::Slot(_), State::Wanted))
}
