//! What one acquisition of an advisory lock knows, phase by phase.

use core::time::Duration;

use super::advisory::SHORTEST_WAIT;
use super::call::Verb;
use super::leaving::Leaving;
use crate::lease::Hold;
use crate::{Fault, FaultKind, Instant, RequestId};

/// A server that has answered nothing for so long ends even a wait without an end.
const FAILING_FOR: Duration = Duration::from_secs(30);
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
        Self { give_up_at, ask_at: now, queues: false, presumes: false, rests: 0 }
    }

    /// The next question is to wait, unless no time is left for that.
    pub(super) fn queue(&mut self, now: Instant) {
        self.queues = true;
        let in_time = self.give_up_at.since(now) >= SHORTEST_WAIT;
        self.ask_at = if in_time { now } else { self.give_up_at };
    }

    /// Whether a single try that ended so is asked again: what ended may have been a session that
    /// others had before, which says nothing of the server.
    pub(super) fn may_be_repeated(&self, fault: &Fault) -> bool {
        fault.kind() == FaultKind::Unknown && self.rests < REPEATS
    }
}

impl Failing {
    /// When even a wait without an end is given up.
    pub(super) fn ends_hope(&self) -> Instant {
        self.since + FAILING_FOR
    }
}
