//! How long whoever waits for one server must wait at most: two small worlds in which nothing else
//! goes wrong.

use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::{CLAIM, FENCES, Keys, Message, RedisOptions, ServerLock, Side, Verb};
use lock_proto::{AcquireOptions, Event, Hub, Instant, LockId, LockName, Renewal, Seed};
use lock_tests::entropy::Entropy;
use lock_tests::redis_model::{Draw, Store};
use lock_tests::seeds::{schedule, seeds_until, violation};
use lock_tests::trace::Trace;

/// The server's clock at the beginning, in microseconds since 1970.
const EPOCH: u64 = 1_700_000_000_000_000;
/// What a request and its answer take, in microseconds.
const ROUND_TRIP: u64 = 1_000;
/// How often a waiter asks, at the latest, and what it gives an expiry.
const REFRESH: u64 = 1_250_000;
const SLACK: u64 = 20_000;
const SEEDS: u64 = 1_500;

struct Small {
    store: Store,
    /// Microseconds since the beginning.
    now: u64,
    /// Whether the clients' clocks go on.
    clocks_run: bool,
    clients: Vec<Option<Hub<ServerLock, Known>>>,
    keys: Keys,
    started: u8,
}

#[derive(Default)]
struct Known {
    token: String,
    is_held: bool,
}

impl Small {
    fn new(clients: usize) -> Self {
        let mut store = Store::new();
        store.set_clock(EPOCH);
        let name = LockName::new("orders").expect("the world is small");
        let keys = Keys::new("", &name).expect("the world is small");
        let clients = (0..clients).map(|_| Some(Hub::new())).collect();
        Self { store, now: 0, clocks_run: true, clients, keys, started: 0 }
    }

    fn local(&self) -> Instant {
        Instant::from_nanos(if self.clocks_run { self.now * 1_000 } else { 0 })
    }

    /// A client asks for the mutex, and its requests are carried out at once.
    fn start(&mut self, client: usize, options: &AcquireOptions, fencing: bool) {
        self.started += 1;
        let settings = RedisOptions::new(Identity::new("build-7", 4242)).with_fencing(fencing);
        let (keys, seed) = (self.keys.clone(), Seed::from_bytes([self.started; 32]));
        let now = self.local();
        let lock = ServerLock::new(keys, Side::Exclusive, options, &settings, &seed, now)
            .expect("the world is small");
        let lock = lock.queueing(now).leading(options);
        let known = Known { token: lock.token().as_str().into(), is_held: false };
        self.hub(client).start(lock, known, now);
        self.carry(client);
    }

    fn hub(&mut self, client: usize) -> &mut Hub<ServerLock, Known> {
        self.clients[client].as_mut().expect("it lives")
    }

    /// Carries to and fro whatever a client and the server have to say; says who was let in.
    fn carry(&mut self, client: usize) {
        loop {
            let mut is_quiet = true;
            while let Some(succession) = self.hub(client).poll_succession() {
                if succession.inherits {
                    let hub = self.hub(client);
                    let token = |hub: &mut Hub<_, Known>, lock| {
                        std::mem::take(&mut hub.attachment(lock).expect("the world is small").token)
                    };
                    let inherited = token(hub, succession.before);
                    let unused = token(hub, succession.lock);
                    hub.attachment(succession.lock).expect("the world is small").token = inherited;
                    hub.attachment(succession.before).expect("the world is small").token = unused;
                }
            }
            for lock in self.hub(client).locks().collect::<Vec<LockId>>() {
                while let Some(event) = self.hub(client).poll_event(lock) {
                    let known = self.hub(client).attachment(lock).expect("the world is small");
                    match event {
                        Event::Acquired { .. } => known.is_held = true,
                        Event::Lost(_) => known.is_held = false,
                        Event::Closed { .. } => {
                            self.hub(client).forget(lock);
                            break;
                        }
                        Event::Extended { .. }
                        | Event::Warned { .. }
                        | Event::Failed(_)
                        | Event::Released
                        | _ => {}
                    }
                }
                while let Some(request) = self.hub(client).poll_request(lock) {
                    is_quiet = false;
                    self.now += ROUND_TRIP;
                    self.store.set_clock(EPOCH + self.now);
                    let command = &request.command;
                    let reply = if let Verb::Take { .. } = command.verb {
                        self.store.take(command, Draw::Mint)
                    } else {
                        let reply = self.store.execute(command, &client.to_string());
                        reply.expect("a script that is right")
                    };
                    let now = self.local();
                    self.hub(client).handle_reply(lock, request.id, Ok(reply), now);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Every message arrives, or is lost with a client that died.
    fn deliver(&mut self) {
        for (inbox, text) in self.store.take_messages() {
            let (token, message) = Message::parse(&text).expect("the world is small");
            let (client, now): (usize, _) =
                (inbox.parse().expect("the world is small"), self.local());
            let Some(hub) = &mut self.clients[client] else { continue };
            let locks: Vec<LockId> = hub.locks().collect();
            let told = locks
                .into_iter()
                .find(|it| hub.attachment(*it).expect("the world is small").token == token);
            if let Some(lock) = told {
                hub.message(lock, message, now);
                self.carry(client);
            }
        }
    }

    /// The lock that a client holds.
    fn held(&mut self, client: usize) -> Option<LockId> {
        let hub = self.clients[client].as_mut()?;
        let locks: Vec<LockId> = hub.locks().collect();
        locks.into_iter().find(|lock| hub.attachment(*lock).is_some_and(|known| known.is_held))
    }

    /// Time goes on, and every deadline is kept.
    fn pass_until(&mut self, then: u64) {
        loop {
            let deadlines = self.clients.iter().flatten().filter_map(Hub::poll_timeout);
            let next = deadlines.min().map(|due| due.as_nanos().div_ceil(1_000));
            let next = next.filter(|_| self.clocks_run).map_or(then, |due| due.min(then));
            self.now = self.now.max(next);
            self.store.set_clock(EPOCH + self.now);
            let now = self.local();
            for client in 0..self.clients.len() {
                if let Some(hub) = &mut self.clients[client] {
                    while hub.poll_due(now).is_some() {}
                    self.carry(client);
                }
            }
            self.deliver();
            if self.now >= then {
                return;
            }
        }
    }
}

fn for_ever(lease: u64) -> AcquireOptions {
    let options = AcquireOptions::new().with_timeout(None).with_ttl(Duration::from_millis(lease));
    options.with_renewal(Renewal::Off)
}

/// A holder dies; before one that waits and lives, several wait that die as well: before the lease
/// of the holder ends, or when it is their turn.
fn dying(in_turn: bool, mut entropy: Entropy) {
    let heads = 1 + entropy.pick(5);
    let (holder, waiter) = (0, heads + 1);
    let mut world = Small::new(heads + 2);
    world.start(holder, &for_ever(10_000), true);
    assert!(world.held(holder).is_some());
    world.clients[holder] = None;
    let expiry = 10_000_000;
    // Whoever is to die does so in the last seconds, so that its place looks alive.
    let deaths: Vec<u64> =
        (0..heads).map(|_| expiry - 1 - 30_000 * entropy.pick(100) as u64).collect();
    for client in 1..=heads {
        world.pass_until(world.now + 1_000 * entropy.pick(256) as u64);
        world.start(client, &for_ever(10_000), true);
    }
    world.pass_until(world.now + 20_000 * entropy.pick(256) as u64);
    world.start(waiter, &for_ever(10_000), true);
    while world.held(waiter).is_none() {
        let step = 1 + 1_000 * entropy.pick(64) as u64;
        world.pass_until(world.now + step);
        for client in 1..=heads {
            let dies = if in_turn {
                world.held(client).is_some()
            } else {
                world.now + 70_000 >= deaths[client - 1]
            };
            if dies {
                world.clients[client] = None;
            }
        }
    }
    let late = world.now.saturating_sub(expiry);
    let claim = u64::try_from(CLAIM.as_micros()).expect("the world is small");
    // One refresh hands the lock to the dead, and one after their claim finds that they are.
    assert!(late <= claim + 2 * REFRESH + SLACK, "bound: {late} us after the end of the lease");
}

/// Many wait in one process, and one in another: how many are served before it is its turn.
fn passing(clocks_run: bool, fencing: bool, mut entropy: Entropy) {
    let mut world = Small::new(2);
    world.clocks_run = clocks_run;
    let crowd = 40 + entropy.pick(60);
    for _ in 0..crowd {
        world.start(0, &for_ever(10_000), fencing);
    }
    world.start(1, &for_ever(10_000), fencing);
    let most = if clocks_run { 11 } else { FENCES };
    let mut served = 0;
    while world.held(1).is_none() {
        let lock = world.held(0).expect("somebody of the crowd holds it");
        served += 1;
        assert!(served <= most, "bound: {served} are served before the one that waits");
        let length = if clocks_run { 1_000 + 1_000 * entropy.pick(4) as u64 } else { 0 };
        world.pass_until(world.now + length);
        let now = world.local();
        world.hub(0).release(lock, now);
        world.carry(0);
        world.deliver();
    }
}

fn holds(simulation: fn(Entropy, &mut Trace)) {
    for seed in 0..SEEDS {
        let violated = violation(&schedule(seed), simulation, &mut Trace::silent());
        assert!(violated.is_none(), "seed {seed}: {violated:?}");
    }
}

fn fails(simulation: fn(Entropy, &mut Trace)) {
    assert!(seeds_until(0..SEEDS, "bound", simulation).is_some(), "the bound is never passed");
}

#[test]
fn whoever_waits_behind_dead_waiters_gets_in_a_claim_and_two_refreshes_after_the_lease() {
    holds(|entropy, _| dying(false, entropy));
    fails(|entropy, _| dying(true, entropy));
}

#[test]
fn a_process_serves_its_own_for_ten_milliseconds_and_as_long_as_the_fences_of_a_hold_last() {
    holds(|entropy, _| passing(true, true, entropy));
    holds(|entropy, _| passing(true, false, entropy));
    holds(|entropy, _| passing(false, true, entropy));
    fails(|entropy, _| passing(false, false, entropy));
}
