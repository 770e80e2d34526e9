//! What one client does about its sessions: the rules of the driver, without its sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lock_proto::postgres::{
    AdvisoryKey, Command, Place, PoolLimits, Reply, SeatId, SessionId, Sessions, Upkeep, Verb,
};
use lock_proto::{Fault, FaultKind, Instant, LockId, Request};

use super::Flaw;
use super::line::{Asker, End, Job, Line, Next, Order, Origin, Question};

/// The sessions of one client, and who stands on them.
#[derive(Debug)]
pub(super) struct Office {
    flaw: Flaw,
    pub(super) sessions: Sessions,
    /// Those that may be asked.
    open: BTreeSet<SessionId>,
    /// Those that are served, if only to their end.
    pub(super) lines: BTreeMap<SessionId, Line>,
    pub(super) seats: BTreeMap<SeatId, Seat>,
    losses: VecDeque<SeatId>,
    /// Those that may find a place now.
    nudges: VecDeque<LockId>,
    /// Answers that are known, and that nobody has heard.
    settled: VecDeque<(Origin, Result<Reply, Fault>)>,
}

/// One acquisition, and where it stands.
#[derive(Debug)]
pub(super) struct Seat {
    lock: LockId,
    key: AdvisoryKey,
    pub(super) session: Option<SessionId>,
    held: bool,
}

fn gone() -> Fault {
    Fault::unknown("the connection to the server is gone")
}

fn takes(verb: Verb) -> bool {
    matches!(verb, Verb::Try | Verb::Wait { .. })
}

impl Office {
    pub(super) fn new(limits: PoolLimits, flaw: Flaw) -> Self {
        Self {
            flaw,
            sessions: Sessions::new(limits),
            open: BTreeSet::new(),
            lines: BTreeMap::new(),
            seats: BTreeMap::new(),
            losses: VecDeque::new(),
            nudges: VecDeque::new(),
            settled: VecDeque::new(),
        }
    }

    /// Carries out what a lock asks for, or says at once what comes of it.
    pub(super) fn carry_out(
        &mut self,
        seat: SeatId,
        lock: LockId,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Result<Reply, Fault>> {
        if now > request.not_after {
            return Some(Err(Fault::not_sent("it was too late to ask")));
        }
        match request.command.verb {
            Verb::Try | Verb::Wait { .. } => self.take(seat, lock, request, now).map(Ok),
            Verb::Cancel | Verb::Unlock | Verb::Close => {
                self.follow_up(seat, lock, request, now).err().map(Err)
            }
        }
    }

    fn take(
        &mut self,
        id: SeatId,
        lock: LockId,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Reply> {
        let (key, verb) = (request.command.key(), request.command.verb);
        let seated = self.seats.get(&id).and_then(|seat| seat.session);
        let place = match seated {
            Some(session) => Place::On(session),
            None => self.place(id, &request.command, now),
        };
        let (Place::On(session) | Place::New(session) | Place::Through { session, .. }) = place
        else {
            if self.sessions.excludes(&request.command) {
                return Some(Reply::Busy);
            }
            if place == Place::Full {
                return Some(Reply::Full);
            }
            self.seats.insert(id, Seat { lock, key, session: None, held: false });
            self.sessions.stand_by(id, key);
            return Some(Reply::Soon);
        };
        let held = seated.is_some();
        self.seats.insert(id, Seat { lock, key, session: Some(session), held });
        let beside = self.sessions.beside(session, id, key);
        let origin = Origin { lock, request: request.id, seat: id, session, verb };
        let question = Question { command: request.command, beside, not_after: request.not_after };
        match place {
            Place::On(session) => self.push(session, Order::Lock(question, origin)),
            Place::New(session) => self.open(session, Order::Lock(question, origin)),
            Place::Through { probe, opened, session } => {
                let order = Order::Probe(question, origin, session);
                if opened { self.open(probe, order) } else { self.push(probe, order) }
            }
            Place::Soon | Place::Full => {}
        }
        None
    }

    fn place(&mut self, id: SeatId, command: &Command, now: Instant) -> Place {
        if self.flaw == Flaw::WaitsBesideHolds {
            let command = Command::new(command.subject.clone(), Verb::Try);
            return self.sessions.place(id, &command, now);
        }
        self.sessions.place(id, command, now)
    }

    fn follow_up(
        &mut self,
        id: SeatId,
        lock: LockId,
        request: Request<Command>,
        now: Instant,
    ) -> Result<(), Fault> {
        let verb = request.command.verb;
        let Some(seat) = self.seats.get_mut(&id) else { return Err(gone()) };
        let (key, held) = (seat.key, seat.held);
        seat.held &= verb != Verb::Unlock;
        let session = seat.session.ok_or_else(gone)?;
        let open = self.open.contains(&session);
        if !open {
            return Err(gone());
        }
        let origin = Origin { lock, request: request.id, seat: id, session, verb };
        if self.flaw == Flaw::ForgetsToRecheck && verb == Verb::Unlock && !held {
            self.settled.push_back((origin, Ok(Reply::Unlocked(false))));
            return Ok(());
        }
        if self.flaw == Flaw::KeepsForThePool && verb == Verb::Unlock && held {
            self.settled.push_back((origin, Ok(Reply::Unlocked(true))));
            return Ok(());
        }
        let unsure = verb == Verb::Unlock && !held && self.sessions.is_shared(session, id, key);
        if verb == Verb::Close || unsure {
            if self.flaw == Flaw::ClosesNothing {
                self.leave(session, id, key, now);
            } else {
                self.give_up(session);
            }
            return Err(gone());
        }
        let beside = self.sessions.beside(session, id, key);
        let question = Question { command: request.command, beside, not_after: request.not_after };
        self.push(session, Order::Lock(question, origin));
        Ok(())
    }

    /// Notes what an answer says about where its lock stands, before the lock hears it.
    fn note(&mut self, origin: Origin, reply: &Result<Reply, Fault>, now: Instant) {
        let Origin { seat: id, session, verb, .. } = origin;
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let key = seat.key;
        match reply {
            Ok(Reply::Granted { .. }) => {
                seat.held = true;
                self.sessions.granted(session, id, key);
            }
            Ok(Reply::Took(permits)) => {
                seat.held = true;
                self.sessions.took(session, id, key, permits);
            }
            Ok(Reply::Busy | Reply::Unlocked(_)) => self.leave(session, id, key, now),
            // What was held before is held on.
            Err(fault)
                if fault.kind() == FaultKind::NotSent
                    && takes(verb)
                    && (!seat.held || self.flaw == Flaw::ForgetsTheGate) =>
            {
                self.leave(session, id, key, now);
            }
            Err(fault) if fault.kind() == FaultKind::Unknown && takes(verb) => {
                seat.session = None;
                seat.held = false;
            }
            Ok(_) | Err(_) => {}
        }
        if reply.is_ok() {
            let next = self.sessions.poll_standby(key).into_iter().flatten();
            self.nudges.extend(next.filter_map(|seat| Some(self.seats.get(&seat)?.lock)));
        }
    }

    /// A session is to end, and nobody new is placed there.
    fn give_up(&mut self, session: SessionId) {
        self.sessions.retire(session);
        if let Some(line) = self.lines.get_mut(&session) {
            line.end = Some(End::Abandoned);
        }
    }

    fn leave(&mut self, session: SessionId, id: SeatId, key: AdvisoryKey, now: Instant) {
        self.sessions.left(session, id, key, now);
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.session = None;
            seat.held = false;
        }
    }

    /// A session is gone, and with it what stood on it.
    pub(super) fn lost(&mut self, session: SessionId) {
        self.open.remove(&session);
        for id in self.sessions.lost(session) {
            if let Some(seat) = self.seats.get_mut(&id).filter(|it| it.session == Some(session)) {
                seat.session = None;
                if std::mem::take(&mut seat.held) && self.flaw != Flaw::TellsNoLoss {
                    self.losses.push_back(id);
                }
            }
        }
    }

    /// The next lock that is lost.
    pub(super) fn poll_loss(&mut self) -> Option<LockId> {
        while let Some(seat) = self.losses.pop_front() {
            if let Some(seat) = self.seats.get(&seat) {
                return Some(seat.lock);
            }
        }
        None
    }

    /// The next lock that may find a place.
    pub(super) fn poll_nudge(&mut self) -> Option<LockId> {
        self.nudges.pop_front()
    }

    /// The next answer for a lock.
    pub(super) fn poll_settled(&mut self, now: Instant) -> Option<(Origin, Result<Reply, Fault>)> {
        let (origin, reply) = self.settled.pop_front()?;
        let unknown = reply.as_ref().is_err_and(|fault| fault.kind() == FaultKind::Unknown);
        if unknown && self.open.contains(&origin.session) {
            // Whoever asks again because of this answer finds another session.
            self.give_up(origin.session);
        }
        self.note(origin, &reply, now);
        Some((origin, reply))
    }

    /// The seat goes from who leaves to who follows, with what stands on it.
    pub(super) fn redirect(&mut self, site: SeatId, lock: LockId) {
        if let Some(seat) = self.seats.get_mut(&site) {
            seat.lock = lock;
            seat.held = true;
        }
    }

    /// A seat is given up.
    pub(super) fn forget(&mut self, site: SeatId) {
        if let Some(seat) = self.seats.remove(&site) {
            self.sessions.forget(site, seat.key);
        }
    }

    /// Who stands on a session for a lock.
    pub(super) fn standing(&self, session: SessionId, key: AdvisoryKey) -> Vec<LockId> {
        let there = self.sessions.seats(session, key).into_iter();
        there.filter_map(|seat| Some(self.seats.get(&seat)?.lock)).collect()
    }

    /// Closes what was idle for long, and speaks where it was silent.
    pub(super) fn upkeep(&mut self, now: Instant) {
        while let Some(due) = self.sessions.poll_upkeep(now) {
            match due {
                Upkeep::Close(session) => {
                    if self.open.remove(&session)
                        && let Some(line) = self.lines.get_mut(&session)
                    {
                        line.end.get_or_insert(End::Finished);
                    }
                }
                Upkeep::Speak(session) => self.push(session, Order::Speak),
            }
        }
    }

    fn open(&mut self, session: SessionId, first: Order) {
        let line = Line { orders: [first].into(), ..Line::default() };
        self.lines.insert(session, line);
        self.open.insert(session);
    }

    fn push(&mut self, session: SessionId, order: Order) {
        let open = self.open.contains(&session);
        match self.lines.get_mut(&session).filter(|_| open) {
            Some(line) if line.end != Some(End::Abandoned) => line.orders.push_back(order),
            Some(_) | None => self.fail(order, &gone()),
        }
    }

    fn fail(&mut self, order: Order, why: &Fault) {
        match order {
            Order::Lock(_, origin) => self.settle(origin, Err(why.clone())),
            Order::Probe(_, origin, _) => self.drop_probe(origin),
            Order::Speak => {}
        }
    }

    fn drop_probe(&mut self, origin: Origin) {
        let fault = Fault::not_sent("the session that was asked first is gone");
        self.settle(origin, Err(fault));
    }

    pub(super) fn settle(&mut self, origin: Origin, reply: Result<Reply, Fault>) {
        self.settled.push_back((origin, reply));
    }

    /// The answer to a probe.
    pub(super) fn settle_probe(
        &mut self,
        (question, origin, session): (Question, Origin, SessionId),
        shared: bool,
    ) {
        if shared {
            self.push(session, Order::Lock(question, origin));
        } else {
            self.settle(origin, Ok(Reply::Busy));
        }
    }

    /// Somebody who asked will hear nothing.
    pub(super) fn drop_asker(&mut self, asker: Asker) {
        match asker {
            Asker::Lock(origin) => self.settle(origin, Err(gone())),
            Asker::Probe(_, origin, _) => self.drop_probe(origin),
            Asker::Nobody => {}
        }
    }

    /// What the line is to ask next.
    pub(super) fn next(&mut self, session: SessionId, now: Instant) -> Option<Next> {
        let hasty = self.flaw == Flaw::WaitsForNoCancel;
        let line = self.lines.get_mut(&session)?;
        // The task of a session ends before it asks what it held back.
        if line.end == Some(End::Abandoned) {
            return None;
        }
        line.held_back.append(&mut line.orders);
        while hasty || line.cancelling.is_none() {
            match line.held_back.pop_front()? {
                Order::Lock(question, origin) if now > question.not_after => {
                    let fault = Fault::not_sent("it was too late to ask");
                    self.settled.push_back((origin, Err(fault)));
                }
                Order::Lock(question, origin) if question.command.verb == Verb::Cancel => {
                    if hasty {
                        self.settled.push_back((origin, Ok(Reply::Done)));
                    } else {
                        line.cancelling = Some(origin);
                    }
                    return Some(Next::Cancel);
                }
                Order::Lock(Question { command, beside, .. }, origin) => {
                    let asker = Asker::Lock(origin);
                    return Some(Next::Ask(Job::Lock(command, beside), asker));
                }
                Order::Probe(question, origin, then) => {
                    let key = question.command.key();
                    let asker = Asker::Probe(question, origin, then);
                    return Some(Next::Ask(Job::Probe(key), asker));
                }
                Order::Speak => return Some(Next::Ask(Job::Speak, Asker::Nobody)),
            }
        }
        None
    }

    /// Everything that the end of a line tells to somebody, in its order; what comes meanwhile goes
    /// to its orders.
    pub(super) fn abandon(&mut self, session: SessionId) -> Vec<Asker> {
        let Some(line) = self.lines.get_mut(&session) else { return Vec::new() };
        let held_back = std::mem::take(&mut line.held_back).into_iter();
        let held_back = held_back.map(|order| match order {
            Order::Lock(_, origin) => Asker::Lock(origin),
            Order::Probe(question, origin, then) => Asker::Probe(question, origin, then),
            Order::Speak => Asker::Nobody,
        });
        let asked = std::mem::take(&mut line.asked);
        held_back.chain(asked).chain(line.cancelling.take().map(Asker::Lock)).collect()
    }

    /// Nobody serves the line any more: what waits, and all that comes, is told why.
    pub(super) fn close(&mut self, session: SessionId, why: &Fault) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        line.end = Some(End::Abandoned);
        for order in std::mem::take(&mut line.orders) {
            self.fail(order, why);
        }
    }
}
