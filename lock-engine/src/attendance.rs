//! What one lock's caller was told, and how to wake it.

use std::task::{Context, Waker};

use lock_proto::memory::Grant;
use lock_proto::{Event, Instant, LockError, LossReason};

use crate::Loss;
use crate::background::guarded;
use crate::few::Few;

/// One lock's state as its events tell it, and whoever waits for the next.
#[derive(Debug)]
pub(crate) struct Attendance<S> {
    /// What the link keeps for the lock.
    pub(crate) site: S,
    pub(crate) outcome: Outcome,
    pub(crate) valid_until: Option<Instant>,
    /// Set when an extension was answered.
    pub(crate) extended: bool,
    /// Set while the lease is about to run out.
    expiring: bool,
    /// Boxed, as `Outcome::Failed` is.
    pub(crate) lost: Option<Box<LossReason>>,
    /// Others can have the lock.
    pub(crate) released: bool,
    pub(crate) closed: bool,
    /// Nobody will ask about the lock again.
    pub(crate) abandoned: bool,
    waker: Option<Waker>,
    loss: Option<Loss>,
}

/// How an acquisition ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Open,
    Acquired(Option<u64>),
    /// Boxed, because every lock has room for it and few fail.
    Failed(Box<LockError>),
}

/// Whoever is to be woken once no lock is held any more.
#[derive(Default)]
pub(crate) struct Wakers(Few<Waker>);

impl Wakers {
    #[inline]
    pub(crate) fn push(&mut self, waker: Waker) {
        self.0.push(waker);
    }

    #[inline]
    pub(crate) fn extend(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.0.extend(wakers);
    }

    /// One that panics keeps neither the others asleep nor whoever wakes it from what it does next.
    #[inline]
    pub(crate) fn wake(self) {
        self.0.for_each(|waker| guarded(|| waker.wake()));
    }
}

impl<S> Attendance<S> {
    #[inline]
    pub(crate) fn new(site: S) -> Self {
        Self {
            site,
            outcome: Outcome::Open,
            valid_until: None,
            extended: false,
            expiring: false,
            lost: None,
            released: false,
            closed: false,
            abandoned: false,
            waker: None,
            loss: None,
        }
    }

    /// That of a lock which begins as ours.
    #[inline]
    pub(crate) fn held(site: S, grant: Grant) -> Self {
        let outcome = Outcome::Acquired(Some(grant.fence));
        Self { outcome, valid_until: grant.valid_until, ..Self::new(site) }
    }

    /// Takes note of one event.
    #[inline]
    pub(crate) fn note(&mut self, event: Event, wakers: &mut Wakers) {
        match event {
            // Whoever was cancelled when its provider was closed has been told so.
            Event::Acquired { .. } if !matches!(self.outcome, Outcome::Open) => {}
            Event::Acquired { valid_until, fence } => {
                self.valid_until = valid_until;
                self.outcome = Outcome::Acquired(fence);
            }
            Event::Extended { valid_until } => {
                self.valid_until = valid_until;
                self.extended = true;
                self.warn(false, wakers);
            }
            Event::Warned { .. } => self.warn(true, wakers),
            Event::Lost(reason) => self.lose(reason, wakers),
            Event::Failed(error) => self.outcome = Outcome::Failed(Box::new(error)),
            Event::Released => self.released = true,
            Event::Closed { .. } => {
                self.released = true;
                self.closed = true;
            }
            // A kind of event that this version doesn't know tells the caller nothing.
            _ => {}
        }
        wakers.extend(self.waker.take());
    }

    /// The lock is no longer ours.
    pub(crate) fn lose(&mut self, reason: LossReason, wakers: &mut Wakers) {
        if let Some(loss) = &self.loss {
            wakers.extend(loss.happen(&reason));
        }
        self.lost.get_or_insert_with(|| Box::new(reason));
        wakers.extend(self.waker.take());
    }

    /// The lease is about to run out, or is not any more.
    fn warn(&mut self, expiring: bool, wakers: &mut Wakers) {
        self.expiring = expiring;
        if let Some(loss) = &self.loss {
            wakers.extend(loss.warn(expiring));
        }
    }

    /// The news of the loss, which may have happened.
    pub(crate) fn loss(&mut self) -> Loss {
        let loss = self.loss.get_or_insert_default().clone();
        if self.expiring {
            let _ = loss.warn(true);
        }
        if let Some(reason) = &self.lost {
            // Nobody can have waited on a token that was not handed out before the loss.
            let _ = loss.happen(reason);
        }
        loss
    }

    /// Whether the lock is ours, as far as we know.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.outcome, Outcome::Acquired(_)) && self.lost.is_none()
    }

    /// Wakes `cx` at the next event.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}
