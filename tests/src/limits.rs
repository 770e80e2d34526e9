//! What a caller may have agreed about the end of its holds, and whether that is kept.

use std::time::Duration;

use lock_proto::{AcquireOptions, Instant, Renewal};

use crate::entropy::Entropy;

/// The limits of one hold, told by its caller's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    lease: Duration,
    renewals: Option<u32>,
    max_hold: Option<Duration>,
    began: Option<Instant>,
    /// How often the lease was prolonged, and how often somebody had asked for it.
    prolonged: u32,
    by_hand: u32,
}

impl Limits {
    /// Draws them, as they are for most locks: none.
    pub(crate) fn draw(lease: Duration, entropy: &mut Entropy) -> Self {
        let none = Self { lease, ..Self::default() };
        match entropy.pick(8) {
            4 | 5 => Self { renewals: Some(0), ..none },
            6 => Self { renewals: Some(1), ..none },
            7 => Self { max_hold: Some(lease * 3 / 2), ..none },
            _ => none,
        }
    }

    /// The options that say so.
    pub(crate) fn options(&self, timeout: Option<Duration>) -> AcquireOptions {
        let options = AcquireOptions::new().with_timeout(timeout).with_ttl(self.lease);
        let options = match self.renewals {
            Some(0) => options.with_renewal(Renewal::Off),
            Some(renewals) => options.with_max_renewals(renewals),
            None => options,
        };
        match self.max_hold {
            Some(limit) => options.with_max_hold(limit),
            None => options,
        }
    }

    /// The hold begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// Its caller wants it longer.
    pub(crate) fn extend_by_hand(&mut self) {
        self.by_hand += 1;
    }

    /// Its lease was prolonged.
    ///
    /// # Panics
    ///
    /// If that was once too often. Whoever was handed a lock claims it once, and the answer to a
    /// question that was overtaken by the grant may prolong it once.
    pub(crate) fn prolong(&mut self) {
        self.prolonged += 1;
        if let Some(renewals) = self.renewals {
            let most = renewals + self.by_hand + 2;
            assert!(self.prolonged <= most, "limit: prolonged for the {}th time", self.prolonged);
        }
    }

    /// Looks at a hold that its machine believes in, after the machine was told the time.
    ///
    /// # Panics
    ///
    /// If it should have ended by then.
    pub(crate) fn check(&self, now: Instant) {
        if let (Some(began), Some(limit)) = (self.began, self.max_hold) {
            let held = now.since(began);
            assert!(
                held < limit,
                "limit: held for {held:?}, and no longer than {limit:?} was agreed"
            );
        }
    }
}
