//! What one acquisition on one server knows, phase by phase.

use core::time::Duration;

use super::cohort::Tenure;
use super::leaving::Leaving;
use crate::lease::Hold;
use crate::options::Budget;
use crate::time::Span;
use crate::{Fault, Instant, RequestId};

/// A server that has answered nothing for so long ends even a wait without an end.
const FAILING_FOR: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Another of its process asks for both; it gives up then.
    Behind(Instant),
    Wanting(Wish),
    Held(Held),
    Leaving(Leaving),
    Closed,
}

/// Not ours yet; the next question is due at `ask_at` unless one is unanswered.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) give_up_at: Instant,
    pub(super) ask_at: Instant,
    pub(super) faults: u32,
}

/// Nothing but faults since then.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) since: Instant,
    pub(super) last: Fault,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) tenure: Tenure,
    /// An extension that waits for the unanswered question, or for its next try.
    pub(super) wanted: Option<Extension>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Extension {
    pub(super) ttl: Span,
    pub(super) automatic: bool,
    pub(super) at: Instant,
}

/// The one unanswered question.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) sent: Instant,
    /// Whether nobody has taken it yet, to carry it out.
    pub(super) unsent: bool,
    pub(super) errand: Errand,
    /// What may have been on the server before.
    pub(super) before: Dirt,
}

#[derive(Clone, Debug)]
pub(super) enum Errand {
    Take,
    Enter,
    /// The lock is ours until then, without a fence.
    Mint {
        valid_until: Instant,
    },
    Extend {
        ttl: Span,
        automatic: bool,
    },
}

impl Failing {
    /// When even a wait without an end is given up.
    pub(super) fn ends_hope(&self) -> Instant {
        self.since + FAILING_FOR
    }
}

impl Errand {
    pub(super) fn takes(&self) -> bool {
        matches!(self, Self::Take | Self::Enter)
    }

    /// Whether a no leaves a place in the queue.
    pub(super) fn queues(&self, budget: Budget) -> bool {
        matches!(self, Self::Enter) && budget.waits()
    }
}

/// What may be left on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dirt {
    /// Nothing, as its answers prove.
    None,
    /// A lock or a place in the queue, until a release is answered.
    Ours,
    /// The same, and a request that was lost may still arrive after every release (R5).
    Doubtful,
}
