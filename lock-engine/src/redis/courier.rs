//! Sends commands and questions over a transport.

use std::sync::Arc;
use std::time::Duration;

use lock_proto::redis::{Command, ScriptCall};
use lock_proto::{Fault, Instant};
use redis::Value;

use super::transport::{Node, Parcel, Question, Ticket, Transport};
use crate::{Clock, Pending};

/// A question that could not be sent by now is not sent.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// The way to the servers; it ends with the last that has it.
pub(super) struct Courier {
    transport: Box<dyn Transport>,
    inbox: Arc<str>,
}

impl Courier {
    pub(super) fn new(transport: Box<dyn Transport>, inbox: Arc<str>) -> Self {
        Self { transport, inbox }
    }

    pub(super) fn servers(&self) -> usize {
        self.transport.servers()
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.transport.is_cluster()
    }

    pub(super) fn carry_out(&self, command: Command, not_after: Instant, ticket: Ticket) {
        self.transport.send(Parcel::command(command, not_after, &self.inbox, ticket));
    }

    pub(super) fn run(&self, server: usize, call: ScriptCall) -> Pending<Result<Value, Fault>> {
        self.ask(server, Question::Script(call))
    }

    pub(super) fn say(
        &self,
        server: usize,
        node: Option<&Node>,
        words: &[&str],
    ) -> Pending<Result<Value, Fault>> {
        let words = words.iter().copied().map(String::from).collect();
        self.ask(server, Question::Words(words, node.cloned()))
    }

    fn ask(&self, server: usize, question: Question) -> Pending<Result<Value, Fault>> {
        let (promise, pending) = Pending::promised();
        let not_after = Clock::System.now() + ASK_WITHIN;
        let answer = Box::new(|answer| promise.keep(answer));
        self.transport.send(Parcel::question(server, question, not_after, answer));
        pending
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.transport.close();
    }
}
