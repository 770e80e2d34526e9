//! What is on its way in one piece, and moves on whichever thread brings it news.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use lock_engine::redis::Parcel;
use lock_proto::{Fault, Instant};
use redis::{RedisResult, Value};

use super::line::Line;

/// What comes back for the commands of one write.
pub(super) type Replies = RedisResult<Vec<Value>>;

/// What a request asks of the `redis` crate.
pub(super) type Request = Pin<Box<dyn Future<Output = Replies> + Send>>;

/// One or more parcels in one write. Its future is polled by whoever starts it, and then by whoever
/// wakes it, so that a reply drives its lock at once and no task is needed.
pub(super) struct Errand {
    number: u64,
    since: Instant,
    line: Weak<Line>,
    turn: AtomicU8,
    work: Mutex<Option<Work>>,
}

struct Work {
    request: Request,
    purpose: Purpose,
}

/// What the replies are for.
pub(super) enum Purpose {
    /// They settle parcels, each with so many of the replies, one after another.
    Parcels(Vec<(Parcel, usize)>),
    /// They confirm the subscription to the inbox.
    Subscription,
}

impl Purpose {
    /// There will be no replies.
    pub(super) fn fail(self, fault: &Fault) {
        match self {
            Self::Parcels(parcels) => {
                for (parcel, _) in parcels {
                    parcel.fail(fault.clone());
                }
            }
            Self::Subscription => {}
        }
    }
}

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
/// Woken while it was running.
const AGAIN: u8 = 2;

impl Errand {
    pub(super) fn new(
        number: u64,
        since: Instant,
        line: Weak<Line>,
        request: Request,
        purpose: Purpose,
    ) -> Arc<Self> {
        let work = Mutex::new(Some(Work { request, purpose }));
        Arc::new(Self { number, since, line, turn: AtomicU8::new(IDLE), work })
    }

    /// When it was started.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Moves it on as far as it goes.
    pub(super) fn run(self: &Arc<Self>) {
        if self.turn.fetch_max(RUNNING, Ordering::AcqRel) != IDLE {
            // Whoever runs it looks once more, unless it has ended.
            let look = |turn| (turn == RUNNING).then_some(AGAIN);
            match self.turn.fetch_update(Ordering::AcqRel, Ordering::Acquire, look) {
                Ok(_) | Err(AGAIN) => return,
                Err(_) => return self.run(),
            }
        }
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        loop {
            let outcome = self.poll(&mut cx);
            if let Poll::Ready(outcome) = outcome {
                if let Some((replies, purpose)) = outcome
                    && let Some(line) = self.line.upgrade()
                {
                    line.finish(self.number, replies, purpose);
                }
                return;
            }
            let rest = |turn| (turn == RUNNING).then_some(IDLE);
            if self.turn.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).is_ok() {
                return;
            }
            self.turn.store(RUNNING, Ordering::Release);
        }
    }

    /// Gives it up; what it was for, unless it has just ended.
    pub(super) fn give_up(&self) -> Option<Purpose> {
        let work = self.work().take()?;
        Some(work.purpose)
    }

    /// Ready once it has ended, with what came of it if that was here.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<(Replies, Purpose)>> {
        let mut place = self.work();
        let Some(work) = &mut *place else { return Poll::Ready(None) };
        let Poll::Ready(replies) = poll(&mut work.request, cx) else { return Poll::Pending };
        let purpose = place.take().map(|work| work.purpose);
        drop(place);
        Poll::Ready(purpose.map(|purpose| (replies, purpose)))
    }

    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whichever task it is polled in, that task's budget is not its own: tokio would put off requests
/// that go beyond it, and wake them in reverse order, so that the last to come was the first to be
/// sent.
#[cfg(feature = "redis-tokio")]
fn poll(request: &mut Request, cx: &mut Context<'_>) -> Poll<Replies> {
    std::pin::pin!(tokio::task::unconstrained(request)).poll(cx)
}

#[cfg(not(feature = "redis-tokio"))]
fn poll(request: &mut Request, cx: &mut Context<'_>) -> Poll<Replies> {
    request.as_mut().poll(cx)
}

impl Wake for Errand {
    fn wake(self: Arc<Self>) {
        self.run();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.run();
    }
}
