//! What is to be asked on one session, and who hears the answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use lock_proto::postgres::{AdvisoryKey, Command, Reply, SeatId, SessionId, Verb};
use lock_proto::{Fault, FaultKind, Instant, LockId, RequestId};

use super::link::PostgresLink;
use crate::background::Driven as _;
use crate::engine::Engine;
use crate::pending::Promise;

/// The queue of one session.
pub(super) struct Orders(Mutex<State>);

#[derive(Default)]
struct State {
    queue: VecDeque<Order>,
    end: Option<End>,
    waker: Option<Waker>,
}

/// How a session is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// When everything that was asked is answered.
    Finished,
    /// At once.
    Abandoned,
}

/// One thing to ask.
pub(super) enum Order {
    /// About a lock.
    Lock(Question, Ticket),
    /// Whether a lock may be shared, before it is, on another session.
    Probe(Probe),
    /// On nobody's behalf: the text of a statement, for the rows of its answer.
    Other(String, Answer),
}

/// What became of an order.
#[must_use = "somebody is to be woken, or to be told"]
pub(super) enum Enqueued {
    /// It waits to be asked by the task with this waker, if there is one yet.
    Added(Option<Waker>),
    /// Nobody serves the session any more.
    Refused(Order),
}

/// What is to be asked about a lock.
pub(super) struct Question {
    pub(super) command: Command,
    /// The permits that others have on the session.
    pub(super) beside: Vec<u32>,
    pub(super) not_after: Instant,
}

/// A question that waits for the answer of another session. Dropped before, it was not asked.
pub(super) struct Probe {
    waiting: Option<(Question, Ticket)>,
    then: Option<Arc<Orders>>,
}

/// The rows of an answer, as text.
pub(super) type Rows = Vec<Vec<Option<String>>>;

/// Hears the answer to a question; one that is dropped says that the session is gone.
pub(super) struct Answer(Option<Promise<Result<Rows, Fault>>>);

/// Who hears the answer about a lock; one that is dropped says that nobody knows.
pub(super) struct Ticket {
    office: Weak<Engine<PostgresLink>>,
    pub(super) origin: Origin,
    settled: bool,
}

/// Whose request it is.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) lock: LockId,
    pub(super) request: RequestId,
    pub(super) seat: SeatId,
    pub(super) session: SessionId,
    pub(super) verb: Verb,
}

impl Orders {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    /// Adds one; whoever serves the session is woken.
    pub(super) fn push(&self, order: Order) {
        self.enqueue(order).conclude();
    }

    /// Adds one; what follows is for when no lock is held.
    pub(super) fn enqueue(&self, order: Order) -> Enqueued {
        let mut state = self.state();
        if state.end == Some(End::Abandoned) {
            return Enqueued::Refused(order);
        }
        state.queue.push_back(order);
        Enqueued::Added(state.waker.clone())
    }

    /// Ends the session.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        if state.end != Some(End::Abandoned) {
            state.end = Some(end);
        }
        let waker = state.waker.clone();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// How the session is to end, if it is.
    pub(super) fn ending(&self) -> Option<End> {
        self.state().end
    }

    /// Takes everything that waits; who asks is woken when there is more.
    pub(super) fn take(&self, orders: &mut VecDeque<Order>, cx: &Context<'_>) {
        let mut state = self.state();
        orders.append(&mut state.queue);
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
    }

    /// Whether anything waits to be taken.
    pub(super) fn are_there(&self) -> bool {
        !self.state().queue.is_empty()
    }

    /// Nobody serves the session any more: what waits, and all that comes, is told why.
    pub(super) fn close(&self, why: &Fault) {
        let queue = {
            let mut state = self.state();
            state.end = Some(End::Abandoned);
            std::mem::take(&mut state.queue)
        };
        for order in queue {
            order.fail(why);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Enqueued {
    /// Wakes whoever serves the session, or tells that nobody does.
    pub(super) fn conclude(self) {
        match self {
            Self::Added(waker) => waker.into_iter().for_each(Waker::wake),
            Self::Refused(order) => order.fail(&gone()),
        }
    }
}

/// A request on a session that is not there any more.
pub(super) fn gone() -> Fault {
    Fault::unknown("the connection to the server is gone")
}

impl Order {
    /// It will not be asked.
    pub(super) fn fail(self, why: &Fault) {
        match self {
            Self::Lock(_, ticket) => ticket.settle(Err(why.clone())),
            Self::Probe(probe) => drop(probe),
            Self::Other(_, answer) => answer.give(Err(why.clone())),
        }
    }
}

impl Probe {
    /// To be asked on `then`.
    pub(super) fn new(question: Question, ticket: Ticket, then: Option<Arc<Orders>>) -> Self {
        Self { waiting: Some((question, ticket)), then }
    }

    /// The lock that may be shared.
    pub(super) fn key(&self) -> Option<AdvisoryKey> {
        self.waiting.as_ref().map(|(question, _)| question.command.key())
    }

    /// Whether the lock may be shared.
    pub(super) fn settle(mut self, shared: bool) {
        let Some((question, ticket)) = self.waiting.take() else { return };
        match &self.then {
            Some(then) if shared => then.push(Order::Lock(question, ticket)),
            Some(_) => ticket.settle(Ok(Reply::Busy)),
            None => ticket.settle(Err(gone())),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some((_, ticket)) = self.waiting.take() {
            ticket.settle(Err(Fault::not_sent("the session that was asked first is gone")));
        }
    }
}

impl Answer {
    pub(super) fn new(promise: Promise<Result<Rows, Fault>>) -> Self {
        Self(Some(promise))
    }

    pub(super) fn give(mut self, rows: Result<Rows, Fault>) {
        if let Some(promise) = self.0.take() {
            promise.keep(rows);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(promise) = self.0.take() {
            promise.keep(Err(gone()));
        }
    }
}

impl Ticket {
    pub(super) fn new(office: Weak<Engine<PostgresLink>>, origin: Origin) -> Self {
        Self { office, origin, settled: false }
    }

    /// Gives the lock its answer.
    pub(super) fn settle(mut self, reply: Result<Reply, Fault>) {
        self.tell(reply);
    }

    fn tell(&mut self, reply: Result<Reply, Fault>) {
        self.settled = true;
        if let Some(engine) = self.office.upgrade() {
            if reply.as_ref().is_err_and(|fault| fault.kind() == FaultKind::Unknown) {
                // Whoever asks again because of this answer finds another session, and nobody is
                // cancelled instead of another.
                engine.link().abandon(self.origin.session);
            }
            let next = engine.link().note(self.origin, &reply, engine.clock().now());
            engine.answer([(self.origin.lock, self.origin.request, reply)]);
            for lock in next.into_iter().flatten() {
                engine.nudge(lock);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.tell(Err(gone()));
        }
    }
}
