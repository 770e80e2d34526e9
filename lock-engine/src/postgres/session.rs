//! One session: the task that asks what is to be asked, and gives the answers.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use lock_proto::postgres::{Reply, SessionId, Verb};
use lock_proto::{Fault, Instant};
use tokio_postgres::{AsyncMessage, Client, Error, SimpleQueryMessage};

use super::cancel::Canceller;
use super::connect::{Connected, Line, connect};
use super::fault::fault_of;
use super::link::PostgresLink;
use super::network::Network;
use super::orders::{Answer, End, Order, Orders, Probe, Question, Rows, Ticket, gone};
use super::recall::Recall;
use super::setup::PostgresPlan;
use super::statement::{Statements, probed, verdict};
use crate::engine::Engine;

type Answering = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;
type Cancelling = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// What an answer turned out to be.
enum Outcome {
    Lock(Reply),
    Shared(bool),
    Rows(Rows),
}

/// Who hears an answer.
enum Asker {
    Lock(Ticket),
    Probe(Probe),
    Other(Answer),
}

/// Serves one session until it ends. Dropped at any point, even before it was polled, it tells
/// everybody who stands on the session that it is gone.
pub(super) fn serve(
    id: SessionId,
    orders: Arc<Orders>,
    plan: Arc<PostgresPlan>,
    network: Arc<dyn Network>,
    office: Weak<Engine<PostgresLink>>,
) -> impl Future<Output = ()> + Send {
    let farewell = Farewell { id, orders: Arc::clone(&orders), office, why: gone() };
    async move {
        let mut farewell = farewell;
        match connect(&plan.targets, &network, plan.lifetime(), plan.connect_timeout).await {
            Ok(connected) => {
                let statements = Arc::new(Statements::new(plan.lifetime(), plan.fencing));
                let mut session = Session::new(id, connected, statements, orders, &farewell.office);
                // What is asked here wakes the connection, which is polled here as well.
                let recall = Recall::new();
                farewell.why = poll_fn(|cx| recall.poll(cx, |cx| session.poll(cx, &recall))).await;
            }
            Err(fault) => farewell.why = fault,
        }
    }
}

/// Whatever ends the task, everybody on the session hears of it.
struct Farewell {
    id: SessionId,
    orders: Arc<Orders>,
    office: Weak<Engine<PostgresLink>>,
    why: Fault,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.orders.close(&self.why);
        if let Some(engine) = self.office.upgrade() {
            engine.link().lost(self.id);
            // A deadline that can't be armed here is armed by the next call of a user.
            let _ = engine.deliver();
        }
    }
}

struct Session {
    id: SessionId,
    client: Arc<Client>,
    line: Line,
    canceller: Canceller,
    statements: Arc<Statements>,
    orders: Arc<Orders>,
    office: Weak<Engine<PostgresLink>>,
    /// What was taken from the orders and may not be asked yet.
    held_back: VecDeque<Order>,
    /// What was asked, in its order, which is also that of the answers.
    asked: VecDeque<(Answering, Asker)>,
    /// A statement that comes before the end of a cancel could be cancelled by it.
    cancelling: Option<(Cancelling, Ticket)>,
}

impl Session {
    fn new(
        id: SessionId,
        connected: Connected,
        statements: Arc<Statements>,
        orders: Arc<Orders>,
        office: &Weak<Engine<PostgresLink>>,
    ) -> Self {
        Self {
            id,
            client: Arc::new(connected.client),
            line: connected.connection,
            canceller: connected.canceller,
            statements,
            orders,
            office: office.clone(),
            held_back: VecDeque::new(),
            asked: VecDeque::new(),
            cancelling: None,
        }
    }

    /// Serves on; ready, with the reason, when the session is over.
    fn poll(&mut self, cx: &mut Context<'_>, recall: &Recall) -> Poll<Fault> {
        loop {
            self.orders.take(&mut self.held_back, cx);
            self.start(cx);
            recall.forget();
            if self.orders.are_there() {
                continue;
            }
            loop {
                match self.line.poll_message(cx) {
                    Poll::Ready(Some(Ok(message))) => self.hear(&message),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(self.over(Some(error))),
                    Poll::Ready(None) => return Poll::Ready(self.over(None)),
                    Poll::Pending => break,
                }
            }
            let answered = self.answer(cx);
            match self.orders.ending() {
                Some(End::Abandoned) => return Poll::Ready(gone()),
                Some(End::Finished) if self.is_idle() => return Poll::Ready(gone()),
                // What was held back may be asked now.
                Some(End::Finished) | None if answered && !self.held_back.is_empty() => {}
                Some(End::Finished) | None => return Poll::Pending,
            }
        }
    }

    /// The server speaks unasked.
    fn hear(&self, message: &AsyncMessage) {
        if let AsyncMessage::Notification(notification) = message
            && let Some(engine) = self.office.upgrade()
        {
            engine.link().nudge(self.id, notification.channel());
        }
    }

    fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.held_back.is_empty() && self.cancelling.is_none()
    }

    /// The answers that had come before the end are given first.
    fn over(&mut self, error: Option<Error>) -> Fault {
        self.answer(&mut Context::from_waker(Waker::noop()));
        error.map_or_else(gone, |error| gone().with_context(&fault_of(error).to_string()))
    }

    /// Asks what may be asked.
    fn start(&mut self, cx: &mut Context<'_>) {
        while self.cancelling.is_none()
            && let Some(order) = self.held_back.pop_front()
        {
            match order {
                Order::Lock(question, ticket) => self.ask_lock(question, ticket, cx),
                Order::Probe(probe) => {
                    let Some(key) = probe.key() else { continue };
                    let client = Arc::clone(&self.client);
                    let answering =
                        Box::pin(async move { probed(&client, key).await.map(Outcome::Shared) });
                    self.ask(answering, Asker::Probe(probe));
                }
                Order::Other(text, answer) => {
                    let client = Arc::clone(&self.client);
                    let answering = Box::pin(async move {
                        client.simple_query(&text).await.map(|it| Outcome::Rows(rows(&it)))
                    });
                    self.ask(answering, Asker::Other(answer));
                }
            }
        }
    }

    fn ask_lock(&mut self, question: Question, ticket: Ticket, cx: &mut Context<'_>) {
        if self.now().is_none_or(|now| now > question.not_after) {
            ticket.settle(Err(Fault::not_sent("it was too late to ask")));
        } else if question.command.verb == Verb::Cancel && !self.runs(&ticket) {
            // Its wait is answered, and what runs now may be another's.
            ticket.settle(Ok(Reply::Done));
        } else if question.command.verb == Verb::Cancel {
            let canceller = self.canceller.clone();
            let cancel = Box::pin(async move { canceller.cancel().await });
            self.cancelling = Some((cancel, ticket));
            self.poll_cancel(cx);
        } else {
            let (client, statements) = (Arc::clone(&self.client), Arc::clone(&self.statements));
            let answering =
                Box::pin(
                    async move { statements.ask(&client, &question).await.map(Outcome::Lock) },
                );
            self.ask(answering, Asker::Lock(ticket));
        }
    }

    /// Whether something that the same seat asked has no answer yet.
    fn runs(&self, ticket: &Ticket) -> bool {
        let seat = ticket.origin.seat;
        self.asked.iter().any(|(_, it)| matches!(it, Asker::Lock(own) if own.origin.seat == seat))
    }

    /// Nothing moves but by what [`Session::poll`] reads, so nobody need be woken for it.
    fn ask(&mut self, mut answering: Answering, asker: Asker) {
        // The first poll sends it. What is ready at once is polled once more in its turn.
        let mut cx = Context::from_waker(Waker::noop());
        match answering.as_mut().poll(&mut cx) {
            Poll::Pending => self.asked.push_back((answering, asker)),
            Poll::Ready(outcome) => asker.hear(outcome),
        }
    }

    /// Gives the answers that have come; whether there were any.
    fn answer(&mut self, cx: &mut Context<'_>) -> bool {
        let mut answered = self.poll_cancel(cx);
        let mut silent = Context::from_waker(Waker::noop());
        while let Some((answering, _)) = self.asked.front_mut() {
            let Poll::Ready(outcome) = answering.as_mut().poll(&mut silent) else { break };
            if let Some((_, asker)) = self.asked.pop_front() {
                asker.hear(outcome);
            }
            answered = true;
        }
        answered
    }

    fn poll_cancel(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((cancel, _)) = &mut self.cancelling else { return false };
        let Poll::Ready(result) = cancel.as_mut().poll(cx) else { return false };
        if let Some((_, ticket)) = self.cancelling.take() {
            ticket.settle(result.map(|()| Reply::Done));
        }
        true
    }

    fn now(&self) -> Option<Instant> {
        self.office.upgrade().map(|engine| engine.clock().now())
    }
}

impl Asker {
    fn hear(self, outcome: Result<Outcome, Error>) {
        match (self, outcome) {
            (Self::Lock(ticket), Ok(Outcome::Lock(reply))) => ticket.settle(Ok(reply)),
            (Self::Lock(ticket), Err(error)) => {
                ticket.settle(verdict(&error).ok_or_else(|| fault_of(error)));
            }
            (Self::Probe(probe), Ok(Outcome::Shared(shared))) => probe.settle(shared),
            (Self::Probe(probe), Err(_)) => drop(probe),
            (Self::Other(answer), Ok(Outcome::Rows(rows))) => answer.give(Ok(rows)),
            (Self::Other(answer), Err(error)) => answer.give(Err(fault_of(error))),
            // Each asks for its own kind.
            (Self::Lock(_) | Self::Probe(_) | Self::Other(_), Ok(_)) => {}
        }
    }
}

pub(super) fn rows(messages: &[SimpleQueryMessage]) -> Rows {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => {
                None
            }
        })
        .collect()
}
