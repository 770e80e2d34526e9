//! When the last refreshes of a place in the queue were handed out.

use super::call::LIVENESS;
use crate::Instant;

/// A claim counts from a refresh that is at most a [`LIVENESS`] old, and there is about one a
/// second: what was handed out before the last of these can't be of use.
const KEPT: usize = 8;

/// The moments by which grants are dated (R11).
#[derive(Clone, Debug)]
pub(super) struct Refreshes {
    next: u64,
    sent: [Instant; KEPT],
}

impl Refreshes {
    pub(super) fn new() -> Self {
        Self { next: 1, sent: [Instant::ZERO; KEPT] }
    }

    /// Whether there has been none.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 1
    }

    /// The stamp of the refresh that is handed out at `now`.
    pub(super) fn stamp(&mut self, now: Instant) -> u64 {
        let stamp = self.next;
        self.next += 1;
        self.sent[slot(stamp)] = now;
        stamp
    }

    /// When the refresh with this stamp was handed out, if that is known and not long ago.
    pub(super) fn sent(&self, stamp: u64, now: Instant) -> Option<Instant> {
        let kept = stamp < self.next && stamp + KEPT as u64 >= self.next && stamp > 0;
        Some(self.sent[slot(stamp)]).filter(|sent| kept && now.since(*sent) <= LIVENESS)
    }
}

fn slot(stamp: u64) -> usize {
    usize::try_from(stamp % KEPT as u64).expect("a remainder of a small number")
}
