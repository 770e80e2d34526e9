//! How long a hold lasts: the arithmetic that all backends share.

use core::time::Duration;

use crate::{Deadline, Instant, LossReason, Timer};

/// What was agreed about a hold, from [`AcquireOptions::terms`](crate::AcquireOptions::terms).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// The lease; `None` where the lock lasts as long as its holder.
    pub ttl: Option<Duration>,
    /// How often the lease is prolonged; `None` is never.
    pub cadence: Option<Duration>,
    /// How often it may be prolonged; `None` is without end.
    pub renewals: Option<u32>,
    /// The longest hold; `None` is without end.
    pub max_hold: Option<Duration>,
}

/// One hold in progress.
///
/// `renew_at < valid_until` whenever both are set.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    terms: Terms,
    valid_until: Option<Instant>,
    renew_at: Option<Instant>,
    hold_until: Option<Instant>,
}

/// What a hold needs at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Prolong the lease by its ttl.
    Renewal(Duration),
    Loss(LossReason),
}

impl Hold {
    /// A hold that began at `now` on a lease until `valid_until`.
    pub(crate) fn begin(terms: Terms, valid_until: Option<Instant>, now: Instant) -> Self {
        let hold_until = terms.max_hold.map(|limit| now + limit);
        let mut hold = Self { terms, valid_until, renew_at: None, hold_until };
        hold.plan_renewal(now);
        hold
    }

    pub(crate) fn valid_until(&self) -> Option<Instant> {
        self.valid_until
    }

    /// What is to be done at `now`; a renewal is due once, and then awaits [`Hold::prolong`] or
    /// [`Hold::renewal_failed`].
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if self.hold_until.is_some_and(|at| now >= at) {
            return Due::Loss(LossReason::HoldLimit);
        }
        if self.valid_until.is_some_and(|at| now >= at) {
            return Due::Loss(LossReason::Expired);
        }
        if self.renew_at.is_some_and(|at| now >= at) {
            self.renew_at = None;
            return self.terms.ttl.map_or(Due::Nothing, Due::Renewal);
        }
        Due::Nothing
    }

    /// The lease was prolonged until `valid_until`, as answered at `now`. Never shortens it.
    pub(crate) fn prolong(&mut self, valid_until: Option<Instant>, automatic: bool, now: Instant) {
        self.valid_until = match (self.valid_until, valid_until) {
            (Some(old), Some(new)) => Some(old.max(new)),
            (None, _) | (_, None) => None,
        };
        if automatic && let Some(left) = &mut self.terms.renewals {
            *left = left.saturating_sub(1);
        }
        self.plan_renewal(now);
    }

    /// The lease was not prolonged, as far as anybody knows at `now`.
    pub(crate) fn renewal_failed(&mut self, now: Instant) {
        self.renew_at = self.cadence().map(|cadence| now + cadence);
        self.keep_renewal_within_lease();
    }

    /// When time next matters to the hold.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        [
            self.hold_until.map(|at| Deadline::new(at, Timer::HoldLimit)),
            self.valid_until.map(|at| Deadline::new(at, Timer::Expiry)),
            self.renew_at.map(|at| Deadline::new(at, Timer::Renewal)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A cadence from `now`, but never later than a cadence into the last lease of full length: a
    /// grant may have been long on its way, and an extension by hand may be shorter than the ttl.
    fn plan_renewal(&mut self, now: Instant) {
        self.renew_at = self.cadence().zip(self.terms.ttl).zip(self.valid_until).map(
            |((cadence, ttl), end)| {
                let rest = u64::try_from((ttl - cadence).as_nanos()).unwrap_or(u64::MAX);
                let latest = Instant::from_nanos(end.as_nanos().saturating_sub(rest));
                (now + cadence).min(latest).max(now)
            },
        );
        self.keep_renewal_within_lease();
    }

    fn cadence(&self) -> Option<Duration> {
        self.terms.cadence.filter(|_| self.terms.renewals != Some(0))
    }

    fn keep_renewal_within_lease(&mut self) {
        let end = self.valid_until;
        self.renew_at = self.renew_at.filter(|at| end.is_some_and(|end| *at < end));
    }
}
