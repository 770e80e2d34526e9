//! A waker for a task that feeds what it polls.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

const ASLEEP: u8 = 0;
const RUNNING: u8 = 1;
const WOKEN: u8 = 2;
/// A runtime that wants its thread back wakes the task at once, as often as it is polled.
const RUNS: usize = 4;

/// Wakes a task once, however often it is called, and never while the task runs.
///
/// A runtime that finds a task woken while it ran puts it last in its queue, and wakes another thread
/// to look there. Here it runs on instead.
pub(super) struct Recall {
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl Recall {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(ASLEEP), task: Mutex::new(None) })
    }

    /// Calls `poll` until it is ready, or nothing has woken the task since it was called last; up to
    /// four times, then in another turn.
    pub(super) fn poll<T>(
        self: &Arc<Self>,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        let waker = Waker::from(Arc::clone(self));
        let mut inner = Context::from_waker(&waker);
        for _ in 0..RUNS {
            self.state.store(RUNNING, Ordering::SeqCst);
            if let Poll::Ready(outcome) = poll(&mut inner) {
                return Poll::Ready(outcome);
            }
            let asleep =
                self.state.compare_exchange(RUNNING, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
            if asleep.is_ok() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whatever has woken the task while it runs will have been looked at when it stops.
    pub(super) fn forget(&self) {
        self.state.store(RUNNING, Ordering::SeqCst);
    }
}

impl Wake for Recall {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::SeqCst) == ASLEEP {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }
}
