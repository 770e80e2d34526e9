//! Passing a lock on within its process, without asking the server.

use core::cmp::Ordering;
use core::time::Duration;

use super::call::Side;
use super::keys::Keys;
use super::options::Lease;
use super::phase::{Dirt, Phase, Wish};
use super::server_lock::ServerLock;
use crate::lease::Hold;
use crate::time::Span;
use crate::{AcquireOptions, Event, Instant};

/// How many fencing tokens a script mints for one hold: the first is the holder's, and the others
/// are for those to whom it passes the lock on. As `common.lua` has it.
pub const FENCES: u32 = 32;
/// A lock that came from the server longer ago than this goes back to it, where others may wait.
const PASS_WITHIN: Duration = Duration::from_millis(10);

/// What acquisitions of one process must have in common to pass a lock on to each other.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// Of the keys, at hand: most comparisons end with it.
    hash: u64,
    keys: Keys,
    ttl: Span,
    cadence: Option<Span>,
}

/// Since when a process has held a lock, and the fences that are left of those that came with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenure {
    pub(super) fence: u64,
    since: Instant,
    spare: u32,
}

/// What a lock that leaves would leave to the next, if nothing was sent about it yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Legacy {
    Nothing,
    /// A place in the server's queue; the next refresh of it is due then.
    Place {
        ask_at: Instant,
    },
    Hold {
        valid_until: Option<Instant>,
        tenure: Tenure,
    },
}

impl Cohort {
    pub(super) fn new(keys: &Keys, lease: &Lease) -> Self {
        let ttl = lease.ttl().into();
        Self { hash: keys.hash(), keys: keys.clone(), ttl, cadence: lease.cadence }
    }

    /// The keys of the lock.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl Tenure {
    /// A hold with one fence.
    pub(super) fn new(fence: u64, now: Instant) -> Self {
        Self { fence, since: now, spare: 0 }
    }

    /// A hold whose fences a script has minted.
    pub(super) fn granted(fence: u64, now: Instant) -> Self {
        Self { fence, since: now, spare: FENCES - 1 }
    }

    /// The next holder's, unless it is the server's turn.
    fn passed(self, fencing: bool, now: Instant) -> Option<Self> {
        if now.since(self.since) > PASS_WITHIN {
            return None;
        }
        if !fencing {
            return Some(self);
        }
        Some(Self { fence: self.fence + 1, spare: self.spare.checked_sub(1)?, ..self })
    }
}

impl ServerLock {
    /// The same lock, which others of its process may stand behind, if it is one for which that
    /// makes no difference to anybody else.
    #[must_use]
    pub fn leading(mut self, options: &AcquireOptions) -> Self {
        self.leads = self.budget.waits()
            && self.side == Side::Exclusive
            && options.owner().is_none()
            && self.lease.renewals.is_none()
            && self.lease.max_hold.is_none();
        self
    }

    /// Waits for another of its process, and asks for nothing meanwhile.
    pub(super) fn wait_behind(&mut self) {
        if let Phase::Wanting(wish) = &self.phase {
            self.phase = Phase::Behind(wish.give_up_at);
            self.withdraw();
        }
    }

    /// Goes on from where `before` was, which leaves; otherwise asks the server for itself.
    pub(super) fn take_over(&mut self, before: &mut Self, now: Instant) -> bool {
        let Phase::Behind(give_up_at) = self.phase else { return false };
        self.failing = before.failing.take();
        let mut wish = Wish { give_up_at, ask_at: now, faults: 0 };
        let legacy = before.bequeath(self, now);
        match legacy {
            Legacy::Hold { valid_until, tenure } => {
                self.hold(Hold::begin(&self.lease.terms(), valid_until, now), tenure);
            }
            Legacy::Place { ask_at } => {
                wish.ask_at = ask_at;
                self.phase = Phase::Wanting(wish);
            }
            Legacy::Nothing => self.phase = Phase::Wanting(wish),
        }
        self.decide(now);
        !matches!(legacy, Legacy::Nothing)
    }

    /// Gives `heir` what stands on the server, as long as no release of it was handed out (R1) and
    /// no answer about it is to come.
    fn bequeath(&mut self, heir: &mut Self, now: Instant) -> Legacy {
        let Phase::Leaving(leaving) = &mut self.phase else { return Legacy::Nothing };
        if self.asked.is_some() {
            return Legacy::Nothing;
        }
        let legacy = match leaving.legacy {
            Legacy::Hold { valid_until, tenure } => {
                let lasts = valid_until.is_some_and(|end| now + self.lease.min_validity() <= end);
                match tenure.passed(self.fencing, now).filter(|_| lasts) {
                    Some(tenure) => Legacy::Hold { valid_until, tenure },
                    None => Legacy::Nothing,
                }
            }
            legacy @ (Legacy::Place { .. } | Legacy::Nothing) => legacy,
        };
        if matches!(legacy, Legacy::Nothing) || !leaving.call_off() {
            return Legacy::Nothing;
        }
        core::mem::swap(&mut self.token, &mut heir.token);
        core::mem::swap(&mut self.refreshes, &mut heir.refreshes);
        heir.dirty = core::mem::replace(&mut self.dirty, Dirt::None);
        self.events.push(Event::Closed { clean: true });
        self.phase = Phase::Closed;
        legacy
    }
}

impl Ord for Cohort {
    fn cmp(&self, other: &Self) -> Ordering {
        let terms = |cohort: &Self| (cohort.ttl, cohort.cadence);
        self.hash
            .cmp(&other.hash)
            .then_with(|| self.keys.lock().cmp(other.keys.lock()))
            .then_with(|| terms(self).cmp(&terms(other)))
    }
}

impl PartialOrd for Cohort {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cohort {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Cohort {}
