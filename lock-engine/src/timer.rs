//! Waiting for a moment, under any executor and on any thread.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_proto::{Fault, Instant, LockId};

use crate::Clock;
use crate::background::{Background, Driven, guarded};

/// Wakes whoever sleeps, from the background thread.
#[derive(Clone)]
pub struct Timers {
    sleepers: Arc<Sleepers>,
    background: Arc<Background>,
}

#[derive(Default)]
struct Sleepers(Mutex<Bed>);

#[derive(Default)]
struct Bed {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

static TIMERS: OnceLock<Timers> = OnceLock::new();

impl Timers {
    /// The timers of this process.
    ///
    /// # Errors
    ///
    /// If the background thread can't be started.
    pub fn started() -> Result<Self, Fault> {
        if let Some(timers) = TIMERS.get() {
            return Ok(timers.clone());
        }
        let (sleepers, background) = (Arc::default(), Background::started()?);
        Ok(TIMERS
            .get_or_init(|| {
                let timers = Self { sleepers, background };
                let driven: Weak<Sleepers> = Arc::downgrade(&timers.sleepers);
                timers.background.register(driven);
                timers
            })
            .clone())
    }

    /// Ready at `deadline`, or up to a second later when the machine slept.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep { timers: self.clone(), deadline, entry: None }
    }

    /// Ready after `duration`.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(Clock::System.now() + duration)
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").finish_non_exhaustive()
    }
}

/// A wait for a moment.
#[derive(Debug)]
pub struct Sleep {
    timers: Timers,
    deadline: Instant,
    entry: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Clock::System.now() >= self.deadline {
            return Poll::Ready(());
        }
        let entry = {
            let mut bed = self.timers.sleepers.bed();
            let entry = self.entry.unwrap_or(bed.next);
            if self.entry.is_none() {
                bed.next += 1;
            }
            bed.wakers.insert((self.deadline, entry), cx.waker().clone());
            entry
        };
        self.entry = Some(entry);
        self.timers.background.wake_by(self.deadline);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            self.timers.sleepers.bed().wakers.remove(&(self.deadline, entry));
        }
    }
}

impl Sleepers {
    fn bed(&self) -> MutexGuard<'_, Bed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driven for Sleepers {
    fn tick(&self) {
        let due = {
            let mut bed = self.bed();
            let later = bed.wakers.split_off(&(Clock::System.now(), u64::MAX));
            std::mem::replace(&mut bed.wakers, later)
        };
        due.into_values().for_each(|waker| guarded(|| waker.wake()));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.bed().wakers.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    fn nudge(&self, _lock: LockId) {}
}
