//! What one acquisition of an advisory lock knows, phase by phase.

use core::time::Duration;

use super::advisory::SHORTEST_WAIT;
use super::call::Verb;
use super::leaving::Leaving;
use crate::lease::Hold;
use crate::{Backoff, Fault, FaultKind, Instant, Jitter, RequestId};

/// A server that has answered nothing for so long ends even a wait without an end.
const FAILING_FOR: Duration = Duration::from_secs(30);
/// A try without an answer for so long is the server's fault, and not somebody else's hold.
const SILENCE: Duration = Duration::from_millis(500);
/// How often a single try is asked again on another session.
const REPEATS: u32 = 3;

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Another of its process asks for both; it gives up then.
    Behind(Instant),
    Wanting(Wish),
    /// Ours, and its session's since then.
    Held {
        hold: Hold,
        since: Instant,
    },
    Leaving(Leaving),
    Closed,
}

/// Not ours yet; the next question is due at `ask_at` unless one is unanswered.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) give_up_at: Instant,
    pub(super) ask_at: Instant,
    /// Whether it was just refused, so that the next question is to wait.
    pub(super) queues: bool,
    /// Whether it queues without having been refused.
    pub(super) presumes: bool,
    pub(super) rests: u32,
    /// Whether there was no session only because others of us are about to hear.
    pub(super) stands_by: bool,
    /// How often it was asked on a session that broke, or could not be asked there.
    pub(super) repeats: u32,
}

/// The one unanswered question.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) sent: Instant,
    pub(super) verb: Verb,
    /// What may have been ours before.
    pub(super) before: bool,
}

/// Nothing but faults since then.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) since: Instant,
    pub(super) last: Fault,
}

impl Wish {
    pub(super) fn new(give_up_at: Instant, now: Instant) -> Self {
        Self {
            give_up_at,
            ask_at: now,
            queues: false,
            presumes: false,
            rests: 0,
            stands_by: false,
            repeats: 0,
        }
    }

    /// The next question is to wait, unless no time is left for that.
    pub(super) fn queue(&mut self, now: Instant) {
        self.queues = true;
        let in_time = self.give_up_at.since(now) >= SHORTEST_WAIT;
        self.ask_at = if in_time { now } else { self.give_up_at };
    }

    /// There is nowhere to ask: it is tried again in a while.
    pub(super) fn rest(&mut self, backoff: Backoff, jitter: &mut Jitter, now: Instant) {
        self.queues = false;
        self.stands_by = false;
        self.ask_at = now + backoff.rest(self.rests, jitter);
        self.rests = self.rests.saturating_add(1);
    }

    /// What kept us from an answer, if it was not somebody else's hold.
    pub(super) fn unheard(
        &self,
        failing: Option<&Failing>,
        asked: Option<&Asked>,
        once: bool,
        now: Instant,
    ) -> Option<Fault> {
        if let Some(failing) = failing {
            return Some(failing.last.clone());
        }
        if once && self.stands_by {
            return Some(no_session());
        }
        let silent = |asked: &&Asked| asked.verb == Verb::Try && now >= asked.sent + SILENCE;
        asked.filter(silent).map(|_| Fault::unknown("the server did not answer in time"))
    }

    /// Whether a single try that ended so is asked again: what ended may have been a session that
    /// others had before, which says nothing of the server.
    pub(super) fn may_be_repeated(&self, fault: &Fault) -> bool {
        fault.kind() == FaultKind::Unknown && self.repeats < REPEATS
    }
}

/// What a single try says that found no session.
pub(super) fn no_session() -> Fault {
    Fault::not_sent("every connection of the pool is in use: allow more with max_connections")
}

impl Failing {
    /// When even a wait without an end is given up.
    pub(super) fn ends_hope(&self) -> Instant {
        self.since + FAILING_FOR
    }
}
