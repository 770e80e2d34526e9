//! How long to rest between two tries.

use core::time::Duration;

use crate::time::Span;
use crate::{Jitter, LockError};

/// The range in which an acquisition rests between two tries that nobody woke it for.
///
/// The first rest lasts up to `shortest`, each further one up to twice as long, never longer than
/// `longest`; each is drawn at random from the upper half of its range, so that waiters that
/// started together don't stay together. Default: 10 ms to 200 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    shortest: Span,
    longest: Span,
}

impl Backoff {
    /// Rests between `shortest` and `longest`.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] unless 1 ms ≤ `shortest` ≤ `longest` ≤ 1 hour: a rest of
    /// nothing is a busy loop.
    pub fn new(shortest: Duration, longest: Duration) -> Result<Self, LockError> {
        if shortest < Duration::from_millis(1) {
            return Err(LockError::config(
                "backoff",
                "the shortest rest must be at least 1 ms, or waiting would be a busy loop",
            ));
        }
        if longest < shortest {
            return Err(LockError::config(
                "backoff",
                "the longest rest must not be shorter than the shortest",
            ));
        }
        if longest > Duration::from_secs(3600) {
            return Err(LockError::config("backoff", "the longest rest must be at most 1 hour"));
        }
        Ok(Self { shortest: shortest.into(), longest: longest.into() })
    }

    /// The rest before the try after `tries` tries.
    pub(crate) fn rest(self, tries: u32, jitter: &mut Jitter) -> Duration {
        let doubled = Duration::from(self.shortest).saturating_mul(1 << tries.min(20));
        let rest = doubled.min(self.longest.into());
        jitter.between(rest / 2, rest)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            shortest: Duration::from_millis(10).into(),
            longest: Duration::from_millis(200).into(),
        }
    }
}
