//! Where others have just been found waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lock_proto::Instant;

/// How many are kept apart; who shares a number is taken to wait as well.
const QUEUES: usize = 1 << u8::BITS;
/// A queue that was met so long ago may be gone.
const RECENTLY: Duration = Duration::from_millis(100);

/// The queue of one lock, or of a few that share its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue(u8);

/// When somebody last had to wait, queue by queue, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Crowds([AtomicU64; QUEUES]);

impl Queue {
    /// The queue of the lock that this number stands for.
    pub(crate) fn of(lock: u64) -> Self {
        // Keys that were chosen by hand may differ in any of their bits.
        let [.., number] = lock.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        Self(number)
    }
}

impl Crowds {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; QUEUES])
    }

    /// Somebody has to wait.
    pub(crate) fn note(&self, queue: Queue, now: Instant) {
        self.of(queue).store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Whether somebody had to wait just before `now`.
    pub(crate) fn waited_at(&self, queue: Queue, now: Instant) -> bool {
        let last = self.of(queue).load(Ordering::Relaxed);
        last > 0 && now.since(Instant::from_nanos(last)) < RECENTLY
    }

    fn of(&self, queue: Queue) -> &AtomicU64 {
        &self.0[usize::from(queue.0)]
    }
}
