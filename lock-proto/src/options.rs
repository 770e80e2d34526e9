//! What a caller may ask of one acquisition.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use crate::lease::Terms;
use crate::time::Span;
use crate::{Backoff, LockError};

/// The range of a lease: shorter ones run out between two renewals of a busy machine, longer ones
/// don't fit the backends' 31-bit milliseconds.
pub(crate) const TTL: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(i32::MAX as u64));
const MAX_OWNER_BYTES: usize = 255;

/// What one acquisition may be asked, beyond its defaults.
///
/// ```
/// use core::time::Duration;
/// use lock_proto::{AcquireOptions, Renewal};
///
/// let options = AcquireOptions::new()
///     .with_timeout(Duration::from_secs(5))
///     .with_ttl(Duration::from_secs(10))
///     .with_renewal(Renewal::Every(Duration::from_secs(3)))
///     .with_max_renewals(5);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcquireOptions {
    timeout: Option<Duration>,
    ttl: Option<Duration>,
    renewal: Renewal,
    max_renewals: Option<u32>,
    max_hold: Option<Duration>,
    backoff: Backoff,
    owner: Option<Arc<str>>,
}

/// Whether and how often a held lease is prolonged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewal {
    /// As often as a third of its ttl: two renewals may fail before the lease ends.
    #[default]
    Automatic,
    /// This often; must be shorter than the ttl.
    Every(Duration),
    /// Never: the hold ends with its first lease, or when it is extended by hand.
    Off,
}

impl AcquireOptions {
    /// The defaults: wait for ever, the backend's own lease, renewed until released.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits at most this long; zero means one try. `None`, the default, waits for ever.
    #[must_use]
    pub fn with_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// The lease: how long the lock stays ours if nothing prolongs it. From 100 ms to 2³¹ − 1 ms.
    ///
    /// Default: the backend's. Memory and file locks have none: they last as long as their
    /// holder.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Whether and how often the lease is prolonged. Default: [`Renewal::Automatic`].
    #[must_use]
    pub fn with_renewal(mut self, renewal: Renewal) -> Self {
        self.renewal = renewal;
        self
    }

    /// Prolongs the lease at most this often. Default: without end.
    #[must_use]
    pub fn with_max_renewals(mut self, renewals: u32) -> Self {
        self.max_renewals = Some(renewals);
        self
    }

    /// Gives the lock up when it was held this long, renewed or not, so that a holder that hangs
    /// doesn't hold it for ever. Default: no limit.
    #[must_use]
    pub fn with_max_hold(mut self, limit: Duration) -> Self {
        self.max_hold = Some(limit);
        self
    }

    /// How long to rest between tries that nothing woke.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// What to tell others who ask who holds the lock: at most 255 bytes of one line. Default:
    /// nothing beyond host and process.
    #[must_use]
    pub fn with_owner(mut self, owner: &str) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// How long to wait; `None` is for ever.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// What to tell others who ask who holds the lock.
    #[must_use]
    pub fn owner(&self) -> Option<&Arc<str>> {
        self.owner.as_ref()
    }

    /// The rests between tries.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// Checks the options, and works out what they say about a hold.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] naming the option that is out of its range.
    #[inline]
    pub fn terms(&self) -> Result<Terms, LockError> {
        if self.are_endless() {
            return Ok(Terms { ttl: None, cadence: None, renewals: None, max_hold: None });
        }
        self.terms_of(None)
    }

    /// Whether they say nothing about a hold.
    #[inline]
    fn are_endless(&self) -> bool {
        self.ttl.is_none()
            && self.renewal == Renewal::Automatic
            && self.max_renewals.is_none()
            && self.max_hold.is_none()
            && self.owner.is_none()
    }

    /// The same on a backend whose locks have a lease of `default` of their own.
    pub(crate) fn terms_of(&self, default: Option<Duration>) -> Result<Terms, LockError> {
        if let Some(owner) = &self.owner
            && (owner.len() > MAX_OWNER_BYTES || owner.contains(['\n', '\r', '\0']))
        {
            return Err(LockError::config("owner", "it must be one line of at most 255 bytes"));
        }
        if self.max_hold == Some(Duration::ZERO) {
            return Err(LockError::config("max_hold", "a hold of no time can't be acquired"));
        }
        let Some(ttl) = self.ttl.or(default) else {
            return self.terms_without_ttl();
        };
        if ttl < TTL.0 || ttl > TTL.1 {
            let problem = format!("{ttl:?} is not between {:?} and {:?}", TTL.0, TTL.1);
            return Err(LockError::config("ttl", problem));
        }
        let cadence = match self.renewal {
            Renewal::Automatic => Some(ttl / 3),
            Renewal::Every(cadence) => Some(checked_cadence(cadence, ttl)?),
            Renewal::Off => None,
        };
        Ok(Terms { ttl: Some(ttl), cadence, renewals: self.max_renewals, max_hold: self.max_hold })
    }

    pub(crate) fn has_default_renewal(&self) -> bool {
        self.renewal == Renewal::Automatic
    }

    fn terms_without_ttl(&self) -> Result<Terms, LockError> {
        if let Renewal::Every(_) = self.renewal {
            return Err(needs_ttl("renewal"));
        }
        if self.max_renewals.is_some() {
            return Err(needs_ttl("max_renewals"));
        }
        Ok(Terms { ttl: None, cadence: None, renewals: None, max_hold: self.max_hold })
    }
}

fn checked_cadence(cadence: Duration, ttl: Duration) -> Result<Duration, LockError> {
    if cadence.is_zero() || cadence >= ttl {
        let problem = format!(
            "every {cadence:?} must be more than nothing and less than the ttl of {ttl:?}, \
             or the lease runs out before it is prolonged"
        );
        return Err(LockError::config("renewal", problem));
    }
    Ok(cadence)
}

fn needs_ttl(option: &'static str) -> LockError {
    let problem = "this backend's locks have no lease of their own: give a ttl as well";
    LockError::config(option, String::from(problem))
}

/// How much of a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Demand {
    /// All of it: a mutex, or the write side of a reader-writer lock.
    Exclusive,
    /// A share of it: the read side of a reader-writer lock.
    Shared,
    /// Some of a semaphore's permits; see [`Demand::permits`].
    Permits {
        /// How many to take.
        count: u32,
        /// How many may be out at once.
        limit: u32,
    },
}

impl Demand {
    /// `count` of the `limit` permits of a semaphore.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] unless 1 ≤ `count` ≤ `limit`.
    pub fn permits(count: u32, limit: u32) -> Result<Self, LockError> {
        if limit == 0 {
            return Err(LockError::config("limit", "a semaphore needs at least one permit"));
        }
        if count == 0 {
            return Err(LockError::config("permits", "at least one permit must be asked for"));
        }
        if count > limit {
            let problem = format!("{count} can never be had of a semaphore of {limit}");
            return Err(LockError::config("permits", problem));
        }
        Ok(Self::Permits { count, limit })
    }

    /// Itself, if it can ever be met.
    pub(crate) fn checked(self) -> Result<Self, LockError> {
        match self {
            Self::Exclusive | Self::Shared => Ok(self),
            Self::Permits { count, limit } => Self::permits(count, limit),
        }
    }
}

/// How long an acquisition may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget(Option<Span>);

impl Budget {
    pub(crate) fn of(options: &AcquireOptions) -> Self {
        Self(options.timeout.map(Span::from))
    }

    /// Whether to wait at all.
    pub(crate) fn waits(self) -> bool {
        self.0 != Some(Duration::ZERO.into())
    }

    pub(crate) fn ends(self, started: crate::Instant) -> crate::Instant {
        self.0.map_or(crate::Instant::FAR_FUTURE, |budget| started + Duration::from(budget))
    }

    pub(crate) fn timed_out(self) -> LockError {
        LockError::Timeout(self.0.map_or(Duration::MAX, Duration::from))
    }
}
