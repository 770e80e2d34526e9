//! Carries the commands of locks to Redis servers, and what comes back to the locks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use lock_proto::redis::{
    Command, Keys, Message, RedLock, RedisLock, RedisOptions, Reply, RoundTrip, ServerLock, Side,
    Slots,
};
use lock_proto::{
    AcquireOptions, Demand, Fault, FaultKind, Instant, LockError, LockId, LockInfo, LockName,
    Request, RequestId,
};

use super::courier::Courier;
use super::listeners::Listeners;
use super::transport::{Answered, Office, Origin, Ticket};
use super::{Inbox, info};
use crate::crowds::{Crowds, Queue};
use crate::engine::{Answer, Engine, Link, Step};
use crate::few::Few;
use crate::seeds::Seeds;
use crate::{Address, Clock, Pending};

thread_local! {
    /// The link that is handing a parcel over on this thread, by its address.
    static HANDING_OVER: Cell<usize> = const { Cell::new(0) };
}

pub(super) struct RedisLink {
    courier: Arc<Courier>,
    settings: RedisOptions,
    prefix: Arc<str>,
    seeds: Seeds,
    listeners: Listeners,
    /// Server by server, if several vote: only then is one waited for no longer than it needs.
    round_trips: Vec<Mutex<RoundTrip>>,
    crowds: Crowds,
    /// What was answered before its parcel was even handed over: the loop that hands it over takes
    /// it, so that answers don't pile up on the stack.
    early: Mutex<VecDeque<Early>>,
    has_early: AtomicBool,
    engine: Weak<Engine<Self>>,
}

/// An answer that came before its parcel was handed over.
type Early = (LockId, RequestId, Result<Reply, Fault>);

impl RedisLink {
    pub(super) fn new(
        courier: Courier,
        settings: RedisOptions,
        prefix: Arc<str>,
        seeds: Seeds,
        engine: Weak<Engine<Self>>,
    ) -> Self {
        let voting = courier.servers() > 1;
        let round_trips = (0..courier.servers()).filter(|_| voting).map(|_| Mutex::default());
        Self {
            courier: Arc::new(courier),
            settings,
            prefix,
            seeds,
            listeners: Listeners::default(),
            round_trips: round_trips.collect(),
            crowds: Crowds::new(),
            early: Mutex::default(),
            has_early: AtomicBool::new(false),
            engine,
        }
    }

    /// Lets `inbox` deliver to the locks of `engine`.
    pub(super) fn listen_to(engine: &Arc<Engine<Self>>, inbox: &Inbox) {
        let office: Weak<Engine<Self>> = Arc::downgrade(engine);
        inbox.deliver_to(office);
    }

    pub(super) fn courier(&self) -> &Arc<Courier> {
        &self.courier
    }

    fn keys_of(&self, address: &Address) -> Result<Keys, LockError> {
        match &address.keys {
            Some(keys) => keys.clone(),
            None => Keys::new(&self.prefix, &LockName::new(Arc::clone(&address.name))?),
        }
    }

    fn measure(&self, origin: Origin, reply: &Result<Reply, Fault>, clock: &Clock) {
        if let (Some(queue), Ok([0, ..])) = (origin.queue, reply) {
            self.crowds.note(queue, clock.now());
        }
        let Some(round_trip) = self.round_trips.get(origin.server) else { return };
        match reply.as_ref().map_err(Fault::kind) {
            Ok(_) | Err(FaultKind::Refused) => {
                locked(round_trip).answered(clock.now().since(origin.since));
            }
            Err(FaultKind::Unknown) => locked(round_trip).silent(),
            Err(_) => {}
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Link for RedisLink {
    type Machine = RedisLock;
    type Opened = (RedisLock, ());
    type Site = ();
    type Table = ();
    type Errand = Infallible;
    type Letter = Request<Command>;

    fn locate(&self, name: &str) -> Address {
        let keys = LockName::new(name).and_then(|name| Keys::new(&self.prefix, &name));
        Address { keys: Some(keys), ..Address::named(name) }
    }

    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<(RedisLock, ()), LockError> {
        let (keys, seed) = (self.keys_of(address)?, self.seeds.next());
        let (side, settings) = (side(demand), &self.settings);
        let machine = if self.round_trips.is_empty() {
            let crowded = self.crowds.waited_at(Queue::of(keys.hash()), now);
            let lock = ServerLock::new(keys, side, options, settings, &seed, now)?;
            let lock = if crowded { lock.queueing(now) } else { lock };
            RedisLock::Server(if address.shared { lock } else { lock.leading(options) })
        } else {
            let patience: Vec<_> =
                self.round_trips.iter().map(|trip| locked(trip).patience()).collect();
            let clock = wall_micros();
            if let Side::Permits { .. } = side {
                let lock =
                    Slots::new(keys, demand, options, settings, &patience, clock, &seed, now)?;
                RedisLock::Slots(Box::new(lock))
            } else {
                let lock =
                    RedLock::new(keys, side, options, settings, &patience, clock, &seed, now)?;
                RedisLock::Servers(Box::new(lock))
            }
        };
        Ok((machine, ()))
    }

    fn compute(
        &self,
        (): &mut (),
        lock: LockId,
        (): &(),
        request: Request<Command>,
        _: Instant,
    ) -> Step<Self> {
        // Before another lock may take over what it hears.
        if request.command.listens() {
            self.listeners.listen(lock, &request.command.token);
        }
        Step::Send(request)
    }

    fn carry_out(
        &self,
        _: LockId,
        (): &(),
        errand: Infallible,
        _: Instant,
    ) -> Option<Result<Reply, Fault>> {
        match errand {}
    }

    fn send(&self, lock: LockId, request: Request<Command>, now: Instant) {
        let command = request.command;
        let office: Weak<Engine<Self>> = self.engine.clone();
        let queue = command.listens().then(|| Queue::of(command.keys.hash()));
        let origin =
            Origin { lock, request: request.id, server: command.server, since: now, queue };
        let ticket = Ticket::new(office, origin);
        let outer = HANDING_OVER.replace(self.address());
        self.courier.carry_out(command, request.not_after, ticket);
        HANDING_OVER.set(outer);
    }

    fn has_news(&self) -> bool {
        self.has_early.load(Ordering::Acquire)
    }

    fn poll_answer(&self, (): &mut (), _: Instant) -> Option<(LockId, Answer<Self>)> {
        if !self.has_news() {
            return None;
        }
        let mut early = locked(&self.early);
        let next = early.pop_front();
        self.has_early.store(!early.is_empty(), Ordering::Release);
        next.map(|(lock, request, reply)| (lock, Answer::Reply(request, reply)))
    }

    fn poll_timeout(&self, (): &()) -> Option<Instant> {
        None
    }

    fn redirect(&self, (): &(), before: LockId, lock: LockId) {
        self.listeners.redirect(before, lock);
    }

    fn forget(&self, (): &(), lock: LockId) {
        self.listeners.forget(lock);
    }

    fn info(
        &self,
        _: &Engine<Self>,
        address: &Address,
        demand: Demand,
        _now: Instant,
    ) -> Pending<Result<LockInfo, LockError>> {
        let keys = match self.keys_of(address) {
            Ok(keys) => keys,
            Err(error) => return Pending::ready(Err(error)),
        };
        let info = info::of_lock(&self.courier, &address.name, &keys, side(demand));
        let (prefix, engine) = (Arc::clone(&self.prefix), self.engine.clone());
        Pending::asking(async move {
            let mut info = info.await?;
            add_behind(&engine, &prefix, std::slice::from_mut(&mut info));
            Ok(info)
        })
    }

    fn list(&self, _: &Engine<Self>, _now: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
        let (prefix, engine) = (Arc::clone(&self.prefix), self.engine.clone());
        let infos = info::of_all(&self.courier, &prefix);
        Pending::asking(async move {
            let mut infos = infos.await?;
            add_behind(&engine, &prefix, &mut infos);
            Ok(infos)
        })
    }
}

impl Office for Engine<RedisLink> {
    fn answered(&self, answers: Few<Answered>) {
        let link = self.link();
        answers.iter().for_each(|(origin, reply)| link.measure(*origin, reply, self.clock()));
        let answers =
            answers.into_iter().map(|(origin, reply)| (origin.lock, origin.request, reply));
        if HANDING_OVER.get() == link.address() {
            locked(&link.early).extend(answers);
            link.has_early.store(true, Ordering::Release);
        } else {
            self.answer(answers);
        }
    }

    fn heard(&self, message: &str) {
        let Some((token, message)) = Message::parse(message) else { return };
        if let Some(lock) = self.link().listeners.meant_by(token) {
            self.message(lock, message);
        }
    }

    fn missed(&self) {
        use crate::background::Driven as _;

        for lock in self.link().listeners.locks() {
            self.nudge(lock);
        }
    }
}

/// Counts those waiters of which the server does not know: they stand behind others of this process.
fn add_behind(engine: &Weak<Engine<RedisLink>>, prefix: &str, infos: &mut [LockInfo]) {
    let Some(engine) = engine.upgrade() else { return };
    for (keys, behind) in engine.crowds(|cohort| cohort.keys().clone()) {
        let name = keys.lock().strip_prefix(prefix);
        if let Some(info) = infos.iter_mut().find(|info| info.name.as_deref() == name) {
            info.waiters = Some(info.waiters.unwrap_or(0) + behind);
        }
    }
}

/// Microseconds since 1970, by a clock that may be wrong.
fn wall_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

fn side(demand: Demand) -> Side {
    match demand {
        Demand::Exclusive => Side::Exclusive,
        Demand::Shared => Side::Shared,
        Demand::Permits { count, limit } => Side::Permits { count, limit },
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
