//! An answer that may still be on its way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) use promise::Promise;

/// An answer that is there, or will come. It is given once.
#[must_use = "an answer that nobody waits for is lost"]
pub struct Pending<T>(Answer<T>);

enum Answer<T> {
    Here(Option<T>),
    #[cfg(any(feature = "postgres", feature = "redis"))]
    Coming(promise::Promised<T>),
    /// Several questions, one after another: whoever waits asks them.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    Asking(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Pending<T> {
    /// An answer that is there.
    pub(crate) fn ready(answer: T) -> Self {
        Self(Answer::Here(Some(answer)))
    }

    /// An answer that another thread will give.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn promised() -> (Promise<T>, Self) {
        let (promise, promised) = promise::new();
        (promise, Self(Answer::Coming(promised)))
    }

    /// What comes of several questions.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn asking(questions: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Answer::Asking(Box::pin(questions)))
    }
}

impl<T> Unpin for Pending<T> {}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        #[cfg(not(any(feature = "postgres", feature = "redis")))]
        let _ = cx;
        match &mut self.get_mut().0 {
            Answer::Here(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            #[cfg(any(feature = "postgres", feature = "redis"))]
            Answer::Coming(promised) => promised.poll(cx),
            #[cfg(any(feature = "postgres", feature = "redis"))]
            Answer::Asking(questions) => questions.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
mod promise {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::task::{Context, Poll, Waker};

    /// The duty to give an answer.
    pub(crate) struct Promise<T>(Arc<Mutex<Slot<T>>>);

    pub(super) struct Promised<T>(Arc<Mutex<Slot<T>>>);

    struct Slot<T> {
        answer: Option<T>,
        waker: Option<Waker>,
    }

    pub(super) fn new<T>() -> (Promise<T>, Promised<T>) {
        let slot = Arc::new(Mutex::new(Slot { answer: None, waker: None }));
        (Promise(Arc::clone(&slot)), Promised(slot))
    }

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

    impl<T> Promised<T> {
        pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<T> {
            let mut slot = locked(&self.0);
            if let Some(answer) = slot.answer.take() {
                return Poll::Ready(answer);
            }
            slot.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    fn locked<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
