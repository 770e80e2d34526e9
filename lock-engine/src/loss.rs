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
    /// The lease is about to run out.
    expiring: bool,
    wakers: Vec<Waker>,
    /// Those that wait for the warning, which is no news to the others.
    wary: Vec<Waker>,
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
        wait(&mut state.wakers, cx);
        Poll::Pending
    }

    /// Whether the lease is about to run out, or has.
    #[must_use]
    pub fn is_expiring(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expiring || state.reason.is_some()
    }

    /// Waits until the lease is about to run out, or the lock is lost.
    pub fn poll_expiring(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.expiring || state.reason.is_some() {
            return Poll::Ready(());
        }
        wait(&mut state.wary, cx);
        Poll::Pending
    }

    /// Tells whether the lease is about to run out; whoever waits is to be woken by the caller.
    pub(crate) fn warn(&self, expiring: bool) -> Vec<Waker> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expiring = expiring;
        if expiring { std::mem::take(&mut state.wary) } else { Vec::new() }
    }

    /// Tells of the loss; whoever waits is to be woken by the caller, outside of its own locks.
    pub(crate) fn happen(&self, reason: &LossReason) -> Vec<Waker> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reason.get_or_insert_with(|| reason.clone());
        let mut wakers = std::mem::take(&mut state.wakers);
        wakers.append(&mut state.wary);
        wakers
    }
}

fn wait(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}
