//! An answer that may still be on its way.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// An answer that is there, or will come from another thread.
pub struct Pending<T>(Answer<T>);

enum Answer<T> {
    Here(Option<T>),
    Coming(Arc<Mutex<Slot<T>>>),
}

struct Slot<T> {
    answer: Option<T>,
    waker: Option<Waker>,
}

/// The duty to give an answer.
#[cfg(feature = "redis")]
pub(crate) struct Promise<T>(Arc<Mutex<Slot<T>>>);

impl<T> Pending<T> {
    /// An answer that is there.
    pub(crate) fn ready(answer: T) -> Self {
        Self(Answer::Here(Some(answer)))
    }

    /// An answer that will come.
    #[cfg(feature = "redis")]
    pub(crate) fn promised() -> (Promise<T>, Self) {
        let slot = Arc::new(Mutex::new(Slot { answer: None, waker: None }));
        (Promise(Arc::clone(&slot)), Self(Answer::Coming(slot)))
    }

    /// Waits for the answer, which is given once.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Answer::Here(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            Answer::Coming(slot) => {
                let mut slot = locked(slot);
                if let Some(answer) = slot.answer.take() {
                    return Poll::Ready(answer);
                }
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

#[cfg(feature = "redis")]
impl<T> Promise<T> {
    /// Gives the answer, and wakes who waits for it.
    pub(crate) fn keep(self, answer: T) {
        let waker = {
            let mut slot = locked(&self.0);
            slot.answer = Some(answer);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn locked<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
