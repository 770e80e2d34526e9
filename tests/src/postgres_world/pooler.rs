//! What may stand between clients and server, and hands the server's sessions out in turn: what
//! PgBouncer does since 1.18, by transaction or by connection.

use super::World;
use super::server::{Wire, WireId};
use crate::advisory_model::{Scope, SessionId as Backend, Statement};

/// Whoever waits for a session for so long is hung up on, in microseconds: the `query_wait_timeout`.
const PATIENCE: u64 = 120_000_000;

/// What a pooler and the locks behind it agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every one")]
pub enum Pooling {
    /// All that is needed: sessions that change hands between transactions are asked for locks of a
    /// transaction, and those that change hands between connections are reset.
    Sound,
    /// Sessions change hands between transactions, and are asked for locks of a session.
    SessionLocks,
    /// Sessions change hands between connections, with what is held there.
    NoReset,
}

/// Who shares the server's sessions out.
#[derive(Debug)]
pub(super) struct Pooler {
    /// Whether a session is a client's only until its transaction ends.
    by_transaction: bool,
    /// Whether a session is reset before another client has it.
    resets: bool,
    most: usize,
    idle: Vec<Backend>,
}

impl World<'_> {
    /// Puts a pooler before the server.
    pub(super) fn pool(mut self, pooling: Pooling) -> Self {
        let by_transaction = match pooling {
            Pooling::Sound => self.entropy.pick(3) > 0,
            Pooling::SessionLocks => true,
            Pooling::NoReset => false,
        };
        let resets = match pooling {
            Pooling::Sound => !by_transaction || self.entropy.pick(2) == 0,
            Pooling::SessionLocks => self.entropy.pick(2) == 0,
            Pooling::NoReset => false,
        };
        let most = [1, 2, 3, 8][self.entropy.pick(4)];
        self.pooler = Some(Pooler { by_transaction, resets, most, idle: Vec::new() });
        if by_transaction && pooling == Pooling::Sound {
            self.hold_by_transaction();
        }
        self
    }

    /// Whether locks stand on sessions that are others' meanwhile. What is true of such a session
    /// says nothing; what counts is whether two are let in.
    pub(super) fn is_unsound(&self) -> bool {
        let rebinds = self.pooler.as_ref().is_some_and(|pooler| pooler.by_transaction);
        rebinds && self.scope == Scope::Session
    }

    /// Whether the pooler can give a connection a session for what was asked there.
    pub(super) fn can_bind(&self, wire: &Wire) -> bool {
        let Some(pooler) = &self.pooler else { return false };
        let taken = self.wires.values().filter(|wire| wire.backend.is_some()).count();
        let room = self.up && pooler.idle.len() + taken < pooler.most;
        let asks = wire.owner.is_some() && !wire.over && !wire.sent.is_empty();
        asks && (room || !pooler.idle.is_empty())
    }

    /// Who waits for a session, and until when.
    fn waiting(&self) -> impl Iterator<Item = (WireId, u64)> {
        let waits = |wire: &Wire| wire.backend.is_none() && !wire.sent.is_empty();
        let waiting = self.wires.iter().filter(move |(_, wire)| waits(wire));
        waiting.map(|(id, wire)| (*id, wire.asked_at + PATIENCE))
    }

    /// When somebody has waited for a session for too long.
    pub(super) fn end_of_patience(&self) -> Option<u64> {
        self.waiting().map(|(_, until)| until).min()
    }

    /// Whoever has waited for a session for too long is hung up on.
    pub(super) fn give_up_waiting(&mut self) {
        let over: Vec<WireId> =
            self.waiting().filter(|(_, until)| *until <= self.now).map(|(id, _)| id).collect();
        for id in over {
            self.trace.saw("somebody waited for a session for too long");
            self.end_backend(id);
        }
    }

    /// Gives a connection a session.
    pub(super) fn bind(&mut self, id: WireId) {
        let Some(pooler) = &mut self.pooler else { return };
        let backend = if pooler.idle.is_empty() {
            self.server.connect()
        } else {
            pooler.idle.remove(self.entropy.pick(pooler.idle.len()))
        };
        let wire = self.wires.get_mut(&id).expect("it can be bound");
        wire.backend = Some(backend);
        if wire.last.replace(backend).is_some_and(|last| last != backend) {
            self.trace.saw("a connection was bound to another session");
        }
        self.trace.note(|| format!("wire {id} is bound to {backend:?}"));
    }

    /// A statement is over: the session may be another's now.
    pub(super) fn unbind(&mut self, id: WireId) {
        let Some(Pooler { by_transaction: true, .. }) = self.pooler else { return };
        self.give_to_pool(id);
    }

    /// A client is gone; whether its session is not.
    pub(super) fn outlives_its_client(&mut self, id: WireId) -> bool {
        if self.pooler.is_none() {
            return false;
        }
        let kept = self.give_to_pool(id);
        if kept {
            self.wires.remove(&id);
            self.trace.saw("a session outlived its client");
        } else {
            self.trace.saw("a client left in the middle of its transaction");
        }
        kept
    }

    /// Whether the session of a connection is everybody's now: one that is in a transaction is not.
    fn give_to_pool(&mut self, id: WireId) -> bool {
        let wire = self.wires.get_mut(&id).expect("it is there");
        let Some(backend) = wire.backend else { return true };
        if self.server.is_in_transaction(backend) {
            return false;
        }
        wire.backend = None;
        let now = self.instant();
        let pooler = self.pooler.as_mut().expect("there is one");
        if pooler.resets {
            self.server.ask(backend, &Statement::UnlockAll, now);
        }
        pooler.idle.push(backend);
        true
    }

    /// How many sessions nobody has.
    pub(super) fn idle(&self) -> usize {
        self.pooler.as_ref().map_or(0, |pooler| pooler.idle.len())
    }

    /// A session that nobody has ends, and nobody hears of it.
    pub(super) fn end_idle(&mut self, number: usize) {
        let pooler = self.pooler.as_mut().expect("it has idle sessions");
        let backend = pooler.idle.remove(number);
        self.server.disconnect(backend);
        self.trace.saw("a session that nobody had was killed");
    }

    /// The server stopped, and with it all sessions that nobody had.
    pub(super) fn forget_idle(&mut self) {
        if let Some(pooler) = &mut self.pooler {
            pooler.idle.clear();
        }
    }
}
