//! Carries the commands of locks to sessions, and what comes back to the locks.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lock_proto::postgres::{
    AdvisoryKey, AdvisoryLock, Command, Mode, PermitKeys, PermitLock, Place, PostgresLock, Reply,
    SeatId, SessionId, Sessions, Upkeep, Verb,
};
use lock_proto::{
    AcquireOptions, Demand, Fault, FaultKind, Instant, LockError, LockId, LockInfo, LockName,
    LossReason, Request,
};

use super::connect::Lifetime;
use super::info;
use super::network::Network;
use super::orders::{
    Answer as Asker, End, Enqueued, Order, Orders, Origin, Probe, Question, Rows, Ticket, gone,
};
use super::session::serve;
use super::setup::PostgresPlan;
use crate::background::Driven as _;
use crate::crowds::{Crowds, Queue};
use crate::engine::{Answer, Engine, Link, Step};
use crate::seeds::Seeds;
use crate::{Address, Pending};

pub(super) struct PostgresLink {
    plan: Arc<PostgresPlan>,
    network: Arc<dyn Network>,
    seeds: Seeds,
    crowds: Crowds,
    pool: Mutex<Pool>,
    /// Whether the pool has a loss to tell, so that nobody locks it to find out.
    has_losses: AtomicBool,
    /// When time next matters to the pool, in nanoseconds; `u64::MAX` is never.
    due: AtomicU64,
    engine: Weak<Engine<Self>>,
}

struct Pool {
    sessions: Sessions,
    open: BTreeMap<SessionId, Arc<Orders>>,
    seats: BTreeMap<SeatId, Seat>,
    losses: VecDeque<SeatId>,
}

/// One acquisition, and where it stands.
struct Seat {
    lock: LockId,
    key: AdvisoryKey,
    session: Option<SessionId>,
    held: bool,
}

impl PostgresLink {
    pub(super) fn new(
        plan: PostgresPlan,
        network: Arc<dyn Network>,
        seeds: Seeds,
        engine: Weak<Engine<Self>>,
    ) -> Self {
        let pool = Pool {
            sessions: Sessions::new(plan.limits()),
            open: BTreeMap::new(),
            seats: BTreeMap::new(),
            losses: VecDeque::new(),
        };
        Self {
            plan: Arc::new(plan),
            network,
            seeds,
            crowds: Crowds::new(),
            pool: Mutex::new(pool),
            has_losses: AtomicBool::new(false),
            due: AtomicU64::new(u64::MAX),
            engine,
        }
    }

    /// Asks a question on any session that answers at once.
    pub(super) fn ask(&self, text: String, now: Instant) -> Pending<Result<Rows, Fault>> {
        let (promise, pending) = Pending::promised();
        let order = Order::Other(text, Asker::new(promise));
        let mut pool = self.pool();
        match pool.sessions.any(now) {
            Place::On(session) => ask_on(pool, session, order),
            Place::New(session) => self.open_session(pool, session, order),
            Place::Through { .. } | Place::Soon | Place::Full => {
                drop(pool);
                order.fail(&Fault::not_sent("every connection of the pool waits for a lock"));
            }
        }
        pending
    }

    /// Notes what an answer says about where its lock stands, before the lock hears it. Says who may
    /// find a place now.
    pub(super) fn note(
        &self,
        origin: Origin,
        reply: &Result<Reply, Fault>,
        now: Instant,
    ) -> [Option<LockId>; 2] {
        let mut pool = self.pool();
        let Origin { seat: id, session, verb, .. } = origin;
        let Some(seat) = pool.seats.get_mut(&id) else { return [None; 2] };
        let key = seat.key;
        if let (Verb::Try, Ok(Reply::Busy)) = (verb, reply) {
            self.crowds.note(queue_of(key), now);
        }
        match reply {
            Ok(Reply::Granted { .. }) => {
                seat.held = true;
                pool.sessions.granted(session, id, key);
            }
            Ok(Reply::Took(permits)) => {
                seat.held = true;
                pool.sessions.took(session, id, key, permits);
            }
            Ok(Reply::Busy | Reply::Unlocked(_)) => pool.leave(session, id, key, now),
            // Whoever was inside the gate before is there still.
            Err(fault) if fault.kind() == FaultKind::NotSent && takes(verb) && !seat.held => {
                pool.leave(session, id, key, now);
            }
            // Its session ends: whoever asks again finds another.
            Err(fault) if fault.kind() == FaultKind::Unknown && takes(verb) => {
                seat.session = None;
                seat.held = false;
            }
            // What stands there is in doubt, until it was given back or the session has ended.
            Ok(_) | Err(_) => {}
        }
        self.plan(&pool);
        // Not after a fault: what a dying session refuses is told on the stack of who asks, and would
        // nudge the next there. Those who stand by ask again after a rest as well.
        if reply.is_err() {
            return [None; 2];
        }
        let next = pool.sessions.poll_standby(key);
        next.map(|seat| Some(pool.seats.get(&seat?)?.lock))
    }

    /// Nobody knows what stands on a session: it ends, and nobody new is placed there. Those who
    /// stand there hear of the end from the session itself, after all that it has to say.
    pub(super) fn abandon(&self, session: SessionId) {
        let mut pool = self.pool();
        pool.sessions.retire(session);
        let orders = pool.open.get(&session).map(Arc::clone);
        drop(pool);
        if let Some(orders) = orders {
            orders.end(End::Abandoned);
        }
    }

    /// A session is gone, and with it what stood on it.
    pub(super) fn lost(&self, session: SessionId) {
        let mut pool = self.pool();
        pool.open.remove(&session);
        for id in pool.sessions.lost(session) {
            if let Some(seat) = pool.seats.get_mut(&id).filter(|it| it.session == Some(session)) {
                seat.session = None;
                if std::mem::take(&mut seat.held) {
                    pool.losses.push_back(id);
                }
            }
        }
        if !pool.losses.is_empty() {
            self.has_losses.store(true, Ordering::Release);
        }
        self.plan(&pool);
    }

    /// Finds a session for a try or a wait, and asks there.
    fn take(
        &self,
        id: SeatId,
        request: Request<Command>,
        lock: LockId,
        now: Instant,
    ) -> Option<Reply> {
        let mut pool = self.pool();
        let (key, verb) = (request.command.key(), request.command.verb);
        // Whoever is inside the gate goes on where it is.
        let seated = pool.seats.get(&id).and_then(|seat| seat.session);
        let place = match seated {
            Some(session) => Place::On(session),
            None => pool.sessions.place(id, &request.command, now),
        };
        let (Place::On(session) | Place::New(session) | Place::Through { session, .. }) = place
        else {
            if pool.sessions.excludes(&request.command) {
                return Some(Reply::Busy);
            }
            if place == Place::Full {
                return Some(Reply::Full);
            }
            pool.seats.insert(id, Seat { lock, key, session: None, held: false });
            pool.sessions.stand_by(id, key);
            return Some(Reply::Soon);
        };
        let held = seated.is_some();
        pool.seats.insert(id, Seat { lock, key, session: Some(session), held });
        self.plan(&pool);
        let beside = pool.sessions.beside(session, id, key);
        let ticket = self.ticket(Origin { lock, request: request.id, seat: id, session, verb });
        let question = Question { command: request.command, beside, not_after: request.not_after };
        match place {
            Place::On(session) => ask_on(pool, session, Order::Lock(question, ticket)),
            Place::New(session) => self.open_session(pool, session, Order::Lock(question, ticket)),
            Place::Through { probe, opened, session } => {
                let then = pool.open.get(&session).map(Arc::clone);
                let order = Order::Probe(Probe::new(question, ticket, then));
                if opened {
                    self.open_session(pool, probe, order);
                } else {
                    ask_on(pool, probe, order);
                }
            }
            Place::Soon | Place::Full => {}
        }
        None
    }

    /// Asks on the session of a seat.
    fn follow_up(&self, id: SeatId, request: Request<Command>, lock: LockId) -> Result<(), Fault> {
        let mut pool = self.pool();
        let verb = request.command.verb;
        let Some(seat) = pool.seats.get_mut(&id) else { return Err(gone()) };
        let (key, held) = (seat.key, seat.held);
        seat.held &= verb != Verb::Unlock;
        let session = seat.session.ok_or_else(gone)?;
        // Where others share a lock, one share too many that is given back is theirs.
        let unsure = verb == Verb::Unlock && !held && pool.sessions.is_shared(session, id, key);
        if verb == Verb::Close || unsure {
            drop(pool);
            self.abandon(session);
            return Err(gone());
        }
        let beside = pool.sessions.beside(session, id, key);
        let ticket = self.ticket(Origin { lock, request: request.id, seat: id, session, verb });
        let question = Question { command: request.command, beside, not_after: request.not_after };
        ask_on(pool, session, Order::Lock(question, ticket));
        Ok(())
    }

    fn ticket(&self, origin: Origin) -> Ticket {
        Ticket::new(self.engine.clone(), origin)
    }

    fn open_session(&self, mut pool: MutexGuard<'_, Pool>, session: SessionId, first: Order) {
        let orders = Orders::new();
        orders.push(first);
        pool.open.insert(session, Arc::clone(&orders));
        drop(pool);
        let (plan, network) = (Arc::clone(&self.plan), Arc::clone(&self.network));
        let serving = serve(session, orders, plan, network, self.engine.clone());
        self.network.spawn(Box::pin(serving));
    }

    fn plan(&self, pool: &Pool) {
        let due = pool.sessions.poll_timeout().unwrap_or(Instant::FAR_FUTURE);
        self.due.store(due.as_nanos(), Ordering::Release);
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of this process stand behind another that asks for `key`.
    pub(super) fn behind(&self, key: AdvisoryKey) -> usize {
        let crowds = self.engine.upgrade().map(|engine| engine.crowds(|cohort| *cohort));
        let crowds = crowds.unwrap_or_default().into_iter();
        crowds.filter(|(crowd, _)| *crowd == key).map(|(_, behind)| behind).sum()
    }

    /// Somebody has given a permit back.
    pub(super) fn nudge(&self, session: SessionId, channel: &str) {
        let Some(gate) = PermitKeys::gate_of(channel) else { return };
        let pool = self.pool();
        let there = pool.sessions.seats(session, gate).into_iter();
        let locks: Vec<LockId> = there.filter_map(|it| Some(pool.seats.get(&it)?.lock)).collect();
        drop(pool);
        let Some(engine) = self.engine.upgrade() else { return };
        for lock in locks {
            engine.nudge(lock);
        }
    }

    pub(super) fn permits_of(
        &self,
        address: &Address,
        limit: u32,
    ) -> Result<PermitKeys, LockError> {
        if self.plan.lifetime() == Lifetime::Transaction {
            let problem = "a semaphore on PostgreSQL needs locks of the session's scope";
            return Err(LockError::Unsupported(problem.into()));
        }
        Ok(PermitKeys::new(&LockName::new(Arc::clone(&address.name))?, limit))
    }

    pub(super) fn key_of(address: &Address) -> Result<AdvisoryKey, LockError> {
        let name = LockName::new(Arc::clone(&address.name))?;
        Ok(AdvisoryKey::from_name(name.as_str()))
    }
}

/// Orders stand in the order in which they were placed: a question that came after a wait would be
/// answered when that ends, and a cancel that came after another's wait would end that.
fn ask_on(pool: MutexGuard<'_, Pool>, session: SessionId, order: Order) {
    let enqueued = match pool.open.get(&session) {
        Some(orders) => orders.enqueue(order),
        None => Enqueued::Refused(order),
    };
    // An order that is refused is told to the pool.
    drop(pool);
    enqueued.conclude();
}

fn queue_of(key: AdvisoryKey) -> Queue {
    let (high, low, kind) = key.row();
    Queue::of(u64::from(high) << 32 | u64::from(low) ^ u64::from(kind))
}

fn takes(verb: Verb) -> bool {
    matches!(verb, Verb::Try | Verb::Wait { .. })
}

impl Pool {
    fn leave(&mut self, session: SessionId, id: SeatId, key: AdvisoryKey, now: Instant) {
        self.sessions.left(session, id, key, now);
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.session = None;
            seat.held = false;
        }
    }
}

impl Link for PostgresLink {
    type Machine = PostgresLock;
    type Opened = (PostgresLock, SeatId);
    type Site = SeatId;
    type Table = ();
    type Errand = Request<Command>;
    type Letter = Infallible;

    fn locate(&self, name: &str) -> Address {
        Address::named(name)
    }

    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<(PostgresLock, SeatId), LockError> {
        let seed = self.seeds.next();
        let lock = match demand {
            Demand::Permits { count, limit } => {
                let keys = self.permits_of(address, limit)?;
                let lock = PermitLock::new(keys, count, options, &seed, now)?;
                PostgresLock::Permits(Box::new(lock))
            }
            Demand::Exclusive | Demand::Shared => {
                let exclusive = demand == Demand::Exclusive;
                let mode = if exclusive { Mode::Exclusive } else { Mode::Shared };
                let key = Self::key_of(address)?;
                let crowded = self.crowds.waited_at(queue_of(key), now);
                let lock = AdvisoryLock::new(key, mode, options, &seed, now)?;
                let lock = if crowded { lock.queueing(now) } else { lock };
                let leads = !address.shared;
                PostgresLock::Advisory(if leads { lock.leading(self.plan.fencing) } else { lock })
            }
        };
        Ok((lock, self.pool().sessions.seat()))
    }

    fn compute(
        &self,
        (): &mut (),
        _: LockId,
        _: &SeatId,
        request: Request<Command>,
        _: Instant,
    ) -> Step<Self> {
        Step::Outside(request)
    }

    fn carry_out(
        &self,
        lock: LockId,
        site: &SeatId,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Result<Reply, Fault>> {
        match request.command.verb {
            Verb::Try | Verb::Wait { .. } => self.take(*site, request, lock, now).map(Ok),
            Verb::Cancel | Verb::Unlock | Verb::Close => {
                self.follow_up(*site, request, lock).err().map(Err)
            }
        }
    }

    fn send(&self, _: LockId, letter: Infallible, _: Instant) {
        match letter {}
    }

    fn poll_answer(&self, (): &mut (), _: Instant) -> Option<(LockId, Answer<Self>)> {
        if !self.has_losses.load(Ordering::Acquire) {
            return None;
        }
        let mut pool = self.pool();
        while let Some(seat) = pool.losses.pop_front() {
            // Who was forgotten meanwhile does not care.
            if let Some(seat) = pool.seats.get(&seat) {
                return Some((seat.lock, Answer::Loss(LossReason::Disconnected)));
            }
        }
        self.has_losses.store(false, Ordering::Release);
        None
    }

    fn poll_timeout(&self, (): &()) -> Option<Instant> {
        Some(Instant::from_nanos(self.due.load(Ordering::Acquire)))
            .filter(|due| *due < Instant::FAR_FUTURE)
    }

    fn handle_timeout(&self, now: Instant) {
        let mut pool = self.pool();
        let mut upkeep = Vec::new();
        while let Some(due) = pool.sessions.poll_upkeep(now) {
            upkeep.push(match due {
                Upkeep::Close(session) => (pool.open.remove(&session), true),
                Upkeep::Speak(session) => (pool.open.get(&session).map(Arc::clone), false),
            });
        }
        self.plan(&pool);
        drop(pool);
        for (orders, close) in upkeep {
            let Some(orders) = orders else { continue };
            if close {
                orders.end(End::Finished);
            } else {
                let (promise, _) = Pending::promised();
                orders.push(Order::Other(String::new(), Asker::new(promise)));
            }
        }
    }

    /// The seat goes from who leaves to who follows, with what stands on it.
    fn redirect(&self, site: &SeatId, _before: LockId, lock: LockId) {
        if let Some(seat) = self.pool().seats.get_mut(site) {
            seat.lock = lock;
            seat.held = true;
        }
    }

    fn forget(&self, site: &SeatId, _lock: LockId) {
        let mut pool = self.pool();
        if let Some(seat) = pool.seats.remove(site) {
            pool.sessions.forget(*site, seat.key);
        }
    }

    fn info(
        &self,
        _: &Engine<Self>,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>> {
        info::info(self, address, demand, now)
    }

    fn list(&self, _: &Engine<Self>, now: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
        info::list(self, now)
    }
}

impl Drop for PostgresLink {
    fn drop(&mut self) {
        let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
        for orders in pool.open.values() {
            orders.end(End::Finished);
        }
    }
}
