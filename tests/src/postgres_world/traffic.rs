//! What moves between clients and server, one thing at a time.

use lock_proto::Fault;
use lock_proto::postgres::{AdvisoryKey, Mode, Reply, SessionId};

use super::client::State;
use super::line::{Asker, Line, Next};
use super::server::{CancelFlight, Outcome, Said, Wire, WireId};
use super::{Flaw, Want, World};
use crate::advisory_model::SessionId as Backend;

/// One thing that can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// A client connects, asks or ends a session.
    Serve(usize, SessionId),
    /// A client hears what comes next on a session.
    Hear(usize, SessionId),
    /// A backend goes on.
    Run(WireId),
    /// A cancel comes to the server.
    Cancel(usize),
    /// Whoever cancelled hears that it is through.
    Through(usize),
    /// A backend finds that nobody is there.
    Vanish(WireId),
}

impl World<'_> {
    /// Moves something that can be moved; whether there was anything.
    pub(super) fn move_any(&mut self) -> bool {
        let moves = self.moves();
        if moves.is_empty() {
            return false;
        }
        let chosen = self.entropy.pick(moves.len());
        match moves[chosen] {
            Move::Serve(client, session) => self.serve(client, session),
            Move::Hear(client, session) => self.hear(client, session),
            Move::Run(wire) => self.run_backend(wire),
            Move::Cancel(flight) => {
                let CancelFlight { wire, .. } = self.cancels[flight];
                self.cancels[flight].arrived = true;
                assert!(!self.is_beyond_its_wait(wire), "stray: a cancel ends what came after");
                self.cancel(wire);
                self.cancels.retain(|flight| flight.awaited || !flight.arrived);
            }
            Move::Through(flight) => {
                let CancelFlight { wire, .. } = self.cancels.remove(flight);
                self.cancelled(wire, Ok(Reply::Done));
            }
            Move::Vanish(wire) => {
                if !self.outlives_its_client(wire) {
                    self.end_backend(wire);
                }
            }
        }
        true
    }

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            for (session, line) in &client.office.lines {
                let wire = line.wire.map(|wire| &self.wires[&wire]);
                if wire.is_none() || line.has_orders() || line.is_over() {
                    moves.push(Move::Serve(number, *session));
                }
                if wire.is_some_and(|wire| !wire.said.is_empty() || wire.over) {
                    moves.push(Move::Hear(number, *session));
                }
            }
        }
        for (id, wire) in &self.wires {
            if self.can_run(wire) {
                moves.push(Move::Run(*id));
            } else if wire.owner.is_none() && wire.running.is_none() {
                moves.push(Move::Vanish(*id));
            }
        }
        for (number, flight) in self.cancels.iter().enumerate() {
            let step = if flight.arrived { Move::Through } else { Move::Cancel };
            moves.push(step(number));
        }
        moves
    }

    /// The task of a session goes on.
    fn serve(&mut self, client: usize, session: SessionId) {
        let office = &mut self.clients[client].office;
        let Some(line) = office.lines.get_mut(&session) else { return };
        let Some(wire) = line.wire else {
            // A pooler answers for a server that does not.
            if !self.up && self.pooler.is_none() {
                return self.end_line(client, session, &Fault::not_sent("nobody is there"));
            }
            let wire = self.next_wire;
            self.next_wire += 1;
            line.wire = Some(wire);
            let backend = self.pooler.is_none().then(|| self.server.connect());
            self.wires.insert(wire, Wire::new(backend, (client, session)));
            return self.trace.note(|| format!("client {client} connects as wire {wire}"));
        };
        let now = self.instant();
        while let Some(next) = self.clients[client].office.next(session, now) {
            match next {
                Next::Ask(job, asker) => {
                    let line = self.clients[client].office.lines.get_mut(&session);
                    line.expect("it is served").asked.push_back(asker);
                    let wire = self.wires.get_mut(&wire).expect("its client is there");
                    if !wire.over {
                        if wire.sent.is_empty() {
                            wire.asked_at = self.now;
                        }
                        wire.sent.push_back(job);
                    }
                }
                Next::Cancel => {
                    let awaited = self.flaw != Flaw::WaitsForNoCancel;
                    self.cancels.push(CancelFlight { wire, arrived: false, awaited });
                }
            }
        }
        let line = self.clients[client].office.lines.get(&session);
        if line.is_some_and(Line::is_over) {
            self.end_line(client, session, &Fault::unknown("the session was closed"));
        }
        self.settle(client);
    }

    fn hear(&mut self, client: usize, session: SessionId) {
        let now = self.instant();
        let line = self.clients[client].office.lines.get_mut(&session).expect("it can move");
        let wire = line.wire.and_then(|wire| self.wires.get_mut(&wire)).expect("it can move");
        let office = &mut self.clients[client].office;
        match wire.said.pop_front() {
            None => {
                return self.end_line(client, session, &Fault::unknown("the server is gone"));
            }
            Some(Said::Notice(gate)) => {
                for lock in office.standing(session, gate) {
                    self.trace.event();
                    self.clients[client].hub.nudge(lock, now);
                }
            }
            Some(Said::Answer(outcome)) => {
                let line = office.lines.get_mut(&session).expect("it can move");
                let asker = line.asked.pop_front().expect("nothing is said unasked");
                match (asker, outcome) {
                    (Asker::Lock(origin), Outcome::Lock(reply)) => office.settle(origin, reply),
                    (Asker::Probe(question, origin, then), Outcome::Probed(shared)) => {
                        office.settle_probe((question, origin, then), shared);
                    }
                    (asker @ Asker::Probe(..), Outcome::Lock(_)) => office.drop_asker(asker),
                    (Asker::Nobody, Outcome::Nothing | Outcome::Lock(_)) => {}
                    (asker, outcome) => panic!("{asker:?} is answered {outcome:?}"),
                }
            }
        }
        self.settle(client);
    }

    /// A session is over for its client: everybody on it hears of that.
    pub(super) fn end_line(&mut self, client: usize, session: SessionId, why: &Fault) {
        self.trace.note(|| format!("client {client}: {session:?} is over: {why}"));
        for asker in self.clients[client].office.abandon(session) {
            self.clients[client].office.drop_asker(asker);
            self.settle(client);
        }
        self.clients[client].office.close(session, why);
        self.settle(client);
        let line = self.clients[client].office.lines.get(&session);
        let wire = line.and_then(|line| line.wire);
        self.clients[client].office.lines.remove(&session);
        self.clients[client].office.lost(session);
        self.settle(client);
        if let Some(wire) = wire {
            self.cancels.iter_mut().filter(|it| it.wire == wire).for_each(|it| it.awaited = false);
            self.cancels.retain(|flight| flight.awaited || !flight.arrived);
            let left = self.wires.get_mut(&wire).expect("its client was there");
            left.owner = None;
            left.said.clear();
            if left.backend.is_none() {
                self.wires.remove(&wire);
            }
        }
    }

    /// A cancel has come to its end.
    fn cancelled(&mut self, wire: WireId, result: Result<Reply, Fault>) {
        let owner = self.wires.get(&wire).and_then(|wire| wire.owner);
        let Some((client, session)) = owner else { return };
        let office = &mut self.clients[client].office;
        let waiting = office.lines.get_mut(&session).and_then(|line| line.cancelling.take());
        if let Some(origin) = waiting {
            office.settle(origin, result);
        }
        self.settle(client);
    }

    /// A cancel fails, as far as its client knows.
    pub(super) fn lose_a_cancel(&mut self) {
        let Some(flight) = self.cancels.iter().position(|flight| flight.awaited) else { return };
        let at = self.since_the_beginning();
        self.trace.fault(at, || "a cancel is lost".into());
        self.trace.saw("a cancel was lost");
        // It may still arrive.
        self.cancels[flight].awaited = false;
        let CancelFlight { wire, .. } = self.cancels[flight];
        self.cancels.retain(|flight| flight.awaited || !flight.arrived);
        self.cancelled(wire, Err(Fault::unknown("nobody answers a request to cancel")));
    }

    /// A connection breaks: what was sent may still be carried out, and nothing more is heard.
    pub(super) fn cut_any(&mut self) {
        let owned: Vec<(usize, SessionId)> =
            self.wires.values().filter_map(|wire| wire.owner).collect();
        if !owned.is_empty() {
            let (client, session) = owned[self.entropy.pick(owned.len())];
            self.trace.saw("a connection broke");
            let at = self.since_the_beginning();
            self.trace.fault(at, || format!("client {client} loses a connection"));
            self.end_line(client, session, &Fault::unknown("the connection broke"));
        }
    }

    /// The server finds at once that a client is gone.
    pub(super) fn server_drops_any(&mut self) {
        let left = self.wires.iter().find(|(_, wire)| wire.owner.is_none()).map(|(id, _)| *id);
        if let Some(id) = left {
            self.end_backend(id);
        }
    }

    /// What somebody believes to hold on a session, the session holds.
    pub(super) fn check_that_it_is_true(&self, told: &[(Backend, Want)]) {
        for (backend, want) in told {
            let same = told.iter().filter(|other| other == &&(*backend, *want)).count();
            match *want {
                Want::Lock(key, mode) => {
                    let count = self.server.count(*backend, (key, mode));
                    let held = usize::try_from(count).expect("a small number");
                    assert!(held >= same, "truth: {same} hold {key}, and the server says {held}");
                }
                Want::Permits(_) => {
                    let sum: u32 = told
                        .iter()
                        .map(|(at, other)| match other {
                            Want::Permits(count) if at == backend => *count,
                            Want::Permits(_) | Want::Lock(..) => 0,
                        })
                        .sum();
                    let held = (1..=super::LIMIT).filter(|number| {
                        let key = AdvisoryKey::Single(self.keys.permit(*number));
                        self.server.count(*backend, (key, Mode::Exclusive)) > 0
                    });
                    let held = u32::try_from(held.count()).expect("a small number");
                    assert!(held >= sum, "truth: {sum} permits, and the server says {held}");
                }
            }
        }
    }

    /// Whatever a session holds, somebody stands there for it, and once.
    pub(super) fn check_that_nothing_leaks(&self) {
        for row in self.server.rows().iter().filter(|row| row.granted) {
            let wire = self.wires.values().find(|wire| wire.backend == Some(row.session));
            let Some(wire) = wire else { panic!("leak: nobody has {:?}", row.session) };
            let count = self.server.count(row.session, (row.key, row.mode));
            assert!(
                count < 2 || row.mode == Mode::Shared,
                "twice: {:?} holds {} {count} times",
                row.session,
                row.key
            );
            let Some((client, session)) = wire.owner else { continue };
            let key = self.subject(row.key);
            let office = &self.clients[client].office;
            let stands = office.sessions.seats(session, key);
            let over = office.lines.get(&session).is_none_or(|line| line.end.is_some());
            assert!(
                over || stands.len() >= usize::try_from(count.min(64)).expect("a small number"),
                "leak: client {client} holds {} {count} times on {session:?}, where {stands:?} stand",
                row.key
            );
        }
    }

    /// The key under which whoever holds this one stands.
    fn subject(&self, key: AdvisoryKey) -> AdvisoryKey {
        let ours = (1..=super::LIMIT).any(|it| key == AdvisoryKey::Single(self.keys.permit(it)));
        if ours { self.keys.gate() } else { key }
    }

    /// Lets go of everything that is held; whether there was anything.
    pub(super) fn release_held(&mut self) -> bool {
        let mut any = false;
        for client in 0..self.clients.len() {
            for lock in self.clients[client].hub.locks().collect::<Vec<_>>() {
                let Some(belief) = self.clients[client].hub.attachment(lock) else { continue };
                if belief.state != State::Held {
                    continue;
                }
                any = true;
                if belief.patient {
                    self.trace.saw("whoever waits for ever is served");
                }
                self.let_go(client, lock);
                let now = self.instant();
                self.clients[client].hub.release(lock, now);
                self.settle(client);
            }
        }
        any
    }
}
