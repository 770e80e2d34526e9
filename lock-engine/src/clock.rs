//! The clock that leases run on.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lock_proto::Instant;
use rustix::time::{ClockId, clock_gettime};

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
    listeners: Mutex<Vec<Listener>>,
}

/// Is told of each move; says whether it wants to hear of the next.
type Listener = Arc<dyn Fn() -> bool + Send + Sync>;

impl ManualClock {
    /// A clock that stands at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock by `duration`; what falls due has happened when this returns.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.state.nanos.fetch_add(nanos, Ordering::SeqCst);
        // Whoever is told may move the clock again.
        let listeners = self.listeners().clone();
        let gone: Vec<_> = listeners.into_iter().filter(|listener| !listener()).collect();
        self.listeners().retain(|known| !gone.iter().any(|gone| Arc::ptr_eq(known, gone)));
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.state.nanos.load(Ordering::SeqCst))
    }

    /// Calls `tick` after each move, as long as it answers yes.
    pub(crate) fn listen(&self, tick: impl Fn() -> bool + Send + Sync + 'static) {
        self.listeners().push(Arc::new(tick));
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.state.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
