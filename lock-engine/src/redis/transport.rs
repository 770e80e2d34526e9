//! What a link asks of whoever has the connections.

use std::fmt;
use std::sync::{Arc, Weak};

use lock_proto::redis::{Command, Reply, ScriptCall, Verb, slot};
use lock_proto::{Fault, FaultKind, Instant, LockId, RequestId};
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

use super::{Session, fault_of, wire};
use crate::crowds::Queue;
use crate::few::Few;

/// Connections to the servers of one provider.
///
/// It connects to each server, connects anew with a back-off when a connection is lost, and carries
/// parcels. What it is to do with each:
///
/// 1. Before [`Parcel::not_after`] write [`Parcel::pack`] on a connection to [`Parcel::server`], in
///    one piece. If there is no connection, keep the parcel until there is one, in a queue with a
///    bound. When its time has passed, [`Parcel::expire`] it.
/// 2. If it [listens](Parcel::listens), subscribe to the [`Inbox`](super::Inbox) before, on this
///    connection or, in a cluster, with confirmation on any.
/// 3. Give every reply to [`Parcel::replied`]; what that gives back is to be sent again.
/// 4. When the connection is lost, or has been silent for longer than a server may be, the parcels
///    that were written on it [fail](Parcel::fail) with [`Fault::unknown`], and nothing more is read
///    from it.
///
/// Each connection has a [`Session`] of its own.
pub trait Transport: Send + Sync + 'static {
    /// How many servers there are: one for a cluster, and one for a master that sentinels watch.
    fn servers(&self) -> usize;

    /// Whether the one server is a cluster, so that some questions must name a
    /// [node](Parcel::node) of it.
    fn is_cluster(&self) -> bool {
        false
    }

    /// Takes a parcel, and sees to it that it is settled once, on any thread and at any time. Never
    /// waits, and may settle it before it returns.
    fn send(&self, parcel: Parcel);

    /// Nobody will send anything any more: ends every connection.
    fn close(&self);
}

/// A parcel that nodes of a cluster send to one another more often than this is not sent again.
const MOST_HOPS: u32 = 5;

/// One thing to send to one server, and to be settled once: by a reply, or by a fault.
///
/// One that is dropped was lost, and counts as [`Fault::unknown`].
pub struct Parcel {
    server: usize,
    not_after: Instant,
    /// Where the answer may come to, if it may come later.
    inbox: Option<Arc<str>>,
    /// Whether the server is known not to know the script.
    spelled_out: bool,
    /// How often another node was named to it.
    hops: u32,
    content: Option<Content>,
}

enum Content {
    Command(Command, Ticket),
    Question(Question, Answer),
}

/// What is asked on nobody's behalf.
pub(crate) enum Question {
    /// A script.
    Script(ScriptCall),
    /// Any command, word by word, to one node of a cluster if it says which.
    Words(Vec<String>, Option<Node>),
}

/// The host and the port of a node.
pub(crate) type Node = (String, u16);

/// Hears the answer to a question.
pub(crate) type Answer = Box<dyn FnOnce(Result<Value, Fault>) + Send>;

impl Parcel {
    pub(crate) fn command(
        command: Command,
        not_after: Instant,
        inbox: &Arc<str>,
        ticket: Ticket,
    ) -> Self {
        let server = command.server;
        let inbox = command.listens().then(|| Arc::clone(inbox));
        let content = Some(Content::Command(command, ticket));
        Self { server, not_after, inbox, spelled_out: false, hops: 0, content }
    }

    pub(crate) fn question(
        server: usize,
        question: Question,
        not_after: Instant,
        answer: Answer,
    ) -> Self {
        let content = Some(Content::Question(question, answer));
        Self { server, not_after, inbox: None, spelled_out: false, hops: 0, content }
    }

    /// Which server it is for.
    #[must_use]
    pub fn server(&self) -> usize {
        self.server
    }

    /// The slot of its keys in a cluster, if it has any.
    #[must_use]
    pub fn slot(&self) -> Option<u16> {
        match self.content.as_ref()? {
            Content::Command(command, _) => Some(slot(command.keys.lock())),
            Content::Question(Question::Script(call), _) => call.keys.first().map(|key| slot(key)),
            Content::Question(Question::Words(..), _) => None,
        }
    }

    /// For which node of a cluster it is, by host and port, if not for that which has its keys.
    #[must_use]
    pub fn node(&self) -> Option<(&str, u16)> {
        match &self.content {
            Some(Content::Question(Question::Words(_, Some((host, port))), _)) => {
                Some((host, *port))
            }
            Some(Content::Question(..) | Content::Command(..)) | None => None,
        }
    }

    /// The last moment at which it may be written.
    #[must_use]
    pub fn not_after(&self) -> Instant {
        self.not_after
    }

    /// Whether the answer may come to the inbox.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.inbox.is_some()
    }

    /// What to write; as many replies come as it has commands.
    #[must_use]
    pub fn pack(&self, session: &Session) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(2);
        self.pack_into(&mut pipeline, session);
        pipeline
    }

    /// Adds what to write to what else is written in one piece, and says how many commands that
    /// were: as many replies are for this parcel.
    pub fn pack_into(&self, pipeline: &mut Pipeline, session: &Session) -> usize {
        let before = pipeline.len();
        match &self.content {
            Some(Content::Command(command, _)) => {
                let inbox = self.inbox.as_deref().unwrap_or_default();
                wire::command(pipeline, command, inbox, session, self.spelled_out);
            }
            Some(Content::Question(Question::Script(call), _)) => {
                pipeline.add_command(wire::call(call, self.spelled_out));
            }
            Some(Content::Question(Question::Words(words, _), _)) => wire::words(pipeline, words),
            None => {}
        }
        pipeline.len() - before
    }

    /// Takes what came back. A parcel that comes back is to be sent again, as if it were new: the
    /// server did not know its script.
    #[must_use = "what comes back is to be sent again"]
    pub fn replied(self, session: &Session, replies: RedisResult<Vec<Value>>) -> Option<Self> {
        match replies {
            Ok(mut replies) => self.replied_by(session, &mut replies, &mut Answers::default()),
            Err(error) => {
                self.fail(fault_of(error));
                None
            }
        }
    }

    /// Takes its replies, as [`Parcel::replied`] does, out of their places; its lock hears of them
    /// together with the others of `answers`.
    #[must_use = "what comes back is to be sent again"]
    pub fn replied_by(
        mut self,
        session: &Session,
        replies: &mut [Value],
        answers: &mut Answers,
    ) -> Option<Self> {
        let replies = match &self.content {
            Some(Content::Command(command, _)) => wire::telling(command, replies),
            Some(Content::Question(..)) | None => replies,
        };
        if !self.spelled_out && wire::lacks_script(replies) {
            self.spelled_out = true;
            return Some(self);
        }
        match self.content.take() {
            Some(Content::Command(command, ticket)) => {
                answers.add(ticket, wire::reply(&command, session, replies));
            }
            Some(Content::Question(_, answer)) => answer(wire::only(replies)),
            None => {}
        }
        None
    }

    /// Takes the one error that a client of a cluster reports instead of replies. A parcel that
    /// comes back is to be sent again, as if it were new: its keys have moved, and the client has
    /// asked where to.
    #[must_use = "what comes back is to be sent again"]
    pub fn refused_by_node(mut self, error: RedisError) -> Option<Self> {
        if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) && self.hops < MOST_HOPS {
            self.hops += 1;
            return Some(self);
        }
        let mut fault = fault_of(error.clone());
        if self.has_steps() && fault.kind() != FaultKind::Unknown {
            fault = Fault::unknown(fault.to_string()).with_cause(error);
        }
        self.fail(fault);
        None
    }

    /// Whether one of its commands may be carried out, and the next not.
    fn has_steps(&self) -> bool {
        let Some(Content::Command(command, _)) = &self.content else { return false };
        matches!(command.verb, Verb::Take { fencing: true, .. })
    }

    /// It was not written in time.
    pub fn expire(self) {
        self.fail(Fault::not_sent("there was no connection to the Redis server in time"));
    }

    /// It will have no reply.
    pub fn fail(mut self, fault: Fault) {
        self.settle(fault);
    }

    fn settle(&mut self, fault: Fault) {
        match self.content.take() {
            Some(Content::Command(_, ticket)) => ticket.answer(Err(fault)),
            Some(Content::Question(_, answer)) => answer(Err(fault)),
            None => {}
        }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if matches!(self.content, Some(Content::Question(..))) {
            self.settle(lost());
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The right to answer one request of one lock, once; dropped, it answers that nobody knows.
pub struct Ticket {
    office: Weak<dyn Office>,
    origin: Option<Origin>,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) lock: LockId,
    pub(crate) request: RequestId,
    pub(crate) server: usize,
    /// When it was handed out.
    pub(crate) since: Instant,
    /// Which lock it stands in the queue of, if it does.
    pub(crate) queue: Option<Queue>,
}

/// An answer, and to what.
pub(crate) type Answered = (Origin, Result<Reply, Fault>);

/// Answers that came together; their locks hear of them at once when it is dropped.
#[derive(Default)]
pub struct Answers {
    office: Option<Weak<dyn Office>>,
    answers: Few<Answered>,
}

impl Answers {
    fn add(&mut self, mut ticket: Ticket, reply: Result<Reply, Fault>) {
        let Some(origin) = ticket.origin.take() else { return };
        if !self.office.as_ref().is_some_and(|office| office.ptr_eq(&ticket.office)) {
            self.deliver();
            self.office = Some(Weak::clone(&ticket.office));
        }
        self.answers.push((origin, reply));
    }

    fn deliver(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        if let Some(office) = self.office.take().and_then(|office| office.upgrade()) {
            office.answered(answers);
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.deliver();
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// Where answers and messages go: an engine, whatever its transport.
pub(crate) trait Office: Send + Sync {
    /// Requests were answered.
    fn answered(&self, answers: Few<Answered>);
    /// A message came to the inbox.
    fn heard(&self, message: &str);
    /// Messages may have been lost.
    fn missed(&self);
}

impl Ticket {
    pub(crate) fn new(office: Weak<dyn Office>, origin: Origin) -> Self {
        Self { office, origin: Some(origin) }
    }

    /// Answers, and drives what follows on this thread.
    pub fn answer(mut self, reply: Result<Reply, Fault>) {
        self.settle(reply);
    }

    fn settle(&mut self, reply: Result<Reply, Fault>) {
        if let Some(origin) = self.origin.take()
            && let Some(office) = self.office.upgrade()
        {
            office.answered(Few::from((origin, reply)));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Err(lost()));
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn lost() -> Fault {
    Fault::unknown("the connection to the Redis server was given up")
}
