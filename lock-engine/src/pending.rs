//! An answer that may still be on its way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// An answer that is there, or will come from another thread. It is given once.
#[must_use = "an answer that nobody waits for is lost"]
pub struct Pending<T>(Answer<T>);

enum Answer<T> {
    Here(Option<T>),
    Coming(Arc<Mutex<Slot<T>>>),
    /// Several questions, one after another: whoever waits asks them.
    #[cfg(feature = "redis")]
    Asking(Pin<Box<dyn Future<Output = T> + Send>>),
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

    /// What comes of several questions.
    #[cfg(feature = "redis")]
    pub(crate) fn asking(questions: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Answer::Asking(Box::pin(questions)))
    }
}

impl<T> Unpin for Pending<T> {}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().0 {
            #[cfg(feature = "redis")]
            Answer::Asking(questions) => questions.as_mut().poll(cx),
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
