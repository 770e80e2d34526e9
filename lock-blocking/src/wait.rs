//! Waiting on a thread for what the engine tells a waker.

use std::cell::OnceCell;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: OnceCell<Waker> = const { OnceCell::new() };
}

/// Runs `start`, whose caller waits for at most `timeout` for what comes of it, or for ever: what it
/// starts may be finished on this thread at once.
pub(crate) fn starting<T>(timeout: Option<Duration>, start: impl FnOnce() -> T) -> T {
    #[cfg(feature = "redis")]
    return crate::redis::errand(timeout, start);
    #[cfg(not(feature = "redis"))]
    {
        let _ = timeout;
        start()
    }
}

/// Waits until `poll` is ready.
pub(crate) fn wait<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = this_thread();
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}

/// Waits until `poll` is ready, and at most `timeout`.
pub(crate) fn wait_for<T>(
    timeout: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let started = Instant::now();
    let waker = this_thread();
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        thread::park_timeout(timeout.checked_sub(started.elapsed())?);
    }
}

/// One waker per thread, made when it first waits.
fn this_thread() -> Waker {
    let new = || Waker::from(Arc::new(Unpark(thread::current())));
    // A destructor may wait while the thread's own are already gone.
    WAKER.try_with(|waker| waker.get_or_init(new).clone()).unwrap_or_else(|_| new())
}
