//! Several clients of one Redis server, under a schedule made of bytes.

mod client;
mod driver;
mod faults;
mod finish;
mod ledger;
mod moves;
mod nodes;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::{FENCES, Keys, Message, RedisOptions, ServerLock, Side, Verb};
use lock_proto::{AcquireOptions, Fault, Hub, Instant, LockId, LockName};

use self::client::{Belief, Client, Flight, State};
use self::faults::Trouble;
use self::ledger::Ledger;
use self::nodes::Nodes;
pub use self::rules::{Habit, Rule};
use crate::entropy::Entropy;
use crate::limits::Limits;
use crate::redis_model::{Draw, Entry, Store, Value};
use crate::storage::Storage;
use crate::swarm::Swarm;
use crate::trace::{Happening, Trace};

const CLIENTS: usize = 3;
const LOCKS: usize = 12;
/// The server's clock at the beginning, in microseconds since 1970.
const EPOCH: u64 = 1_700_000_000_000_000;
const INBOXES: [&str; CLIENTS] = ["0", "1", "2"];
/// How many permits a semaphore of this world has.
const LIMIT: u32 = 3;
/// How many steps there are to choose from, each of them as often as it stands in `step`; a cluster
/// has more.
const CHOICES: usize = 34;
/// The leases, from the shortest that is allowed.
const LEASES: [u64; 3] = [400, 2_000, 10_000];

/// What kind of world it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every world")]
pub enum Setting {
    /// Everything can be late, lost or cut off, but the server keeps what it was told.
    Faithful,
    /// The server may also lose everything, or what it was told last.
    Forgetful,
    /// The server keeps everything, but clocks differ by more than is allowed for.
    Wild,
    /// The servers are a cluster, in which the slot of the lock moves, and replicas take over that
    /// know all that their masters did.
    Cluster,
    /// The same, but a replica may have missed what its master did last, or that the slot moves.
    ForgetfulCluster,
    /// One of the rules is broken.
    Broken(Rule),
}

impl Setting {
    fn is_cluster(self) -> bool {
        match self {
            Self::Cluster | Self::ForgetfulCluster | Self::Broken(Rule::Driver(_)) => true,
            Self::Faithful | Self::Forgetful | Self::Wild | Self::Broken(_) => false,
        }
    }
}

/// The state of one run.
#[derive(Debug)]
pub struct World<'a> {
    setting: Setting,
    entropy: Entropy,
    /// Microseconds since the beginning.
    now: u64,
    /// What the server's clock showed then, or would have, in microseconds since 1970.
    epoch: u64,
    nodes: Nodes,
    clients: Vec<Client>,
    /// Requests of connections that are gone: each may still arrive.
    ghosts: Vec<Flight>,
    /// What was published and has not arrived.
    messages: Vec<(usize, String)>,
    sides: Vec<Side>,
    /// Whether the locks of one client stand behind each other.
    cohorts: bool,
    keys: Keys,
    started: usize,
    /// A holder that uses plain commands, until its lease ends.
    stranger: Option<u64>,
    /// The greatest fence of a hold that is over, and of one that nobody shared.
    over: u64,
    over_alone: u64,
    /// Tokens of which nothing may be left.
    clean: BTreeSet<String>,
    /// Whether somebody took or prolonged the lock since it was last looked at.
    taken: bool,
    /// Tokens of requests that arrive twice.
    doubled: BTreeSet<String>,
    /// Tokens of requests that may arrive after they were given up.
    late: BTreeSet<String>,
    /// How many tokens were replaced by others.
    renamed: u8,
    ledger: Ledger,
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
    let choices = if setting.is_cluster() { CHOICES + 9 } else { CHOICES };
    while let Some(choice) = world.entropy.choose(choices) {
        world.step(choice);
        world.check();
    }
    world.finish();
}

impl<'a> World<'a> {
    fn new(setting: Setting, mut entropy: Entropy, trace: &'a mut Trace) -> Self {
        let permits = |count| Side::Permits { count, limit: LIMIT };
        let sides = match entropy.pick(3) {
            0 => vec![Side::Exclusive],
            1 => vec![Side::Exclusive, Side::Shared, Side::Shared],
            _ => vec![permits(1), permits(2), permits(LIMIT)],
        };
        let cohorts = entropy.pick(2) == 0;
        let swarm = Swarm::draw(&mut entropy);
        let name = LockName::new("orders").expect("a short name");
        let mut store = match setting {
            Setting::Broken(Rule::Script(omission)) => Store::without(omission),
            Setting::Faithful | Setting::Forgetful | Setting::Wild => Store::new(),
            Setting::Cluster | Setting::ForgetfulCluster | Setting::Broken(_) => Store::new(),
        };
        store.set_clock(EPOCH);
        let nodes =
            if setting.is_cluster() { Nodes::cluster(&store) } else { Nodes::single(store) };
        let rates = match setting {
            Setting::Broken(Rule::Drift) => [900, 900, 900],
            Setting::Wild => [500, 900, 1_500],
            // Half a per cent each way: within what is allowed for.
            Setting::Faithful | Setting::Forgetful => [995, 1_000, 1_005],
            Setting::Cluster | Setting::ForgetfulCluster | Setting::Broken(_) => {
                [995, 1_000, 1_005]
            }
        };
        let mut clients: Vec<Client> = rates.into_iter().map(Client::new).collect();
        if setting.is_cluster() {
            clients.iter_mut().for_each(|client| client.draw_driver(&mut entropy));
        }
        let storage = Storage::new(setting != Setting::Broken(Rule::FencedStorage));
        let ledger = Ledger::new(&sides);
        Self {
            setting,
            entropy,
            now: 0,
            epoch: EPOCH,
            nodes,
            clients,
            ghosts: Vec::new(),
            messages: Vec::new(),
            sides,
            cohorts,
            keys: Keys::new("", &name).expect("a plain name"),
            started: 0,
            stranger: None,
            over: 0,
            over_alone: 0,
            clean: BTreeSet::new(),
            taken: false,
            doubled: BTreeSet::new(),
            late: BTreeSet::new(),
            renamed: 0,
            ledger,
            storage,
            swarm,
            trace,
        }
    }

    fn step(&mut self, choice: usize) {
        let client = self.entropy.pick(CLIENTS);
        match choice {
            0..=8 => self.execute_next(client),
            9..=16 => self.deliver_next(client),
            17..=19 => self.deliver_any_message(),
            20..=22 => self.let_time_pass(),
            23..=25 => self.start(client),
            26 | 27 => self.on_any_lock(client, "release", |hub, lock, now| hub.release(lock, now)),
            28 if self.has(Trouble::Cuts) => self.cut(client),
            29 if self.has(Trouble::LateRequests) => self.ghost_arrives(),
            28 | 29 | 32 | 33 => self.write(client),
            CHOICES..=39 => self.reshard(),
            40 => self.nodes.gossip(client),
            41 | 42 => self.fail_over(),
            _ => self.disturb(client),
        }
    }

    fn forgets(&self) -> bool {
        let forgetful = [Setting::Forgetful, Setting::ForgetfulCluster].contains(&self.setting);
        forgetful || self.breaks(Rule::MintedPerConnection)
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
        let settings =
            RedisOptions::new(Identity::new("build-7", 4242)).with_min_validity(lease / 10);
        let settings = settings.with_extension_cadence(lease / 20);
        let seed = self.seed(client);
        let now = self.clients[client].local(self.now);
        let machine = ServerLock::new(self.keys.clone(), side, &options, &settings, &seed, now)
            .expect("sensible options");
        let machine = if self.cohorts { machine.leading(&options) } else { machine };
        let mut belief =
            Belief::new(side, machine.token().as_str(), timeout.is_none(), (self.now, now));
        self.end_what_expired();
        belief.over_before = self.fence_to_exceed(side);
        belief.limits = limits;
        let lock = self.clients[client].hub.start(machine, belief, now);
        self.trace.note(|| {
            format!("client {client} wants {side:?} as {lock:?} for {lease:?}, {timeout:?}")
        });
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::Asked { client, lock, name: "orders", side });
        self.settle(client);
    }

    /// The server carries out the next request of a client's connection.
    fn execute_next(&mut self, client: usize) {
        if self.now < self.clients[client].requests_from {
            return;
        }
        let Some(flight) = self.next_request(client) else { return };
        let answer = match self.unwilling() {
            Some(fault) => Some(Err(fault)),
            None if self.setting.is_cluster() => self.ask_node(&flight),
            None => Some(self.execute(&flight).map_err(Fault::refused)),
        };
        self.trace.note(|| format!("server: {:?} of {client} -> {answer:?}", flight.command.verb));
        if self.has(Trouble::Doubles) && self.entropy.happens(16) {
            self.double(flight.clone());
        }
        if let Some(answer) = answer {
            self.clients[client].answers.push_back((flight.lock, flight.id, answer));
        }
    }

    /// The next request that comes to a server; the nodes of a cluster have a connection each.
    fn next_request(&mut self, client: usize) -> Option<Flight> {
        let sent = self.clients[client].sent.len();
        let chosen =
            if self.setting.is_cluster() && sent > 1 { self.entropy.pick(sent) } else { 0 };
        self.clients[client].sent.remove(chosen)
    }

    fn execute(&mut self, flight: &Flight) -> Result<[i64; 3], String> {
        // R23: a counter is ahead of the clock only if there are more than a million fences a second,
        // and a script mints so many at once.
        self.now += u64::from(FENCES);
        self.trace.event();
        self.nodes.set_clock(self.epoch + self.now);
        let (before, ended) = self.holder();
        let counted = self.breaks(Rule::MintedPerConnection);
        let store = self.nodes.store(flight.way.node);
        let client = &mut self.clients[flight.client];
        let reply = if let Verb::Take { .. } = flight.command.verb {
            let lifted = !client.drawn && !counted;
            let draw = if lifted { Draw::Mint } else { Draw::Increment };
            let reply = store.take(&flight.command, draw);
            // Whoever finds the lock held has drawn nothing.
            client.drawn |= reply[1] > 0;
            Ok(reply)
        } else {
            store.execute(&flight.command, INBOXES[flight.client])
        };
        let messages = store.take_messages();
        if self.is_kept() {
            let tokens = messages.iter().filter_map(|(_, text)| Message::parse(text));
            let let_in: Vec<&str> = tokens.map(|(token, _)| token).collect();
            match &reply {
                Ok(reply) => {
                    self.ledger.record(flight, *reply, &let_in, before.as_deref(), &self.nodes);
                }
                Err(_) => self.ledger.let_in(&let_in, self.nodes.now_us()),
            }
        }
        for (inbox, text) in messages {
            let client = inbox.parse().expect("inboxes are numbers");
            self.messages.push((client, text.to_string()));
        }
        // A lease that became shorter may be shorter than its holder believes.
        self.taken |= ended > self.holder().1;
        self.check_cleanness();
        reply
    }

    /// What stands at the lock, if it is one token, and when it ends.
    fn holder(&self) -> (Option<Arc<str>>, Option<i64>) {
        match self.nodes.entry(self.keys.lock()) {
            Some(Entry { value: Value::Text(text), expires }) => (Some(text.clone()), *expires),
            Some(Entry { value: Value::Hash(_) | Value::Sorted(_), expires }) => (None, *expires),
            None => (None, None),
        }
    }

    /// Whether the server keeps what it was told.
    fn is_kept(&self) -> bool {
        !self.forgets()
    }

    fn deliver_next(&mut self, client: usize) {
        if self.is_paused(client) || self.now < self.clients[client].answers_from {
            return;
        }
        let now = self.clients[client].local(self.now);
        let Some((lock, id, answer)) = self.clients[client].answers.pop_front() else { return };
        self.trace.note(|| format!("{lock:?} of {client} hears {answer:?}"));
        self.trace.event();
        if let Some(belief) = self.clients[client].hub.attachment(lock) {
            belief.unsure |= answer.is_err();
        }
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
            1 if self.has(Trouble::LostMessages) => {
                self.messages.swap_remove(chosen);
                let at = self.since_the_beginning();
                return self.trace.fault(at, || "a message is lost".into());
            }
            _ => self.messages.swap_remove(chosen),
        };
        self.deliver_message(client, &text);
    }

    fn deliver_message(&mut self, client: usize, text: &str) {
        let (token, mut message): (&str, Message) = Message::parse(text).expect("our own form");
        let now = self.clients[client].local(self.now);
        let deaf = self.is_paused(client) || self.now < self.clients[client].answers_from;
        let Some(lock) = self.clients[client].lock_of(token).filter(|_| !deaf) else { return };
        if self.breaks(Rule::OwnStamp)
            && let Some(belief) = self.clients[client].hub.attachment(lock)
        {
            message.stamp = belief.stamp;
        }
        self.trace.note(|| format!("{lock:?} of {client} is told {message:?}"));
        self.trace.event();
        self.clients[client].hub.message(lock, message, now);
        self.settle(client);
    }

    fn let_time_pass(&mut self) {
        let steps = [1_000, 30_000, 300_000, 1_000_000, 2_600_000];
        let next = self.clients.iter().filter_map(|client| client.deadline(self.now)).min();
        let then = match (self.entropy.pick(8), next) {
            (choice @ 0..5, _) => self.now + steps[choice],
            (5, _) => self.expiry().unwrap_or(self.now + 1_000),
            (_, Some(next)) => next,
            (_, None) => return,
        };
        self.pass_until(then);
    }

    /// When the lock is free, if nobody does anything, and whoever waits for that looks.
    fn expiry(&self) -> Option<u64> {
        let ends = self.nodes.entry(self.keys.lock())?.expires? + 3;
        (u64::try_from(ends).ok()? * 1_000).checked_sub(self.epoch)
    }

    /// Nobody's deadline is passed over, but nobody need be woken at it either.
    fn pass_until(&mut self, then: u64) {
        let before = self.now;
        self.now = before.max(then);
        self.nodes.set_clock(self.epoch + self.now);
        self.shift_clocks(before);
        self.trace.note(|| format!("it is {} ms", self.now / 1_000));
        self.trace.event();
        for client in 0..CLIENTS {
            // A client that sleeps on is one that a busy machine does not let run.
            let starved = self.has(Trouble::Starvation) && self.entropy.happens(64);
            if starved || self.is_paused(client) || self.sleeps_until_told(client) {
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
        act: impl FnOnce(&mut Hub<ServerLock, Belief>, LockId, Instant),
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
        self.note_end(client, lock, word == "release");
        if word == "release" {
            self.take_back(client, lock);
        }
        if word == "extend"
            && let Some(belief) = self.clients[client].hub.attachment(lock)
        {
            belief.limits.extend_by_hand();
        }
        if word == "disconnect"
            && let Some(belief) = self.clients[client].hub.attachment(lock)
        {
            belief.given_up = true;
        }
        act(&mut self.clients[client].hub, lock, now);
        self.settle(client);
    }

    /// Never two who may both be right; there is nobody new unless the lock was taken.
    fn check(&mut self) {
        if !std::mem::take(&mut self.taken) || self.forgets() {
            return;
        }
        let mut alone = usize::from(self.stranger.is_some_and(|until| self.now < until));
        let (mut shared, mut permits) = (0, 0);
        let by_deadline = !self.breaks(Rule::DeadlineItself) && !self.breaks(Rule::ToldLoss);
        for client in &mut self.clients {
            for side in client.holders(self.now, by_deadline) {
                match side {
                    Side::Exclusive => alone += 1,
                    Side::Shared => shared += 1,
                    Side::Permits { count, .. } => permits += count,
                }
            }
        }
        if !self.is_kept() || self.setting == Setting::Wild {
            return;
        }
        assert!(alone < 2, "exclusion: {alone} hold it alone");
        assert!(alone == 0 || shared == 0, "exclusion: {shared} share what one holds alone");
        assert!(permits <= LIMIT, "exclusion: {permits} permits of {LIMIT} are out");
        if shared > 1 {
            self.trace.saw("readers share");
        }
        self.check_deadlines();
    }

    /// Nothing is left of whoever was told so, but a key that says whom to refuse: it has the token
    /// in its name.
    fn check_cleanness(&self) {
        if self.forgets() || self.clean.is_empty() {
            return;
        }
        let is_clean = |word: &str| word.split(':').any(|part| self.clean.contains(part));
        for (key, entry) in self.nodes.entries() {
            let left = match &entry.value {
                Value::Text(text) => is_clean(text),
                Value::Hash(fields) => fields.keys().any(|token| is_clean(token)),
                Value::Sorted(members) => members.keys().any(|token| is_clean(token)),
            };
            assert!(!left, "cleanness: {entry:?} is left at {key}");
        }
    }

    /// Nobody believes in a lease for longer than the server does.
    fn check_deadlines(&mut self) {
        let Some(entry) = self.nodes.entry(self.keys.lock()) else { return };
        let (Value::Text(token), Some(ends)) = (&entry.value, entry.expires) else { return };
        let ends = u64::try_from(ends + 1).expect("it is long after 1970") * 1_000 - self.epoch;
        for client in &mut self.clients {
            for until in client.deadlines(token) {
                assert!(until <= ends, "deadline: {until} us, and the lease ends at {ends}");
            }
        }
    }

    /// A hold that its holder ends is over now, if it was not before.
    fn note_end(&mut self, client: usize, lock: LockId, ends: bool) {
        let now = self.clients[client].local(self.now);
        let Some(belief) = self.clients[client].hub.attachment(lock) else { return };
        if let State::Held { fence, until } = belief.state
            && (ends || now >= until)
        {
            if ends {
                belief.state = State::Over;
            }
            self.over = self.over.max(fence);
            if belief.is_alone() {
                self.over_alone = self.over_alone.max(fence);
            }
            if let Some(hold) = belief.hold {
                self.storage.end(hold, self.now);
            }
        }
    }

    /// R23: a hold that began after another was over, and excludes it, has the greater fence.
    fn fence_to_exceed(&self, side: Side) -> u64 {
        match side {
            Side::Exclusive | Side::Permits { count: LIMIT, .. } => self.over,
            Side::Shared => self.over_alone,
            Side::Permits { .. } => 0,
        }
    }
}
