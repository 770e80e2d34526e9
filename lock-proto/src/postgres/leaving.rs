//! Giving back what a session may hold of ours.

use core::time::Duration;

use super::call::Verb;
use crate::{Deadline, Instant, RequestId, Timer};

/// A wait that was cancelled ends within this, or its session is ended.
const CANCELS_WITHIN: Duration = Duration::from_secs(2);
/// Any other statement is answered within this, or its session is ended, whatever else is on it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The `lock_timeout` of a wait comes within this, or the wait is cancelled.
const EXPIRES_WITHIN: Duration = Duration::from_millis(50);
/// A session ends within this, or it is left to the server to notice.
const ENDS_WITHIN: Duration = Duration::from_secs(3);
/// A release that failed is tried again after this.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct Leaving {
    /// Since when it was held, if nothing but a release ended the hold.
    held_since: Option<Instant>,
    asked: Option<(RequestId, Verb)>,
    cancelled: bool,
    unlock_at: Instant,
    cancel_at: Instant,
    end: End,
}

/// The end of the session: the last resort.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    AskedFor { give_up_at: Instant },
}

impl Leaving {
    pub(super) fn new(held_since: Option<Instant>, now: Instant) -> Self {
        let end = End::At(now + ANSWERS_WITHIN);
        Self { held_since, asked: None, cancelled: false, unlock_at: now, cancel_at: now, end }
    }

    /// Its wait is about to end by itself.
    pub(super) fn expect_expiry(&mut self, now: Instant) {
        self.cancel_at = now + EXPIRES_WITHIN;
    }

    /// What to ask for next, while `unanswered` is what was asked before.
    pub(super) fn next(&self, unanswered: Option<Verb>, now: Instant) -> Option<Verb> {
        match self.end {
            End::At(at) if now >= at => Some(Verb::Close),
            End::At(_) => self.pending(unanswered).filter(|(_, at)| now >= *at).map(|(it, _)| it),
            End::AskedFor { .. } => None,
        }
    }

    fn pending(&self, unanswered: Option<Verb>) -> Option<(Verb, Instant)> {
        match unanswered {
            _ if self.asked.is_some() => None,
            None => Some((Verb::Unlock, self.unlock_at)),
            Some(Verb::Wait { .. }) if !self.cancelled => Some((Verb::Cancel, self.cancel_at)),
            Some(_) => None,
        }
    }

    pub(super) fn asked(&mut self, id: RequestId, verb: Verb, now: Instant) {
        match verb {
            Verb::Cancel => {
                self.cancelled = true;
                self.end = End::At(now + CANCELS_WITHIN);
            }
            Verb::Close => self.end = End::AskedFor { give_up_at: now + ENDS_WITHIN },
            Verb::Try | Verb::Wait { .. } | Verb::Unlock => {}
        }
        self.asked = Some((id, verb));
    }

    /// What `id` had asked for.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<Verb> {
        self.asked.take_if(|(asked, _)| *asked == id).map(|(_, verb)| verb)
    }

    /// What was asked for did not work, and may the next time.
    pub(super) fn failed(&mut self, now: Instant) {
        self.unlock_at = now + PAUSE;
    }

    /// Whether nothing is left to try.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        matches!(self.end, End::AskedFor { give_up_at } if now >= give_up_at)
    }

    pub(super) fn held_since(&self) -> Option<Instant> {
        self.held_since
    }

    pub(super) fn deadline(&self, unanswered: Option<Verb>) -> Deadline {
        let at = match self.end {
            End::At(at) => self.pending(unanswered).map_or(at, |(_, due)| due.min(at)),
            End::AskedFor { give_up_at } => give_up_at,
        };
        Deadline::new(at, Timer::Retry)
    }
}
