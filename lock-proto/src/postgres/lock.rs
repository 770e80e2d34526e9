//! One acquisition on PostgreSQL, whatever is acquired.

use alloc::boxed::Box;
use core::convert::Infallible;
use core::time::Duration;

use super::advisory::AdvisoryLock;
use super::call::{Command, Reply};
use super::key::AdvisoryKey;
use super::permits::PermitLock;
use crate::{Deadline, Event, Fault, Instant, LossReason, Machine, Request, RequestId};

/// One acquisition of an advisory lock, or of permits.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a lock is usual, and costs no allocation")]
#[non_exhaustive]
pub enum PostgresLock {
    /// A mutex, a writer or a reader.
    Advisory(AdvisoryLock),
    /// Permits of a semaphore.
    Permits(Box<PermitLock>),
}

macro_rules! delegate {
    ($self:ident, $machine:ident => $call:expr) => {
        match $self {
            Self::Advisory($machine) => $call,
            Self::Permits($machine) => $call,
        }
    };
}

impl crate::machine::sealed::Sealed for PostgresLock {}

impl Machine for PostgresLock {
    type Command = Command;
    type Reply = Reply;
    type Message = Infallible;
    type Cohort = AdvisoryKey;

    fn cohort(&self) -> Option<AdvisoryKey> {
        delegate!(self, machine => machine.cohort())
    }

    fn stand_behind(&mut self) {
        delegate!(self, machine => machine.stand_behind());
    }

    fn follow(&mut self, before: &mut Self, now: Instant) -> bool {
        match (self, before) {
            (Self::Advisory(machine), Self::Advisory(before)) => machine.follow(before, now),
            (Self::Permits(machine), Self::Permits(before)) => machine.follow(before, now),
            (Self::Advisory(_), Self::Permits(_)) | (Self::Permits(_), Self::Advisory(_)) => false,
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

    fn handle_message(&mut self, message: Infallible, _now: Instant) {
        match message {}
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
