//! How long to rest before the next attempt to connect.

use std::time::{Duration, Instant};

use lock_engine::redis::seed;
use lock_proto::{Jitter, Seed};

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// The rests between attempts that fail: from 10 ms to a second, each up to twice as long as the
/// one before.
pub(super) struct Rests {
    next: Duration,
    until: Option<Instant>,
    jitter: Jitter,
}

impl Rests {
    pub(super) fn new() -> Self {
        // Without random numbers the rests are the same for everybody, and as good for each.
        let seed = seed().unwrap_or(Seed::from_bytes([0; 32]));
        Self { next: SHORTEST, until: None, jitter: seed.jitter() }
    }

    pub(super) fn succeeded(&mut self) {
        (self.next, self.until) = (SHORTEST, None);
    }

    pub(super) fn failed(&mut self) {
        let rest = self.jitter.between(self.next / 2, self.next);
        self.until = Some(Instant::now() + rest);
        self.next = (self.next * 2).min(LONGEST);
    }

    /// How long there is still to rest; `None` if there isn't.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
