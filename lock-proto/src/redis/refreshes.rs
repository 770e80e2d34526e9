//! When the last refreshes of a place in the queue were handed out.

use alloc::boxed::Box;

use super::call::LIVENESS;
use crate::Instant;

/// A claim counts from a refresh that is at most a [`LIVENESS`] old, and there is about one a
/// second: what was handed out before the last of these can't be of use.
const KEPT: usize = 8;

/// The moments by which grants are dated (R11).
#[derive(Clone, Debug)]
pub(super) struct Refreshes {
    next: u64,
    /// Most locks never wait.
    sent: Option<Box<[Instant; KEPT]>>,
}

impl Refreshes {
    pub(super) fn new() -> Self {
        Self { next: 1, sent: None }
    }

    /// Whether there has been none.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 1
    }

    /// The stamp of the refresh that is handed out at `now`.
    pub(super) fn stamp(&mut self, now: Instant) -> u64 {
        let stamp = self.next;
        self.next += 1;
        self.sent.get_or_insert_with(|| Box::new([Instant::ZERO; KEPT]))[slot(stamp)] = now;
        stamp
    }

    /// The last stamp.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// No grant is dated any more.
    pub(super) fn settle(&mut self) {
        self.sent = None;
    }

    /// When the refresh with this stamp was handed out, if that is known and not long ago.
    pub(super) fn sent(&self, stamp: u64, now: Instant) -> Option<Instant> {
        let kept = stamp < self.next && stamp + KEPT as u64 >= self.next && stamp > 0;
        let sent = self.sent.as_ref().map(|sent| sent[slot(stamp)]);
        sent.filter(|sent| kept && now.since(*sent) <= LIVENESS)
    }
}

fn slot(stamp: u64) -> usize {
    usize::try_from(stamp % KEPT as u64).expect("a remainder of a small number")
}
