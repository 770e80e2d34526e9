//! The news that a held lock was lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use lock_proto::LossReason;

/// Whether one hold was lost, and why; every clone tells of the same hold, also after its handle
/// is gone. A normal release is no loss.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    state: Arc<Mutex<LossState>>,
}

#[derive(Debug, Default)]
struct LossState {
    reason: Option<LossReason>,
    wakers: Vec<Waker>,
}

impl Loss {
    /// Why the lock was lost, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<LossReason> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reason.clone()
    }

    /// Waits for the loss.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<LossReason> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &state.reason {
            return Poll::Ready(reason.clone());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Tells of the loss; whoever waits is to be woken by the caller, outside of its own locks.
    pub(crate) fn happen(&self, reason: &LossReason) -> Vec<Waker> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reason.get_or_insert_with(|| reason.clone());
        std::mem::take(&mut state.wakers)
    }
}
