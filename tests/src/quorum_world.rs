//! Several clients of several Redis servers that vote, under a schedule made of bytes.

mod client;
mod faults;
mod finish;
mod rules;
mod servers;

use std::collections::BTreeSet;
use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::{Keys, Message, RedLock, RedisLock, RedisOptions, Side, Slots};
use lock_proto::{AcquireOptions, Demand, Hub, Instant, LockId, LockName, Seed};

use self::client::{Belief, Client, State};
use self::faults::Trouble;
use self::servers::{Flight, Server};
use crate::entropy::Entropy;
use crate::limits::Limits;
use crate::storage::Storage;
use crate::swarm::Swarm;
use crate::trace::{Happening, Trace};

const CLIENTS: usize = 3;
const LOCKS: usize = 12;
/// Everybody's wall clock at the beginning, give or take, in microseconds since 1970.
const EPOCH: u64 = 1_700_000_000_000_000;
const INBOXES: [&str; CLIENTS] = ["0", "1", "2"];
/// How many permits a semaphore of this world has.
const LIMIT: u32 = 2;
/// The leases, from the shortest that is of use here.
const LEASES: [u64; 3] = [400, 2_000, 10_000];
/// How late the clients' wall clocks are, in microseconds.
const LATENESS: [u64; CLIENTS] = [0, 3_000_000, 500];

/// What kind of world it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every world")]
pub enum Setting {
    /// Everything can be late, lost or cut off, but the servers keep what they were told.
    Faithful,
    /// One server may lose everything, once.
    Forgetful,
    /// One server may lose everything, once, and all clocks agree.
    Agreed,
    /// The servers keep everything, but clocks differ by more than is allowed for.
    Wild,
    /// The servers keep everything, and one of the rules is broken.
    Broken(Rule),
}

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every rule")]
pub enum Rule {
    /// R1: what gives a vote back does so whatever its ballot.
    StepBackAtItsBallot,
    /// R2: clocks that differ are allowed for.
    Drift,
    /// R4: no command shortens a lease.
    NeverShorten,
    /// R18: a server gives its vote only to ballots above all that it has seen.
    RisingBallots,
    /// R19: only yeses at one and the same ballot count together.
    SameBallot,
    /// R20: what is another's is not taken.
    TakeOnlyWhatIsMissing,
    /// R5: a request that was sent is not taken back by a cancel.
    SentIsSent,
    /// A vote that was lost is given back.
    LostVoteGoesBack,
    /// A server that does not answer has not said yes.
    SilenceIsNoYes,
    /// An extension that fails somewhere leaves the lock where it is.
    FailedExtensionKeeps,
    /// All clients ask the same servers.
    SameServers,
    /// No two names are of one server, of which one forgets.
    ServersApart,
    /// A clock runs while its machine sleeps; so a late yes is known to be late (R3).
    SleeplessClock,
    /// Table B, (b): the ballot of a hold is the one that counted, and not the smallest.
    CountedBallot,
    /// Table B, (c): a majority is not enough where a server forgets.
    SpareServer,
    /// Table B, (d): nor is it enough for ballots to rise.
    SpareGrant,
    /// Table B, (f): where clocks are to order ballots, nobody's is fast.
    NoFastClock,
    /// What was agreed about the end of a hold is kept.
    KeptLimits,
    /// What is written with an older ballot is refused.
    FencedStorage,
}

/// The state of one run.
#[derive(Debug)]
pub struct World<'a> {
    setting: Setting,
    entropy: Entropy,
    /// Microseconds since the beginning.
    now: u64,
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// Requests of connections that are gone: each may still arrive.
    ghosts: Vec<Flight>,
    /// What was published and has not arrived.
    messages: Vec<(usize, String)>,
    sides: Vec<Side>,
    keys: Keys,
    started: usize,
    /// Whether a server has forgotten what it was told.
    forgotten: bool,
    /// The greatest ballot of a hold that is over, and of one that nobody shared.
    over: u64,
    over_alone: u64,
    /// Every ballot that was told.
    ballots: BTreeSet<u64>,
    /// Tokens of which nothing may be left.
    clean: BTreeSet<String>,
    /// Tokens of requests that arrive twice.
    doubled: BTreeSet<String>,
    /// Whether somebody took or prolonged the lock since it was last looked at.
    taken: bool,
    storage: Storage,
    swarm: Swarm,
    trace: &'a mut Trace,
}

/// Runs one world to its end.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(setting: Setting, entropy: Entropy, trace: &mut Trace) {
    let mut world = World::new(setting, entropy, trace);
    while let Some(choice) = world.entropy.choose(42) {
        world.step(choice);
        world.check();
    }
    world.finish();
}

impl<'a> World<'a> {
    fn new(setting: Setting, mut entropy: Entropy, trace: &'a mut Trace) -> Self {
        let permits = |count| Side::Permits { count, limit: LIMIT };
        // Two rules break where there is little else: ballots meet between those that share.
        let sides = match (setting, entropy.pick(4)) {
            (Setting::Broken(Rule::SameBallot), _) | (_, 2) => {
                vec![Side::Exclusive, Side::Shared, Side::Shared]
            }
            (Setting::Broken(Rule::StepBackAtItsBallot), _) | (_, 0 | 1) => vec![Side::Exclusive],
            _ => vec![permits(1), permits(2), permits(LIMIT)],
        };
        let counts = [3, 5, 3, 3, 5, 3, 1, 2, 4, 7, 9, 3];
        let servers = match setting {
            Setting::Broken(Rule::SameServers) => 5,
            Setting::Broken(Rule::ServersApart | Rule::StepBackAtItsBallot | Rule::SameBallot) => 3,
            Setting::Faithful
            | Setting::Forgetful
            | Setting::Agreed
            | Setting::Wild
            | Setting::Broken(_) => counts[entropy.pick(counts.len())],
        };
        let swarm = Swarm::draw(&mut entropy);
        let storage = Storage::new(setting != Setting::Broken(Rule::FencedStorage));
        let name = LockName::new("orders").expect("a short name");
        // All together differ by less than is allowed for.
        let rates = match setting {
            Setting::Broken(Rule::Drift) => [900, 900, 900],
            Setting::Wild => [500, 900, 1_500],
            Setting::Agreed | Setting::Broken(Rule::NoFastClock) => [1_000; CLIENTS],
            Setting::Faithful | Setting::Forgetful | Setting::Broken(_) => [996, 1_000, 1_004],
        };
        Self {
            setting,
            entropy,
            now: 0,
            servers: (0..servers).map(Server::new).collect(),
            clients: rates.into_iter().map(|rate| Client::new(rate, servers)).collect(),
            ghosts: Vec::new(),
            messages: Vec::new(),
            sides,
            keys: Keys::new("", &name).expect("a plain name"),
            started: 0,
            forgotten: false,
            over: 0,
            over_alone: 0,
            ballots: BTreeSet::new(),
            clean: BTreeSet::new(),
            doubled: BTreeSet::new(),
            taken: false,
            storage,
            swarm,
            trace,
        }
    }

    fn step(&mut self, choice: usize) {
        let client = self.entropy.pick(CLIENTS);
        match choice {
            0..=15 => self.carry(true, true),
            16 | 17 => self.carry(true, false),
            18 | 19 => self.carry(false, true),
            20..=22 => self.deliver_any_message(),
            23..=28 => self.let_time_pass(),
            29..=32 => self.start(client),
            33 => self.on_any_lock(client, "extend", |hub, lock, now| {
                hub.extend(lock, Duration::from_millis(3_000), now);
            }),
            34 => self.on_any_lock(client, "release", |hub, lock, now| hub.release(lock, now)),
            35 if self.has(Trouble::Cuts) => {
                if let Some((client, server)) = self.busy_link() {
                    self.cut(client, server);
                }
            }
            36 | 37 if !self.ghosts.is_empty() => self.ghost_arrives(),
            35..=37 | 40 | 41 => self.write(client),
            _ => self.disturb(client),
        }
    }

    /// On some connection a request, an answer or both travel on.
    fn carry(&mut self, request: bool, answer: bool) {
        if let Some((client, server)) = self.busy_link() {
            if request {
                self.execute_next(client, server);
            }
            if answer {
                self.deliver_next(client, server);
            }
        }
    }

    /// A connection on which something travels: whose, and to which server.
    fn busy_link(&mut self) -> Option<(usize, usize)> {
        let links = self.clients.iter().zip(0..).flat_map(|(client, number)| {
            let links = client.links.iter().zip(0..);
            links.filter(|(link, _)| link.moves(self.now)).map(move |(_, server)| (number, server))
        });
        let links: Vec<(usize, usize)> = links.collect();
        let chosen = self.entropy.pick(links.len());
        links.get(chosen).copied()
    }

    fn since_the_beginning(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    fn start(&mut self, client: usize) {
        if self.started == LOCKS {
            return;
        }
        self.started += 1;
        let side = self.sides[self.entropy.pick(self.sides.len())];
        let timeout = match self.entropy.pick(4) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(1_500)),
            _ => None,
        };
        let lease = Duration::from_millis(LEASES[self.entropy.pick(LEASES.len())]);
        let limits = Limits::draw(lease, &mut self.entropy);
        let unlimited = AcquireOptions::new().with_timeout(timeout).with_ttl(lease);
        let kept = !self.breaks(Rule::KeptLimits);
        let options = if kept { limits.options(timeout) } else { unlimited };
        let settings = RedisOptions::new(Identity::new("build-7", 4242))
            .with_min_validity(lease / 10)
            .with_extension_cadence(lease / 20);
        let seed = Seed::from_bytes([u8::try_from(self.started).unwrap_or(0); 32]);
        let now = self.clients[client].local(self.now);
        let wall = self.wall(client);
        let asked = if self.breaks(Rule::SameServers) { 3 } else { self.servers.len() };
        let patience = vec![Duration::from_millis(40); asked];
        let keys = self.keys.clone();
        let machine = if let Side::Permits { count, limit } = side {
            let demand = Demand::permits(count, limit).expect("within the limit");
            let slots = Slots::new(keys, demand, &options, &settings, &patience, wall, &seed, now);
            RedisLock::Slots(Box::new(slots.expect("sensible options")))
        } else {
            let lock = RedLock::new(keys, side, &options, &settings, &patience, wall, &seed, now);
            RedisLock::Servers(Box::new(lock.expect("sensible options")))
        };
        let mut belief = Belief::new(side, timeout.is_none(), self.now);
        belief.limits = limits;
        self.end_what_expired();
        belief.over_before = self.ballot_to_exceed(side);
        let lock = self.clients[client].hub.start(machine, belief, now);
        self.trace.note(|| {
            format!("client {client} wants {side:?} as {lock:?} for {lease:?}, {timeout:?}")
        });
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::Asked { client, lock, name: "orders", side });
        self.settle(client);
    }

    fn deliver_next(&mut self, client: usize, server: usize) {
        if self.is_paused(client) {
            return;
        }
        let now = self.clients[client].local(self.now);
        let link = &mut self.clients[client].links[server];
        if self.now < link.answers_from {
            return;
        }
        let Some((lock, id, answer)) = link.answers.pop_front() else { return };
        self.trace.note(|| format!("{lock:?} of {client} hears of {server}: {answer:?}"));
        self.trace.event();
        self.clients[client].hub.handle_reply(lock, id, answer, now);
        self.settle(client);
    }

    fn deliver_any_message(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let chosen = self.entropy.pick(self.messages.len());
        let (client, text) = match self.entropy.pick(6) {
            0 => self.messages[chosen].clone(),
            1 => {
                self.messages.swap_remove(chosen);
                let at = self.since_the_beginning();
                return self.trace.fault(at, || "a message is lost".into());
            }
            _ => self.messages.swap_remove(chosen),
        };
        self.deliver_message(client, &text);
    }

    fn deliver_message(&mut self, client: usize, text: &str) {
        let (token, message): (&str, Message) = Message::parse(text).expect("our own form");
        let now = self.clients[client].local(self.now);
        let lock = self.clients[client].lock_of(token).filter(|_| !self.is_paused(client));
        let Some(lock) = lock else { return };
        self.trace.note(|| format!("{lock:?} of {client} is told {message:?}"));
        self.trace.event();
        self.trace.saw("a waiter was nudged");
        self.clients[client].hub.message(lock, message, now);
        self.settle(client);
    }

    fn let_time_pass(&mut self) {
        let steps = [1_000, 30_000, 300_000, 1_000_000, 2_600_000];
        let next = self.clients.iter().filter_map(|client| client.deadline(self.now)).min();
        let then = match (self.entropy.pick(8), next) {
            (choice @ 0..5, _) => self.now + steps[choice],
            (_, Some(next)) => next,
            (_, None) => return,
        };
        self.pass_until(then);
    }

    fn pass_until(&mut self, then: u64) {
        let before = self.now;
        self.now = before.max(then);
        self.stop_clocks(before);
        self.trace.note(|| format!("it is {} ms", self.now / 1_000));
        self.trace.event();
        self.forget_ghosts();
        for client in 0..CLIENTS {
            // A client that sleeps on is one that a busy machine does not let run.
            if self.is_paused(client) || self.entropy.happens(64) {
                continue;
            }
            let now = self.clients[client].local(self.now);
            while self.clients[client].hub.poll_due(now).is_some() {
                self.trace.event();
            }
            let next = self.clients[client].hub.poll_timeout();
            assert!(next.is_none_or(|next| next > now), "M2: {next:?} is not after {now:?}");
            self.settle(client);
            self.clients[client].check_limits(now);
        }
    }

    fn on_any_lock(
        &mut self,
        client: usize,
        word: &str,
        act: impl FnOnce(&mut Hub<RedisLock, Belief>, LockId, Instant),
    ) {
        let now = self.clients[client].local(self.now);
        let locks: Vec<LockId> = self.clients[client].hub.locks().collect();
        if locks.is_empty() || self.is_paused(client) {
            return;
        }
        let lock = locks[self.entropy.pick(locks.len())];
        self.trace.note(|| format!("{word} {lock:?} of {client}"));
        if word == "release" {
            let at = self.since_the_beginning();
            self.trace.happened(at, || Happening::LetGo { client, lock });
        } else {
            self.trace.event();
        }
        if word == "release" {
            self.note_end(client, lock, true);
            self.take_back(client, lock);
        }
        if word == "extend"
            && let Some(belief) = self.clients[client].hub.attachment(lock)
        {
            belief.limits.extend_by_hand();
        }
        act(&mut self.clients[client].hub, lock, now);
        self.settle(client);
    }

    /// Never two who may both be right; there is nobody new unless the lock was taken.
    fn check(&mut self) {
        if !std::mem::take(&mut self.taken) {
            return;
        }
        let now = self.now;
        let mut holders: Vec<Belief> =
            self.clients.iter_mut().flat_map(|client| client.holders(now)).collect();
        let permits = holders.iter().map(|belief| match belief.side {
            Side::Permits { count, .. } => count,
            Side::Exclusive | Side::Shared => 0,
        });
        let out: u32 = permits.sum();
        if self.setting == Setting::Wild {
            return;
        }
        assert!(out <= LIMIT || self.forgotten, "exclusion: {out} permits of {LIMIT} are out");
        if out > 0 {
            return self.trace.saw("permits are out");
        }
        holders.sort_by_key(|belief| belief.acquired_at());
        for (position, first) in holders.iter().enumerate() {
            for second in &holders[position + 1..] {
                let shared = [first, second].iter().all(|belief| belief.side == Side::Shared);
                // (c): more than one forgetful server could be outvoted.
                let excused = self.forgotten
                    && first.stands_on <= self.servers.len() / 2 + 1
                    && !self.breaks(Rule::SpareServer);
                assert!(shared || excused, "exclusion: {first:?} and {second:?}");
                self.trace.saw(if shared { "readers share" } else { "table B, (c)" });
            }
        }
    }

    /// Notes the ballot of a hold that is over, because its holder ends it or its time is up.
    fn note_end(&mut self, client: usize, lock: LockId, ends: bool) {
        let now = self.clients[client].local(self.now);
        // (d): what a majority and one more have granted survives that one of them forgets.
        let all_last =
            !self.forgets() || self.breaks(Rule::SpareGrant) || self.are_clocks_to_order();
        let fast = self.breaks(Rule::NoFastClock) && client == 0;
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        if let State::Held { ballot, until, .. } = belief.state
            && (ends || now >= until)
        {
            if ends {
                belief.state = State::Over;
            }
            let lasting = all_last || belief.granted_by > self.servers.len() / 2 + 1;
            let lasting = lasting && !fast;
            if lasting {
                if let Some(hold) = belief.hold {
                    self.storage.end(hold, self.now);
                }
                self.over = self.over.max(ballot);
                if belief.side == Side::Exclusive {
                    self.over_alone = self.over_alone.max(ballot);
                }
            }
        }
    }

    /// Shared holds exclude nobody who shares.
    fn ballot_to_exceed(&self, side: Side) -> u64 {
        if side == Side::Exclusive { self.over } else { self.over_alone }
    }

    fn end_what_expired(&mut self) {
        for client in 0..self.clients.len() {
            for lock in self.clients[client].hub.locks().collect::<Vec<_>>() {
                self.note_end(client, lock, false);
            }
        }
    }
}
