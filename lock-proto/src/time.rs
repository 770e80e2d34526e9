//! Moments on the driver's clock, and why the next one matters.

use core::fmt;
use core::num::NonZero;
use core::ops::Add;
use core::time::Duration;

/// A moment on the driver's clock, in nanoseconds since an origin that the driver chose.
///
/// The clock must count the time a machine sleeps (`CLOCK_BOOTTIME` on Linux): a lease goes on
/// running while its holder is suspended. There is no `Instant - Instant`, so that a reversed
/// subtraction can't pass for a duration; use [`Instant::since`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the nanoseconds, so that no moment takes no room beside one.
    NonZero<u64>,
);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self(NonZero::<u64>::MIN);
    /// Later than every deadline: "never".
    pub const FAR_FUTURE: Self = Self(NonZero::<u64>::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZero::<u64>::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FAR_FUTURE {
            return f.write_str("never");
        }
        let nanos = self.as_nanos();
        write!(f, "{}.{:03}s", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000)
    }
}

/// The next moment that matters to a machine, and what is decided then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Deadline {
    /// When [`Machine::handle_timeout`](crate::Machine::handle_timeout) is due.
    pub at: Instant,
    /// What is decided then.
    pub timer: Timer,
}

impl Deadline {
    pub(crate) const fn new(at: Instant, timer: Timer) -> Self {
        Self { at, timer }
    }

    /// The end of a wait, if it has one.
    pub(crate) fn budget(ends: Instant) -> Option<Self> {
        (ends < Instant::FAR_FUTURE).then(|| Self::new(ends, Timer::Budget))
    }
}

/// The earlier of two moments that may not come.
#[inline]
pub(crate) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Timer {
    /// The caller's time to acquire is used up.
    Budget,
    /// The lease ends.
    Expiry,
    /// The hold has reached its `max_hold`.
    HoldLimit,
    /// A held lock is looked at, to learn of a loss.
    Probe,
    /// The lease is to be prolonged.
    Renewal,
    /// A refused acquisition is tried again.
    Retry,
    /// The lease is about to run out.
    Warning,
}

/// A length of time in nanoseconds, which takes half the room of a [`Duration`]; as the moments, it
/// ends after some centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(NonZero<u64>);

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZero::<u64>::MIN.saturating_add(nanos))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_nanos(span.0.get() - 1)
    }
}
