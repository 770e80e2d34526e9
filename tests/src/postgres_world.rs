//! Several clients of one PostgreSQL server, under a schedule made of bytes.
//!
//! The locks and the rules of the pool are the real ones, and the server is the model that a real
//! one is compared with. Between them `office` does what `link.rs` of the driver does, and `traffic`
//! what `session.rs` and the network do: these two are the same rules written twice.

mod client;
mod finish;
mod line;
mod log;
mod office;
mod pooler;
mod server;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::postgres::{
    AdvisoryKey, AdvisoryLock, Mode, PermitKeys, PermitLock, PoolLimits, PostgresLock,
};
use lock_proto::redis::Side;
use lock_proto::{AcquireOptions, Hub, Instant, LockId, LockName, Renewal, Seed};

use self::client::{Belief, Client};
use self::log::Log;
use self::pooler::Pooler;
pub use self::pooler::Pooling;
use self::server::{CancelFlight, Wire, WireId};
use crate::advisory_model::{Scope, Server};
use crate::entropy::Entropy;
use crate::storage::Storage;
use crate::trace::{Happening, Trace};

const LOCKS: usize = 12;
/// How many permits a semaphore of this world has.
const LIMIT: u32 = 3;

/// What is wrong with the driver of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every flaw")]
pub enum Flaw {
    /// Nothing.
    None,
    /// What was not granted is not given back either: an error is taken for the proof that nothing
    /// is held.
    ForgetsToRecheck,
    /// A session in doubt goes on.
    ClosesNothing,
    /// A wait may have a session on which something is held.
    WaitsBesideHolds,
    /// Each lock is given back twice.
    UnlocksTwice,
    /// The session goes on before a cancel has come to its end.
    WaitsForNoCancel,
    /// Whoever is inside the gate of a semaphore is forgotten if its question was not asked.
    ForgetsTheGate,
    /// Who holds a lock on a session that is gone does not hear of it.
    TellsNoLoss,
    /// A lock that is given back stays on its session, which goes on.
    KeepsForThePool,
    /// A statement leaves its transaction open.
    LeavesTransactions,
    /// A fence is told before it is on disk.
    LeavesLogInMemory,
    /// What is promoted has not heard of the promotion before.
    PromotesStrangers,
    /// What holders write to accepts older fences.
    UnfencedStorage,
}

/// What somebody may want in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Lock(AdvisoryKey, Mode),
    Permits(u32),
}

impl Want {
    /// The name of the lock, and how much of it.
    fn named(self) -> (&'static str, Side) {
        match self {
            Self::Lock(key, mode) => {
                let first = key == AdvisoryKey::from_name("orders");
                let alone = mode == Mode::Exclusive;
                let side = if alone { Side::Exclusive } else { Side::Shared };
                (if first { "orders" } else { "invoices" }, side)
            }
            Self::Permits(count) => ("seats", Side::Permits { count, limit: LIMIT }),
        }
    }
}

/// The state of one run.
#[derive(Debug)]
pub struct World<'a> {
    flaw: Flaw,
    entropy: Entropy,
    /// Microseconds since the beginning.
    now: u64,
    server: Server,
    /// Whether the server lets anybody in.
    up: bool,
    pooler: Option<Pooler>,
    /// What holds the locks.
    scope: Scope,
    wires: BTreeMap<WireId, Wire>,
    next_wire: WireId,
    cancels: Vec<CancelFlight>,
    clients: Vec<Client>,
    limits: PoolLimits,
    wants: Vec<Want>,
    keys: PermitKeys,
    /// Whether the locks of one client stand behind each other.
    cohorts: bool,
    /// Whether the locks of a mutex stand in the queue without a try.
    crowded: bool,
    fenced: bool,
    log: Log,
    /// What the holders of `orders` write to.
    storage: Storage,
    last_fence: BTreeMap<AdvisoryKey, u64>,
    /// Whether an administrator has cancelled anything.
    meddled: bool,
    started: usize,
    trace: &'a mut Trace,
}

/// Runs one world to its end.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(flaw: Flaw, entropy: Entropy, trace: &mut Trace) {
    World::new(flaw, entropy, trace).run();
}

/// Runs one world whose clients reach the server through a pooler.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run_pooled(pooling: Pooling, entropy: Entropy, trace: &mut Trace) {
    World::new(Flaw::None, entropy, trace).pool(pooling).run();
}

impl<'a> World<'a> {
    fn new(flaw: Flaw, mut entropy: Entropy, trace: &'a mut Trace) -> Self {
        let key = |name| AdvisoryKey::from_name(name);
        let alone = |name| Want::Lock(key(name), Mode::Exclusive);
        let shared = |name| Want::Lock(key(name), Mode::Shared);
        let wants = match entropy.pick(4) {
            0 => vec![alone("orders")],
            1 => vec![alone("orders"), alone("invoices")],
            2 => vec![alone("orders"), shared("orders"), shared("orders"), alone("invoices")],
            _ => vec![Want::Permits(1), Want::Permits(2), Want::Permits(LIMIT), alone("orders")],
        };
        let mut limits = PoolLimits::new([8, 3, 2, 1][entropy.pick(4)]);
        limits.multiplexed = entropy.pick(4) > 0;
        limits.keepalive = (entropy.pick(4) == 0).then_some(Duration::from_secs(1));
        let name = LockName::new("seats").expect("a short name");
        let count = 1 + entropy.pick(5);
        Self {
            flaw,
            cohorts: entropy.pick(2) == 0,
            crowded: entropy.pick(4) == 0,
            fenced: entropy.pick(2) == 0,
            entropy,
            now: 0,
            server: Server::new(),
            up: true,
            pooler: None,
            scope: Scope::Session,
            wires: BTreeMap::new(),
            next_wire: 0,
            cancels: Vec::new(),
            clients: (0..count).map(|_| Client::new(limits, flaw)).collect(),
            limits,
            wants,
            keys: PermitKeys::new(&name, LIMIT),
            log: Log::default(),
            storage: Storage::new(flaw != Flaw::UnfencedStorage),
            last_fence: BTreeMap::new(),
            meddled: false,
            started: 0,
            trace,
        }
    }

    fn run(mut self) {
        while let Some(choice) = self.entropy.choose(36) {
            if self.step(choice) {
                self.check();
            }
        }
        if !self.is_unsound() {
            self.finish();
        }
    }

    /// Each lock is held by a transaction on a session of its own, which knows no permits and no
    /// fences.
    fn hold_by_transaction(&mut self) {
        self.scope = Scope::Transaction;
        self.fenced = false;
        self.limits.multiplexed = false;
        self.wants.retain(|want| matches!(want, Want::Lock(..)));
        let (limits, flaw) = (self.limits, self.flaw);
        self.clients.iter_mut().for_each(|client| *client = Client::new(limits, flaw));
    }

    fn since_the_beginning(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now * 1_000)
    }

    /// Whether it did anything.
    fn step(&mut self, choice: usize) -> bool {
        match choice {
            0..=22 => return self.move_any(),
            23 | 24 => self.let_time_pass(),
            25..=27 => self.start(),
            28 | 29 => self.on_any_lock("release", |hub, lock, now| hub.release(lock, now)),
            30 => self.expire(),
            31..=34 => self.write(),
            _ => self.disturb(),
        }
        true
    }

    /// What nobody asked for.
    fn disturb(&mut self) {
        if !self.up {
            return self.restart();
        }
        match self.entropy.pick(14) {
            0 => self.on_any_lock("extend", |hub, lock, now| {
                hub.extend(lock, Duration::from_millis(700), now);
            }),
            1 => self.on_any_lock("nudge", Hub::nudge),
            2 | 3 => self.kill_any(),
            4 | 5 => self.cut_any(),
            6 => self.crash(),
            7 => self.restart(),
            8 | 9 => self.meddle(),
            10 | 11 => self.lose_a_cancel(),
            12 => self.replicate(),
            _ => self.server_drops_any(),
        }
    }

    fn start(&mut self) {
        if self.started == LOCKS {
            return;
        }
        self.started += 1;
        let client = self.entropy.pick(self.clients.len());
        let want = self.wants[self.entropy.pick(self.wants.len())];
        let timeout = match self.entropy.pick(4) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(1_500)),
            _ => None,
        };
        let mut options = AcquireOptions::new().with_timeout(timeout);
        if self.entropy.pick(6) == 0 {
            options = options.with_ttl(Duration::from_secs(2)).with_renewal(Renewal::Off);
        }
        let seed = Seed::from_bytes([u8::try_from(self.started).unwrap_or(0); 32]);
        let now = self.instant();
        let machine = match want {
            Want::Lock(key, mode) => {
                let lock = AdvisoryLock::new(key, mode, &options, &seed, now);
                let lock = lock.expect("sensible options");
                let lock = if self.crowded { lock.queueing(now) } else { lock };
                let lock = if self.cohorts { lock.leading(self.fenced) } else { lock };
                PostgresLock::Advisory(lock)
            }
            Want::Permits(count) => {
                let lock = PermitLock::new(self.keys, count, &options, &seed, now);
                PostgresLock::Permits(Box::new(lock.expect("sensible options")))
            }
        };
        let process = &mut self.clients[client];
        let site = process.office.sessions.seat();
        let belief = Belief::new(want, site, timeout.is_none(), self.now);
        let lock = process.hub.start(machine, belief, now);
        self.trace.note(|| format!("client {client} wants {want:?} as {lock:?}, {timeout:?}"));
        let (at, (name, side)) = (self.since_the_beginning(), want.named());
        self.trace.happened(at, || Happening::Asked { client, lock, name, side });
        self.settle(client);
    }

    fn let_time_pass(&mut self) {
        let steps = [1_000, 30_000, 300_000, 1_000_000, 2_600_000];
        let next = self.next_deadline();
        let then = match (self.entropy.pick(8), next) {
            (choice @ 0..5, _) => self.now + steps[choice],
            (_, Some(next)) => next,
            (_, None) => return,
        };
        self.pass_until(then);
        if !self.entropy.happens(64) {
            self.expire();
        }
    }

    /// When time next matters to anybody.
    fn next_deadline(&self) -> Option<u64> {
        let clients = self
            .clients
            .iter()
            .flat_map(|client| [client.hub.poll_timeout(), client.office.sessions.poll_timeout()]);
        let next = clients.chain([self.server.poll_timeout()]).flatten().min();
        let next = next.map(|next| next.as_nanos().div_ceil(1_000));
        let first = next.into_iter().chain(self.end_of_patience()).min()?;
        Some(first.max(self.now))
    }

    /// Nobody's deadline is passed over, but nobody need be woken at it either.
    fn pass_until(&mut self, then: u64) {
        self.now = self.now.max(then);
        self.trace.note(|| format!("it is {} ms", self.now / 1_000));
        self.trace.event();
        let now = self.instant();
        for client in 0..self.clients.len() {
            // A client that sleeps on is one that a busy machine does not let run.
            if self.entropy.happens(64) {
                continue;
            }
            self.clients[client].office.upkeep(now);
            while self.clients[client].hub.poll_due(now).is_some() {
                self.trace.event();
            }
            let next = self.clients[client].hub.poll_timeout();
            assert!(next.is_none_or(|next| next > now), "M2: {next:?} is not after {now:?}");
            self.settle(client);
        }
    }

    fn on_any_lock(
        &mut self,
        word: &str,
        act: impl FnOnce(&mut Hub<PostgresLock, Belief>, LockId, Instant),
    ) {
        let client = self.entropy.pick(self.clients.len());
        let now = self.instant();
        let locks: Vec<LockId> = self.clients[client].hub.locks().collect();
        if locks.is_empty() {
            return;
        }
        let lock = locks[self.entropy.pick(locks.len())];
        self.trace.note(|| format!("{word} {lock:?} of {client}"));
        if word == "release" {
            self.let_go(client, lock);
        } else {
            self.trace.event();
        }
        act(&mut self.clients[client].hub, lock, now);
        self.settle(client);
    }

    /// Somebody writes to what its lock is for, or what was written arrives.
    fn write(&mut self) {
        let client = self.entropy.pick(self.clients.len());
        let hub = &mut self.clients[client].hub;
        self.storage.disturb(hub, |belief| belief.hold, &mut self.entropy, self.trace);
    }

    /// An administrator ends a session.
    fn kill_any(&mut self) {
        let living = self.wires.iter().filter(|(_, wire)| wire.backend.is_some());
        let living: Vec<WireId> = living.map(|(id, _)| *id).collect();
        if living.len() + self.idle() > 0 {
            let chosen = self.entropy.pick(living.len() + self.idle());
            let at = self.since_the_beginning();
            let Some(&id) = living.get(chosen) else {
                self.trace.fault(at, || "a session that nobody has is killed".into());
                return self.end_idle(chosen - living.len());
            };
            self.trace.fault(at, || format!("the backend of wire {id} is killed"));
            self.trace.saw("a backend was killed");
            self.end_backend(id);
        }
    }

    /// An administrator cancels a statement.
    fn meddle(&mut self) {
        let busy = self.wires.iter().filter(|(_, wire)| wire.running.is_some());
        let busy: Vec<WireId> = busy.map(|(id, _)| *id).collect();
        if !busy.is_empty() {
            let id = busy[self.entropy.pick(busy.len())];
            self.meddled = true;
            let at = self.since_the_beginning();
            self.trace.fault(at, || format!("an administrator cancels wire {id}"));
            self.cancel(id);
        }
    }

    fn crash(&mut self) {
        let client = self.entropy.pick(self.clients.len());
        self.trace.note(|| format!("client {client} crashes"));
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::Crashed { client });
        self.trace.saw("a client crashed");
        for lock in self.clients[client].hub.locks().collect::<Vec<_>>() {
            self.end_hold(client, lock);
        }
        for wire in self.wires.values_mut() {
            if wire.owner.is_some_and(|(owner, _)| owner == client) {
                wire.owner = None;
                wire.said.clear();
            }
        }
        self.wires.retain(|_, wire| wire.owner.is_some() || wire.backend.is_some());
        self.clients[client] = Client::new(self.limits, self.flaw);
    }

    /// Nobody is connected any more, and for a while nobody can be.
    fn restart(&mut self) {
        self.up = !self.up;
        let at = self.since_the_beginning();
        if self.up {
            self.trace.fault(at, || "the server starts".into());
            return self.recover();
        }
        self.trace.fault(at, || "the server stops".into());
        self.trace.saw("the server stopped");
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            if self.wires[&id].backend.is_some() {
                self.end_backend(id);
            }
        }
        self.forget_idle();
        self.server.restart();
    }

    /// Never two who may both be right, and nobody who is wrong although the server is there.
    fn check(&mut self) {
        let mut holds: BTreeMap<AdvisoryKey, [u32; 2]> = BTreeMap::new();
        let (mut permits, mut told) = (0, Vec::new());
        let unsound = self.is_unsound();
        for (number, client) in self.clients.iter_mut().enumerate() {
            for (session, want) in client.holds() {
                let line = session.and_then(|session| client.office.lines.get(&session));
                let Some(line) = line else {
                    panic!("loss: client {number} holds {want:?} on a session that is gone");
                };
                let wire = line.wire.and_then(|wire| self.wires.get(&wire));
                let Some(wire) = wire.filter(|wire| !wire.over) else { continue };
                match wire.backend {
                    Some(backend) => told.push((backend, want)),
                    None => assert!(unsound, "truth: {want:?} is held on no session"),
                }
                match want {
                    Want::Lock(key, mode) => {
                        holds.entry(key).or_default()[usize::from(mode == Mode::Shared)] += 1;
                    }
                    Want::Permits(count) => permits += count,
                }
            }
        }
        for (key, [alone, shared]) in holds {
            assert!(alone < 2, "exclusion: {alone} hold {key} alone");
            assert!(alone == 0 || shared == 0, "exclusion: {shared} share {key}");
            if shared > 1 {
                self.trace.saw("readers share");
            }
        }
        assert!(permits <= LIMIT, "exclusion: {permits} permits of {LIMIT} are out");
        if !unsound {
            self.check_that_it_is_true(&told);
            self.check_that_nothing_leaks();
        }
    }
}
