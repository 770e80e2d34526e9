//! One acquisition on Redis, however many servers there are.

use alloc::boxed::Box;
use core::time::Duration;

use super::call::{Command, Message, Reply};
use super::cohort::Cohort;
use super::redlock::RedLock;
use super::server_lock::ServerLock;
use super::slots::Slots;
use crate::{Deadline, Event, Fault, Instant, LossReason, Machine, Request, RequestId};

/// One acquisition of a lock on one server or on several.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one server is usual, and costs no allocation")]
#[non_exhaustive]
pub enum RedisLock {
    /// On one server, or on the one of a cluster where the key lies.
    Server(ServerLock),
    /// On several servers, which vote.
    Servers(Box<RedLock>),
    /// Permits on several servers.
    Slots(Box<Slots>),
}

macro_rules! delegate {
    ($self:ident, $machine:ident => $call:expr) => {
        match $self {
            Self::Server($machine) => $call,
            Self::Servers($machine) => $call,
            Self::Slots($machine) => $call,
        }
    };
}

impl crate::machine::sealed::Sealed for RedisLock {}

impl Machine for RedisLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Message;
    type Cohort = Cohort;

    fn cohort(&self) -> Option<Cohort> {
        match self {
            Self::Server(machine) => machine.cohort(),
            Self::Servers(_) | Self::Slots(_) => None,
        }
    }

    fn stand_behind(&mut self) {
        delegate!(self, machine => machine.stand_behind());
    }

    fn follow(&mut self, before: &mut Self, now: Instant) -> bool {
        match (self, before) {
            (Self::Server(machine), Self::Server(before)) => machine.follow(before, now),
            (Self::Server(_) | Self::Servers(_) | Self::Slots(_), _) => false,
        }
    }

    fn is_leaving(&self) -> bool {
        delegate!(self, machine => machine.is_leaving())
    }

    fn poll_request(&mut self) -> Option<Request<Command>> {
        delegate!(self, machine => machine.poll_request())
    }

    fn poll_event(&mut self) -> Option<Event> {
        delegate!(self, machine => machine.poll_event())
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        delegate!(self, machine => machine.poll_timeout())
    }

    fn handle_reply(&mut self, id: RequestId, reply: Result<Reply, Fault>, now: Instant) {
        delegate!(self, machine => machine.handle_reply(id, reply, now));
    }

    fn handle_timeout(&mut self, now: Instant) {
        delegate!(self, machine => machine.handle_timeout(now));
    }

    fn handle_nudge(&mut self, now: Instant) {
        delegate!(self, machine => machine.handle_nudge(now));
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        delegate!(self, machine => machine.handle_message(message, now));
    }

    fn handle_disconnect(&mut self, reason: LossReason, now: Instant) {
        delegate!(self, machine => machine.handle_disconnect(reason, now));
    }

    fn extend(&mut self, ttl: Duration, now: Instant) {
        delegate!(self, machine => machine.extend(ttl, now));
    }

    fn release(&mut self, now: Instant) {
        delegate!(self, machine => machine.release(now));
    }
}
