//! How long a hold lasts: the arithmetic that all backends share.

use core::time::Duration;

use crate::time::{Span, earlier};
use crate::{Deadline, Instant, LossReason, Timer};

/// A renewal that failed is asked for again this much sooner than the next was due.
const RETRIES: u32 = 4;
/// But not sooner than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Whoever was handed a lock claims its full length after this, if it is still held, and again
/// after each time that it failed: most holds are over sooner and need not.
pub(crate) const CLAIM_PAUSE: Duration = Duration::from_millis(100);

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

/// One hold in progress. What is planned for later than its end never comes.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    ttl: Option<Span>,
    cadence: Option<Span>,
    /// How often the lease may still be prolonged.
    renewals: Option<u32>,
    valid_until: Option<Instant>,
    renew_at: Option<Instant>,
    warn_at: Option<Instant>,
    hold_until: Option<Instant>,
    /// The lease is that of a hand-over: its full length is yet to be claimed.
    claiming: bool,
}

/// What a hold needs at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Prolong the lease by its ttl.
    Renewal(Duration),
    /// The lease is about to run out.
    Warning,
    Loss(LossReason),
}

impl Hold {
    /// A hold that began at `now` on a lease until `valid_until`.
    #[inline]
    pub(crate) fn begin(terms: &Terms, valid_until: Option<Instant>, now: Instant) -> Self {
        let hold_until = terms.max_hold.map(|limit| now + limit);
        let mut hold = Self {
            ttl: terms.ttl.map(Span::from),
            cadence: terms.cadence.map(Span::from),
            renewals: terms.renewals,
            valid_until,
            renew_at: None,
            warn_at: None,
            hold_until,
            claiming: false,
        };
        if hold.valid_until.is_some() {
            hold.plan(now);
        }
        hold
    }

    /// A hold that was handed over at `now`, until `valid_until`: the full lease is to be claimed
    /// soon, which no limit on renewals forbids.
    pub(crate) fn begin_claim(terms: &Terms, valid_until: Instant, now: Instant) -> Self {
        let mut hold = Self::begin(terms, Some(valid_until), now);
        hold.claiming = true;
        hold.renew_at = Some(now + CLAIM_PAUSE);
        hold
    }

    pub(crate) fn valid_until(&self) -> Option<Instant> {
        self.valid_until
    }

    /// What is to be done at `now`; a renewal is due once, and then awaits [`Hold::prolong`] or
    /// [`Hold::renewal_failed`].
    #[inline]
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if self.hold_until.is_some_and(|at| now >= at) {
            return Due::Loss(LossReason::HoldLimit);
        }
        if self.valid_until.is_some_and(|at| now >= at) {
            return Due::Loss(LossReason::Expired);
        }
        if self.renew_at.is_some_and(|at| now >= at) {
            self.renew_at = None;
            return self.ttl().map_or(Due::Nothing, Due::Renewal);
        }
        if self.warn_at.is_some_and(|at| now >= at) {
            self.warn_at = None;
            return Due::Warning;
        }
        Due::Nothing
    }

    /// The lease was prolonged until `valid_until`, as answered at `now`. Never shortens it.
    pub(crate) fn prolong(&mut self, valid_until: Option<Instant>, automatic: bool, now: Instant) {
        self.valid_until = match (self.valid_until, valid_until) {
            (Some(old), Some(new)) => Some(old.max(new)),
            (None, _) | (_, None) => None,
        };
        if automatic
            && !self.claiming
            && let Some(left) = &mut self.renewals
        {
            *left = left.saturating_sub(1);
        }
        self.claiming = false;
        self.plan(now);
    }

    /// The lease was not prolonged, as far as anybody knows at `now`.
    pub(crate) fn renewal_failed(&mut self, now: Instant) {
        let pause = self.cadence().map(|cadence| (cadence / RETRIES).max(SHORTEST_PAUSE));
        let pause = if self.claiming { Some(CLAIM_PAUSE) } else { pause };
        self.renew_at = pause.map(|pause| now + pause);
    }

    /// Whether time will ever matter to the hold.
    #[inline]
    pub(crate) fn ends(&self) -> bool {
        self.valid_until.is_some() || self.hold_until.is_some()
    }

    /// When time next matters to the hold.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        if !self.ends() {
            return None;
        }
        let limit = self.hold_until.map(|at| Deadline::new(at, Timer::HoldLimit));
        let expiry = self.valid_until.map(|at| Deadline::new(at, Timer::Expiry));
        let renewal = self.renew_at.map(|at| Deadline::new(at, Timer::Renewal));
        let warning = self.warn_at.map(|at| Deadline::new(at, Timer::Warning));
        earlier(earlier(limit, expiry), earlier(renewal, warning))
    }

    /// A cadence from `now`, but never later than a cadence into the last lease of full length: a
    /// grant may have been long on its way, and an extension by hand may be shorter than the ttl.
    fn plan(&mut self, now: Instant) {
        self.renew_at =
            self.cadence().zip(self.ttl()).zip(self.valid_until).map(|((cadence, ttl), end)| {
                (now + cadence).min(before(end, ttl - cadence)).max(now)
            });
        // Halfway between the renewal that is due and the end, so that one may fail unmentioned.
        let warn_at = self.ttl().zip(self.valid_until).map(|(ttl, end)| {
            before(end, self.cadence().map_or(ttl / 3, |cadence| (ttl - cadence) / 2))
        });
        self.warn_at = warn_at.filter(|at| *at > now);
    }

    fn cadence(&self) -> Option<Duration> {
        self.cadence.filter(|_| self.renewals != Some(0)).map(Duration::from)
    }

    fn ttl(&self) -> Option<Duration> {
        self.ttl.map(Duration::from)
    }
}

/// `duration` before `moment`.
fn before(moment: Instant, duration: Duration) -> Instant {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(moment.as_nanos().saturating_sub(nanos))
}
