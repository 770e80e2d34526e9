//! The whole contract between a machine and its driver.

use core::time::Duration;

use crate::{Deadline, Event, Fault, Instant, LossReason};

/// One lock's life as a pure state machine: try, rest, hold, prolong, lose, let go.
///
/// Inputs may come in any order and at any time. After each, take every request and every event;
/// taking them late costs latency and nothing else.
///
/// The driver
///
/// - D1 answers each request exactly once, or never if the process ends;
/// - D2 starts no request after its `not_after`, and answers [`FaultKind::NotSent`] instead;
/// - D3 never lets `now` go back ([`Hub`](crate::Hub) sees to it).
///
/// A machine
///
/// - M1 never panics, whatever the inputs;
/// - M2 never asks to be woken in the past: after [`handle_timeout`](Machine::handle_timeout) at
///   `now` the next deadline is absent or later than `now`;
/// - M3 has at most one unanswered request per server, a cancel aside;
/// - M4 keeps the grammar of [`Event`];
/// - M5 counts validity from the moment a request was handed out, never from its reply, unless
///   the reply names a moment on the machine's own clock;
/// - M6 asks for nothing that could take the lock once it was released;
/// - M7 says `Closed { clean: true }` only when nothing of ours can be left;
/// - M8 gives the same outputs for the same options, seed and inputs.
///
/// [`FaultKind::NotSent`]: crate::FaultKind::NotSent
pub trait Machine: sealed::Sealed {
    /// What the driver is asked to do, in the backend's own terms.
    type Command;
    /// What the backend answers when it carried the command out.
    type Reply;
    /// What the backend says unasked.
    type Message;
    /// What locks of one [`Hub`](crate::Hub) want alike, so that one of them may ask for all.
    type Cohort: Ord;

    /// What it wants like others, who may stand behind it or before it meanwhile; `None` if it
    /// asks for itself.
    fn cohort(&self) -> Option<Self::Cohort> {
        None
    }

    /// Another of its cohort asks: wait for [`follow`](Machine::follow), or to be given up. Called
    /// before anything else.
    fn stand_behind(&mut self) {}

    /// Takes the place of the one `before` it, which leaves: what that had, as far as it is still
    /// good, or else its turn to ask. Whether there was anything to take over.
    fn follow(&mut self, _before: &mut Self, _now: Instant) -> bool {
        false
    }

    /// Whether it neither wants the lock any more nor holds it.
    fn is_leaving(&self) -> bool {
        false
    }

    /// Takes the next request to carry out.
    fn poll_request(&mut self) -> Option<Request<Self::Command>>;

    /// Takes the next thing that the caller should know.
    fn poll_event(&mut self) -> Option<Event>;

    /// When time next matters, and why.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// Records the one outcome of a request.
    fn handle_reply(&mut self, id: RequestId, reply: Result<Self::Reply, Fault>, now: Instant);

    /// Lets time pass. Early, late and repeated calls are harmless.
    fn handle_timeout(&mut self, now: Instant);

    /// A hint: the lock may be free, or may be lost. Look now.
    fn handle_nudge(&mut self, now: Instant);

    /// Records what the backend says unasked. Messages may be late, lost or told twice.
    fn handle_message(&mut self, message: Self::Message, now: Instant);

    /// The backend says, unasked, that the lock is no longer ours.
    fn handle_disconnect(&mut self, reason: LossReason, now: Instant);

    /// The caller wants to hold the lock for `ttl` from now. Ignored unless it is held.
    fn extend(&mut self, ttl: Duration, now: Instant);

    /// The caller no longer wants the lock, held or not. Cancel, drop and unlock are all this.
    fn release(&mut self, now: Instant);
}

/// One thing for the driver to do. It is answered exactly once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request<C> {
    /// Names the request in its answer.
    pub id: RequestId,
    /// Don't start it later than this: a command that arrives late may take a lock that nobody
    /// wants any more.
    pub not_after: Instant,
    /// What to do.
    pub command: C,
}

impl<C> Request<C> {
    /// The same request in another backend's words.
    pub fn map<D>(self, translate: impl FnOnce(C) -> D) -> Request<D> {
        Request { id: self.id, not_after: self.not_after, command: translate(self.command) }
    }
}

/// Names one request of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u32);

/// Hands out the request ids of one machine.
#[derive(Clone, Debug)]
pub(crate) struct RequestIds(u32);

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn next<C>(&mut self, command: C, not_after: Instant) -> Request<C> {
        Request { id: self.draw(), not_after, command }
    }

    /// The id of a request that is yet to be made.
    pub(crate) fn draw(&mut self) -> RequestId {
        let id = RequestId(self.0);
        self.0 = self.0.wrapping_add(1);
        id
    }
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "only this crate's machines keep the contract")]
    pub trait Sealed {}
}
