//! The clock that leases run on.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lock_proto::Instant;
use rustix::time::{ClockId, clock_gettime};

use crate::background::Driven;

/// Linux's monotonic clock stops while the machine sleeps, and a lease doesn't.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// What time it is: the system's, or a test's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Clock {
    /// The system's clock, which counts the time that the machine sleeps.
    System,
    /// A clock that a test moves by hand.
    Manual(ManualClock),
}

impl Clock {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        match self {
            Self::System => system_now(),
            Self::Manual(clock) => clock.now(),
        }
    }
}

fn system_now() -> Instant {
    let now = clock_gettime(CLOCK);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// A clock that stands still until it is told to move; every clone is the same clock.
///
/// Leases, time-outs and delays of the locks on it pass with it and with nothing else.
#[derive(Clone, Default)]
pub struct ManualClock {
    state: Arc<ManualState>,
}

#[derive(Default)]
struct ManualState {
    nanos: AtomicU64,
    driven: Mutex<Vec<Weak<dyn Driven>>>,
}

impl ManualClock {
    /// A clock that stands at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock by `duration`, from one deadline to the next: what falls due on the way has
    /// happened, in order and on time, when this returns.
    pub fn advance(&self, duration: Duration) {
        let target = self.now() + duration;
        loop {
            // Whoever is told may move the clock as well.
            let driven: Vec<_> = self.driven().iter().filter_map(Weak::upgrade).collect();
            let due = driven.iter().filter_map(|driven| driven.poll_timeout()).min();
            let stop = due.map_or(target, |due| due.min(target));
            self.state.nanos.fetch_max(stop.as_nanos(), Ordering::SeqCst);
            driven.iter().for_each(|driven| driven.tick());
            if stop == target {
                return;
            }
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.state.nanos.load(Ordering::SeqCst))
    }

    /// Drives `driven` whenever the clock moves, until it is dropped.
    pub(crate) fn register(&self, driven: Weak<dyn Driven>) {
        let mut known = self.driven();
        known.retain(|driven| driven.strong_count() > 0);
        known.push(driven);
    }

    fn driven(&self) -> MutexGuard<'_, Vec<Weak<dyn Driven>>> {
        self.state.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
