//! One session as its client sees it, and what is asked there.

use std::collections::VecDeque;

use lock_proto::postgres::{AdvisoryKey, Command, SeatId, SessionId, Verb};
use lock_proto::{Instant, LockId, RequestId};

use super::server::WireId;

/// One session as its client sees it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// `None` until it is connected.
    pub(super) wire: Option<WireId>,
    pub(super) orders: VecDeque<Order>,
    pub(super) held_back: VecDeque<Order>,
    /// Who asked what is not answered, in its order.
    pub(super) asked: VecDeque<Asker>,
    /// Who waits for the end of a cancel.
    pub(super) cancelling: Option<Origin>,
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Abandoned,
}

/// One thing to ask.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Lock(Question, Origin),
    /// Whether a lock may be shared, before it is, on another session.
    Probe(Question, Origin, SessionId),
    Speak,
}

#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) command: Command,
    pub(super) beside: Vec<u32>,
    pub(super) not_after: Instant,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) lock: LockId,
    pub(super) request: RequestId,
    pub(super) seat: SeatId,
    pub(super) session: SessionId,
    pub(super) verb: Verb,
}

/// Who hears an answer.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Lock(Origin),
    Probe(Question, Origin, SessionId),
    Nobody,
}

/// What a line does next.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Next {
    Ask(Job, Asker),
    Cancel,
}

/// One thing for the server to do.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Lock(Command, Vec<u32>),
    Probe(AdvisoryKey),
    Speak,
}

impl Line {
    /// Whether its task has anything to do.
    pub(super) fn has_orders(&self) -> bool {
        let waits = self.cancelling.is_none() && !self.held_back.is_empty();
        waits || !self.orders.is_empty()
    }

    /// Whether it is to end now.
    pub(super) fn is_over(&self) -> bool {
        let idle = self.asked.is_empty()
            && self.held_back.is_empty()
            && self.orders.is_empty()
            && self.cancelling.is_none();
        match self.end {
            Some(End::Abandoned) => true,
            Some(End::Finished) => idle,
            None => false,
        }
    }
}
