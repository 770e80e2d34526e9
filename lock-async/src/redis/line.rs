//! One connection, and what is on its way over it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use lock_engine::Clock;
use lock_engine::redis::{Answers, Inbox, Parcel, Session, fault_of};
use lock_proto::{Fault, Instant};
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{ErrorKind, Pipeline, ServerErrorKind, Value};

use super::cluster;
use super::errand::{Errand, Purpose, Replies, Request};
use super::lookout::{Lookout, look_soon};
use super::server::Server;

/// More parcels than this are not written in one piece, and so many are written at once: the first
/// of them would wait for the last, and the server would rest while they are gathered.
const MOST_ABOARD: usize = 16;
/// More parcels than this don't wait to be written.
const MOST_WAITING: usize = 100_000;
/// With fewer writes than this unanswered, a parcel is written at once. Otherwise it waits for the
/// tasks that are about to run, and what they send is written with it.
const FEW: usize = 2;

/// A connection of the `redis` crate; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To all nodes of a cluster; it mends itself.
    Cluster(ClusterConnection),
}

/// One connection in use.
pub(super) struct Line {
    /// Tells it from those before it.
    pub(super) generation: u64,
    connection: Connection,
    session: Session,
    inbox: Inbox,
    subscribed: Mutex<bool>,
    traffic: Mutex<Traffic>,
    /// Whether the keeper looks after what is overdue.
    watched: AtomicBool,
    server: Weak<Server>,
    me: Weak<Self>,
}

struct Traffic {
    next: u64,
    /// What is unanswered, by its number, in its order.
    errands: VecDeque<(u64, Arc<Errand>)>,
    /// Writes that are answered, of which nobody has been told, in their order.
    answered: Vec<(Replies, Purpose)>,
    /// What is not written yet, in its order.
    waiting: VecDeque<Parcel>,
    /// Whether somebody writes: one after another, so that all keeps its order.
    departing: bool,
    /// Writes what waits, and tells what was answered.
    keeper: Option<Waker>,
    lookout: Lookout,
    /// When the last answer came.
    heard: Option<Instant>,
    dead: bool,
}

impl Traffic {
    fn new() -> Self {
        Self {
            next: 0,
            errands: VecDeque::new(),
            answered: Vec::new(),
            waiting: VecDeque::new(),
            departing: false,
            keeper: None,
            lookout: Lookout::here(),
            heard: None,
            dead: false,
        }
    }
}

impl Line {
    pub(super) fn new(
        connection: Connection,
        generation: u64,
        inbox: &Inbox,
        subscribed: bool,
        server: &Arc<Server>,
    ) -> Arc<Self> {
        let session = match connection {
            Connection::Single(_) => Session::new(),
            Connection::Cluster(_) => Session::mending(),
        };
        Arc::new_cyclic(|me| Self {
            generation,
            connection,
            session,
            inbox: inbox.clone(),
            subscribed: Mutex::new(subscribed),
            traffic: Mutex::new(Traffic::new()),
            watched: AtomicBool::new(false),
            server: Arc::downgrade(server),
            me: me.clone(),
        })
    }

    /// Writes a parcel, now or soon.
    pub(super) fn send(&self, parcel: Parcel) {
        let mut traffic = self.traffic();
        if traffic.dead {
            drop(traffic);
            return parcel.fail(lost());
        }
        if traffic.waiting.len() >= MOST_WAITING {
            drop(traffic);
            return parcel.fail(Fault::not_sent("too many requests wait for the Redis server"));
        }
        if traffic.departing {
            traffic.waiting.push_back(parcel);
        } else if traffic.waiting.is_empty() && traffic.errands.len() < self.few() {
            traffic.departing = true;
            drop(traffic);
            self.depart([parcel]);
        } else {
            traffic.waiting.push_back(parcel);
            if traffic.waiting.len() < self.most_aboard() {
                call(traffic);
            } else {
                self.depart_with_most(traffic);
            }
        }
    }

    /// Tells what was answered, and lets what waits be written by the task of `cx`, once the tasks
    /// that are about to run have had their turn: `gave_way` is whether they had.
    pub(super) fn ferry(&self, cx: &Context<'_>, gave_way: &mut bool) {
        self.settle_answered();
        let mut traffic = self.traffic();
        let mut left = traffic.waiting.len();
        if left > 0 && left < self.most_aboard() && !traffic.departing && !*gave_way {
            *gave_way = true;
            drop(traffic);
            return cx.waker().wake_by_ref();
        }
        *gave_way = false;
        while left > 0 && !traffic.departing {
            left = left.saturating_sub(self.depart_with_most(traffic));
            traffic = self.traffic();
            left = left.min(traffic.waiting.len());
        }
        let waits = !traffic.waiting.is_empty() && !traffic.departing;
        let again = waits || !traffic.answered.is_empty();
        traffic.keeper = Some(cx.waker().clone());
        if again {
            call(traffic);
        } else if traffic.errands.len() >= FEW && traffic.lookout.look() {
            drop(traffic);
            look_soon(cx);
        }
    }

    /// Writes as much of what waits as goes into one piece; how much that is.
    fn depart_with_most(&self, mut traffic: MutexGuard<'_, Traffic>) -> usize {
        let count = traffic.waiting.len().min(self.most_aboard());
        let aboard: Vec<_> = traffic.waiting.drain(..count).collect();
        traffic.departing = true;
        drop(traffic);
        self.depart(aboard);
        count
    }

    /// Writes parcels in one piece; `departing` is set.
    fn depart(&self, aboard: impl IntoIterator<Item = Parcel, IntoIter: ExactSizeIterator>) {
        let aboard = aboard.into_iter();
        let departure = Departure(self);
        let now = Clock::System.now();
        let mut pipeline = Pipeline::with_capacity(2 * aboard.len());
        let mut parcels = Vec::with_capacity(aboard.len());
        let mut late = Vec::new();
        for parcel in aboard {
            if now > parcel.not_after() {
                late.push(parcel);
                continue;
            }
            if parcel.listens() {
                self.subscribe();
            }
            let count = parcel.pack_into(&mut pipeline, &self.session);
            parcels.push((parcel, count));
        }
        if let Some((first, _)) = parcels.first() {
            let node = first.node().map(|(host, port)| (host.to_owned(), port));
            let request = self.connection.request(pipeline, node);
            self.start(request, Purpose::Parcels(parcels), now);
        }
        drop(departure);
        late.into_iter().for_each(Parcel::expire);
    }

    /// Subscribes to the inbox, unless that was done: what is written next comes after.
    fn subscribe(&self) {
        let mut subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        if *subscribed {
            return;
        }
        *subscribed = true;
        if let Connection::Single(connection) = &self.connection {
            let request = subscription(connection.clone(), self.inbox.clone());
            self.start(request, Purpose::Subscription, Clock::System.now());
        }
    }

    fn start(&self, request: Request, purpose: Purpose, now: Instant) {
        let errand = {
            let mut traffic = self.traffic();
            if traffic.dead {
                drop(traffic);
                return purpose.fail(&lost());
            }
            let number = traffic.next;
            traffic.next += 1;
            traffic.lookout.expect(number);
            let errand = Errand::new(number, now, self.me.clone(), request, purpose);
            traffic.errands.push_back((number, Arc::clone(&errand)));
            errand
        };
        errand.run();
        let watched =
            self.watched.load(Ordering::Acquire) || self.watched.swap(true, Ordering::AcqRel);
        if !watched && let Some(server) = self.server.upgrade() {
            server.wake_keeper();
        }
    }

    /// One write is answered, or never will be. If others are unanswered, their answers are likely
    /// to come at once: then all are told together, by whoever has the last of them or by the keeper.
    /// Telling wakes tasks, and waking few at a time wakes a thread of the runtime for each few.
    pub(super) fn finish(&self, number: u64, replies: Replies, purpose: Purpose) {
        let before = {
            let mut traffic = self.traffic();
            if let Ok(place) = traffic.errands.binary_search_by_key(&number, |(own, _)| *own) {
                traffic.errands.remove(place);
            }
            traffic.lookout.answered();
            if !traffic.errands.is_empty() {
                // Nobody who asks from now on waits for longer.
                traffic.heard = Some(Clock::System.now());
                // A fault is told at once, and a cluster's answers come from several servers.
                if replies.is_ok() && !self.is_cluster() {
                    traffic.answered.push((replies, purpose));
                    return call(traffic);
                }
            }
            std::mem::take(&mut traffic.answered)
        };
        for (replies, purpose) in before {
            self.settle(replies, purpose);
        }
        self.settle(replies, purpose);
    }

    fn settle_answered(&self) {
        let answered = std::mem::take(&mut self.traffic().answered);
        for (replies, purpose) in answered {
            self.settle(replies, purpose);
        }
    }

    fn settle(&self, replies: Replies, purpose: Purpose) {
        let Some(server) = self.server.upgrade() else { return };
        // First, so that whoever is told of a fault does not try this connection again.
        if self.is_over(&replies) {
            server.lose(self.generation);
        }
        match (purpose, replies) {
            (Purpose::Parcels(parcels), Ok(mut replies)) => {
                let mut rest = replies.as_mut_slice();
                let mut answers = Answers::default();
                for (parcel, count) in parcels {
                    let (own, others) = rest.split_at_mut(count.min(rest.len()));
                    rest = others;
                    if let Some(parcel) = parcel.replied_by(&self.session, own, &mut answers) {
                        server.send(parcel);
                    }
                }
            }
            (Purpose::Parcels(parcels), Err(error)) if self.is_cluster() => {
                for (parcel, _) in parcels {
                    if let Some(parcel) = parcel.refused_by_node(error.clone()) {
                        server.send(parcel);
                    }
                }
            }
            (purpose, Err(error)) => purpose.fail(&fault_of(error)),
            (Purpose::Subscription, Ok(_)) => {}
        }
        server.notice_end();
    }

    fn is_cluster(&self) -> bool {
        matches!(self.connection, Connection::Cluster(_))
    }

    /// Whether nothing good will come over this connection any more: it broke, or leads to a
    /// server that has become a replica.
    fn is_over(&self, replies: &Replies) -> bool {
        let Connection::Single(_) = self.connection else { return false };
        match replies {
            Ok(replies) => replies.iter().any(|reply| {
                matches!(reply, Value::ServerError(error)
                    if error.kind() == Some(ServerErrorKind::ReadOnly))
            }),
            Err(error) => error.is_unrecoverable_error() || error.kind() == ErrorKind::Io,
        }
    }

    /// Fails everything that is on its way; nothing more is read of it.
    pub(super) fn kill(&self) {
        let (errands, waiting) = {
            let mut traffic = self.traffic();
            traffic.dead = true;
            (std::mem::take(&mut traffic.errands), std::mem::take(&mut traffic.waiting))
        };
        self.settle_answered();
        for (_, errand) in errands {
            let fault = Fault::unknown("the connection to the Redis server was lost");
            fail(&errand, &fault);
        }
        for parcel in waiting {
            parcel.fail(lost());
        }
    }

    /// Whether a request is unanswered and the server has been silent for `limit`; otherwise when to
    /// look again. A cluster mends itself, and only the request is given up.
    pub(super) fn overdue(&self, limit: Duration, now: Instant) -> Overdue {
        loop {
            let oldest = {
                let traffic = self.traffic();
                // One server answers in order, so that whoever waits behind many others waits for
                // them: it is silent only when it answers nobody.
                let heard = match self.connection {
                    Connection::Single(_) => traffic.heard,
                    Connection::Cluster(_) => None,
                };
                traffic.errands.front().map(|(_, errand)| {
                    let since = heard.into_iter().fold(errand.since(), Instant::max);
                    (Arc::clone(errand), since + limit)
                })
            };
            let Some((errand, due)) = oldest else {
                self.watched.store(false, Ordering::Release);
                // One that started meanwhile may have seen the watch still standing.
                if self.traffic().errands.is_empty() || self.watched.swap(true, Ordering::AcqRel) {
                    return Overdue::Nothing;
                }
                continue;
            };
            if due > now {
                return Overdue::LookAt(due);
            }
            if let Connection::Single(_) = self.connection {
                return Overdue::Dead;
            }
            self.traffic().errands.retain(|(_, other)| !Arc::ptr_eq(other, &errand));
            fail(&errand, &Fault::unknown("the cluster did not answer in time"));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        let traffic = self.traffic();
        traffic.errands.is_empty()
            && traffic.answered.is_empty()
            && traffic.waiting.is_empty()
            && !traffic.departing
    }

    /// How many writes may be unanswered before parcels wait for one another; a cluster's parcels
    /// go their own ways.
    fn few(&self) -> usize {
        match self.connection {
            Connection::Single(_) => FEW,
            Connection::Cluster(_) => usize::MAX,
        }
    }

    fn most_aboard(&self) -> usize {
        match self.connection {
            Connection::Single(_) => MOST_ABOARD,
            Connection::Cluster(_) => 1,
        }
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody writes; afterwards the keeper takes what has come meanwhile.
struct Departure<'a>(&'a Line);

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let mut traffic = self.0.traffic();
        traffic.departing = false;
        if !traffic.waiting.is_empty() {
            call(traffic);
        }
    }
}

/// Wakes the keeper when no lock is held.
fn call(mut traffic: MutexGuard<'_, Traffic>) {
    let keeper = traffic.keeper.take();
    drop(traffic);
    if let Some(keeper) = keeper {
        keeper.wake();
    }
}

fn lost() -> Fault {
    Fault::not_sent("the connection to the Redis server is lost")
}

/// What a look at the unanswered requests says.
pub(super) enum Overdue {
    Nothing,
    LookAt(Instant),
    Dead,
}

impl Connection {
    fn request(&self, pipeline: Pipeline, node: Option<(String, u16)>) -> Request {
        match self.clone() {
            Self::Single(connection) if pipeline.len() == 1 => alone(connection, pipeline),
            Self::Single(mut connection) => Box::pin(async move {
                connection.send_packed_commands(&pipeline, 0, pipeline.len()).await
            }),
            Self::Cluster(connection) => cluster::request(connection, pipeline, node),
        }
    }
}

/// Asks with one command, whose reply needs nothing to be gathered in.
fn alone(mut connection: MultiplexedConnection, pipeline: Pipeline) -> Request {
    Box::pin(async move {
        let command = pipeline.cmd_iter().next().expect("there is one");
        Ok(vec![connection.send_packed_command(command).await?])
    })
}

/// Subscribes a connection to the inbox.
pub(super) fn subscription(mut connection: MultiplexedConnection, inbox: Inbox) -> Request {
    Box::pin(async move { connection.subscribe(&**inbox.name()).await.map(|()| Vec::new()) })
}

fn fail(errand: &Errand, fault: &Fault) {
    if let Some(purpose) = errand.give_up() {
        purpose.fail(fault);
    }
}
