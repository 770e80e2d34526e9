//! One connection, and what is on its way over it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lock_engine::Clock;
use lock_engine::redis::{Inbox, Parcel, Session};
use lock_proto::{Fault, Instant};
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{ErrorKind, Pipeline, ServerErrorKind, Value};

use super::cluster;
use super::errand::{Errand, Purpose, Replies, Request};
use super::server::Server;

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
    unanswered: Mutex<Unanswered>,
    /// Whether the keeper looks after what is overdue.
    watched: AtomicBool,
    server: Weak<Server>,
    me: Weak<Self>,
}

#[derive(Default)]
struct Unanswered {
    next: u64,
    errands: BTreeMap<u64, Arc<Errand>>,
    /// When the last answer came.
    heard: Option<Instant>,
    dead: bool,
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
            unanswered: Mutex::default(),
            watched: AtomicBool::new(false),
            server: Arc::downgrade(server),
            me: me.clone(),
        })
    }

    /// Writes a parcel.
    pub(super) fn send(&self, parcel: Parcel) {
        if Clock::System.now() > parcel.not_after() {
            return parcel.expire();
        }
        if parcel.listens() {
            self.subscribe();
        }
        let node = parcel.node().map(|(host, port)| (host.to_owned(), port));
        let request = self.connection.request(parcel.pack(&self.session), node);
        self.start(request, Purpose::Parcel(parcel));
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
            self.start(request, Purpose::Subscription);
        }
    }

    fn start(&self, request: Request, purpose: Purpose) {
        let errand = {
            let mut unanswered = self.unanswered();
            if unanswered.dead {
                drop(unanswered);
                if let Purpose::Parcel(parcel) = purpose {
                    parcel.fail(Fault::not_sent("the connection to the Redis server is lost"));
                }
                return;
            }
            let number = unanswered.next;
            unanswered.next += 1;
            let now = Clock::System.now();
            let errand = Errand::new(number, now, self.me.clone(), request, purpose);
            unanswered.errands.insert(number, Arc::clone(&errand));
            errand
        };
        errand.run();
        if !self.watched.swap(true, Ordering::AcqRel)
            && let Some(server) = self.server.upgrade()
        {
            server.wake_keeper();
        }
    }

    /// One request has come to its end.
    pub(super) fn finish(&self, number: u64, replies: Replies, purpose: Purpose) {
        {
            let mut unanswered = self.unanswered();
            unanswered.errands.remove(&number);
            unanswered.heard = Some(Clock::System.now());
        }
        let Some(server) = self.server.upgrade() else { return };
        // First, so that whoever is told of a fault does not try this connection again.
        if self.is_over(&replies) {
            server.lose(self.generation);
        }
        if let Purpose::Parcel(parcel) = purpose
            && let Some(parcel) = parcel.replied(&self.session, replies)
        {
            server.send(parcel);
        }
        server.notice_end();
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
        let errands = {
            let mut unanswered = self.unanswered();
            unanswered.dead = true;
            std::mem::take(&mut unanswered.errands)
        };
        for errand in errands.into_values() {
            let fault = Fault::unknown("the connection to the Redis server was lost");
            fail(&errand, fault);
        }
    }

    /// Whether a request is unanswered and the server has been silent for `limit`; otherwise when to
    /// look again. A cluster mends itself, and only the request is given up.
    pub(super) fn overdue(&self, limit: Duration, now: Instant) -> Overdue {
        loop {
            let oldest = {
                let unanswered = self.unanswered();
                // One server answers in order, so that whoever waits behind many others waits for
                // them: it is silent only when it answers nobody.
                let heard = match self.connection {
                    Connection::Single(_) => unanswered.heard,
                    Connection::Cluster(_) => None,
                };
                unanswered.errands.first_key_value().map(|(_, errand)| {
                    let since = heard.into_iter().fold(errand.since(), Instant::max);
                    (Arc::clone(errand), since + limit)
                })
            };
            let Some((errand, due)) = oldest else {
                self.watched.store(false, Ordering::Release);
                // One that started meanwhile may have seen the watch still standing.
                if self.unanswered().errands.is_empty() || self.watched.swap(true, Ordering::AcqRel)
                {
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
            self.unanswered().errands.retain(|_, other| !Arc::ptr_eq(other, &errand));
            fail(&errand, Fault::unknown("the cluster did not answer in time"));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unanswered().errands.is_empty()
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            Self::Single(mut connection) => Box::pin(async move {
                connection.send_packed_commands(&pipeline, 0, pipeline.len()).await
            }),
            Self::Cluster(connection) => cluster::request(connection, pipeline, node),
        }
    }
}

/// Subscribes a connection to the inbox.
pub(super) fn subscription(mut connection: MultiplexedConnection, inbox: Inbox) -> Request {
    Box::pin(async move { connection.subscribe(&**inbox.name()).await.map(|()| Vec::new()) })
}

fn fail(errand: &Errand, fault: Fault) {
    if let Some(Purpose::Parcel(parcel)) = errand.give_up() {
        parcel.fail(fault);
    }
}
