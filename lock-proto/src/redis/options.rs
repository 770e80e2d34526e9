//! What a Redis provider is told once.

use alloc::format;
use core::time::Duration;

use super::call::{CLAIM, LIVENESS};
use crate::file::Identity;
use crate::lease::{CLAIM_PAUSE, Terms};
use crate::options::TTL;
use crate::time::Span;
use crate::{AcquireOptions, Backoff, LockError};

const EXPIRY: Duration = Duration::from_secs(30);
/// Part of a lease, in per cent, that must be left when a lock was acquired.
const MIN_VALIDITY_PER_CENT: u32 = 90;
/// The clocks of two machines may differ in rate by one part of so many, and by [`DRIFT_FLOOR`] in
/// all.
const DRIFT: u32 = 100;
/// Redis expires keys to the millisecond, and its clock ticks in between.
const DRIFT_FLOOR: Duration = Duration::from_millis(2);

/// Whoever finds that a refresh still counts may take the claim that it dates for valid, and has time
/// to claim the full lease.
const _: () = {
    let drift = CLAIM.as_millis() / DRIFT as u128 + DRIFT_FLOOR.as_millis();
    let latest = LIVENESS.as_millis() + CLAIM_PAUSE.as_millis();
    assert!(latest + drift < CLAIM.as_millis());
};

/// The settings of a provider's locks, with what `AcquireOptions` leave open.
///
/// | option | default |
/// | --- | --- |
/// | `expiry` | 30 s |
/// | `extension_cadence` | a third of the lease |
/// | `min_validity` | 90 % of the lease |
/// | `backoff` | 10 to 200 ms |
/// | `fencing` | on |
#[derive(Clone, Debug)]
pub struct RedisOptions {
    identity: Identity,
    expiry: Duration,
    extension_cadence: Option<Duration>,
    min_validity: Option<Duration>,
    backoff: Backoff,
    fencing: bool,
}

impl RedisOptions {
    /// The defaults, for the process `identity`.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            expiry: EXPIRY,
            extension_cadence: None,
            min_validity: None,
            backoff: Backoff::default(),
            fencing: true,
        }
    }

    /// The lease: how long a lock stays held if nothing prolongs it.
    #[must_use]
    pub fn with_expiry(mut self, expiry: Duration) -> Self {
        self.expiry = expiry;
        self
    }

    /// How often a held lock is prolonged; shorter than the min validity.
    #[must_use]
    pub fn with_extension_cadence(mut self, cadence: Duration) -> Self {
        self.extension_cadence = Some(cadence);
        self
    }

    /// How much of its lease must be left when a lock was acquired; shorter than the expiry.
    #[must_use]
    pub fn with_min_validity(mut self, validity: Duration) -> Self {
        self.min_validity = Some(validity);
        self
    }

    /// How long to rest between two tries on several servers that both found the lock contended.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Whether each acquisition is given a fencing token.
    #[must_use]
    pub fn with_fencing(mut self, fencing: bool) -> Self {
        self.fencing = fencing;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] naming the option that is out of its range.
    pub fn checked(self) -> Result<Self, LockError> {
        if self.expiry < TTL.0 || self.expiry > TTL.1 {
            let problem = format!("{:?} is not between {:?} and {:?}", self.expiry, TTL.0, TTL.1);
            return Err(LockError::config("expiry", problem));
        }
        self.min_validity_of(self.expiry)?;
        if let Some(cadence) = self.extension_cadence {
            self.check_cadence(cadence, self.expiry, "extension_cadence")?;
        }
        Ok(self)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn fencing(&self) -> bool {
        self.fencing
    }

    /// The rests between tries: the acquisition's own, if it has any.
    pub(crate) fn backoff(&self, options: &AcquireOptions) -> Backoff {
        let own = options.backoff();
        if own == Backoff::default() { self.backoff } else { own }
    }

    /// What is agreed about a hold that is acquired with `options`.
    pub(crate) fn lease(&self, options: &AcquireOptions) -> Result<Lease, LockError> {
        let mut terms = options.terms_of(Some(self.expiry))?;
        let ttl = terms.ttl.unwrap_or(self.expiry);
        let min_validity = self.min_validity_of(ttl)?;
        // What nobody chose contradicts nothing: a lease that was long on its way is renewed at once.
        let chosen = match self.extension_cadence {
            cadence if options.has_default_renewal() => {
                terms.cadence = cadence.or(terms.cadence);
                cadence.map(|cadence| (cadence, "extension_cadence"))
            }
            _ => terms.cadence.map(|cadence| (cadence, "renewal")),
        };
        if let Some((cadence, option)) = chosen {
            self.check_cadence(cadence, ttl, option)?;
        }
        Ok(Lease {
            ttl: ttl.into(),
            min_validity: min_validity.into(),
            cadence: terms.cadence.map(Span::from),
            renewals: terms.renewals,
            max_hold: terms.max_hold.map(Span::from),
        })
    }

    fn min_validity_of(&self, ttl: Duration) -> Result<Duration, LockError> {
        let least = self.min_validity.unwrap_or_else(|| ttl * MIN_VALIDITY_PER_CENT / 100);
        if least.is_zero() || least.saturating_add(drift(ttl)) >= ttl {
            let problem = format!(
                "{least:?} must be more than nothing and, with {:?} for the drift of clocks, less \
                 than the lease of {ttl:?}",
                drift(ttl)
            );
            return Err(LockError::config("min_validity", problem));
        }
        Ok(least)
    }

    fn check_cadence(
        &self,
        cadence: Duration,
        ttl: Duration,
        option: &'static str,
    ) -> Result<(), LockError> {
        let least = self.min_validity_of(ttl)?;
        if cadence.is_zero() || cadence >= least {
            let problem = format!(
                "every {cadence:?} must be more than nothing and less than the min validity of \
                 {least:?}, or the lease may run out before it is prolonged"
            );
            return Err(LockError::config(option, problem));
        }
        Ok(())
    }
}

/// What is agreed about one hold.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    ttl: Span,
    min_validity: Span,
    pub(crate) cadence: Option<Span>,
    pub(crate) renewals: Option<u32>,
    pub(crate) max_hold: Option<Span>,
}

impl Lease {
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl.into()
    }

    pub(crate) fn min_validity(&self) -> Duration {
        self.min_validity.into()
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            ttl: Some(self.ttl()),
            cadence: self.cadence.map(Duration::from),
            renewals: self.renewals,
            max_hold: self.max_hold.map(Duration::from),
        }
    }
}

/// For how long a lease of `ttl` is believed in: for nothing, if it is too short for that.
pub(crate) fn trusted(ttl: Duration) -> Duration {
    ttl.saturating_sub(drift(ttl))
}

/// How much sooner we take a lease of `ttl` for over than the server may.
pub(crate) fn drift(ttl: Duration) -> Duration {
    ttl / DRIFT + DRIFT_FLOOR
}
