//! How the worlds of Redis begin.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::{Command, Keys, Message, RedLock, RedisOptions, Reply, ServerLock, Side};
use lock_proto::{AcquireOptions, Instant, LockName, Machine, Renewal, Seed};

use super::client::{Client, Link, Stage};
use super::{EPOCH, RedisFlaw, RedisWorld};
use crate::redis_model::Store;

const LEASE: Duration = Duration::from_secs(2);

impl RedisWorld<ServerLock> {
    /// Two clients of one server, which want these sides of the lock.
    #[must_use]
    pub fn one_server(sides: [Side; 2], faults: usize, flaw: Option<RedisFlaw>) -> Self {
        let keys = keys();
        let machine = |side, number| {
            let (options, settings) = options();
            let lock = ServerLock::new(
                keys.clone(),
                side,
                &options,
                &settings,
                &seed(number),
                Instant::ZERO,
            );
            let lock = lock.expect("sensible options");
            let token = lock.token().as_str().into();
            (lock, token)
        };
        Self::of(sides, 1, faults, flaw, machine)
    }
}

impl RedisWorld<RedLock> {
    /// Two clients of `servers` servers that vote, which want these sides of the lock.
    #[must_use]
    pub fn quorum(
        servers: usize,
        sides: [Side; 2],
        faults: usize,
        flaw: Option<RedisFlaw>,
    ) -> Self {
        Self::voting(servers, sides, false, faults, flaw)
    }

    /// The same, but whoever does not get the lock at once does without it.
    #[must_use]
    pub fn single_votes(
        servers: usize,
        sides: [Side; 2],
        faults: usize,
        flaw: Option<RedisFlaw>,
    ) -> Self {
        Self::voting(servers, sides, true, faults, flaw)
    }

    fn voting(
        servers: usize,
        sides: [Side; 2],
        tries: bool,
        faults: usize,
        flaw: Option<RedisFlaw>,
    ) -> Self {
        let keys = keys();
        let machine = |side, number: u8| {
            let (options, settings) = options();
            let options = if tries { options.with_timeout(Some(Duration::ZERO)) } else { options };
            let patience = vec![Duration::from_millis(40); servers];
            let wall = EPOCH * 1_000 + u64::from(number);
            let lock = RedLock::new(
                keys.clone(),
                side,
                &options,
                &settings,
                &patience,
                wall,
                &seed(number),
                Instant::ZERO,
            );
            let lock = lock.expect("sensible options");
            let token = lock.token().as_str().into();
            (lock, token)
        };
        Self { tries, ..Self::of(sides, servers, faults, flaw, machine) }
    }
}

impl<M> RedisWorld<M>
where
    M: Machine<Command = Command, Reply = Reply, Message = Message>,
{
    fn of(
        sides: [Side; 2],
        servers: usize,
        faults: usize,
        flaw: Option<RedisFlaw>,
        machine: impl Fn(Side, u8) -> (M, String),
    ) -> Self {
        let store = match flaw {
            Some(RedisFlaw::Script(omission)) => Store::without(omission),
            Some(RedisFlaw::FallingBallots) | None => Store::new(),
        };
        let client = |(side, number)| {
            let (machine, token) = machine(side, number);
            Client {
                machine,
                side,
                token,
                stage: Stage::Waiting,
                released: false,
                links: vec![Link::default(); servers],
                inbox: Vec::new(),
                drawn: false,
            }
        };
        let mut world = Self {
            now: 0,
            servers: vec![store; servers],
            clients: sides.into_iter().zip(1..).map(client).collect(),
            ghosts: Vec::new(),
            faults,
            fence: 0,
            clean: BTreeSet::new(),
            refused: BTreeMap::new(),
            keys: keys(),
            is_prompt: false,
            known_servers: 0,
            tries: false,
            premise: None,
            forgot: false,
            evicts: false,
            flaw,
        };
        world.set_clocks();
        for client in 0..world.clients.len() {
            world.settle(client);
        }
        world
    }

    /// The same world, in which no answer is under way: each is heard as soon as it is given.
    #[must_use]
    pub fn prompt(mut self) -> Self {
        self.is_prompt = true;
        self
    }
}

fn options() -> (AcquireOptions, RedisOptions) {
    let options = AcquireOptions::new().with_ttl(LEASE).with_renewal(Renewal::Off);
    let settings = RedisOptions::new(Identity::new("build-7", 4242));
    (options, settings.with_min_validity(LEASE / 10).with_extension_cadence(LEASE / 20))
}

fn keys() -> Keys {
    Keys::new("", &LockName::new("orders").expect("a short name")).expect("a plain name")
}

fn seed(number: u8) -> Seed {
    Seed::from_bytes([number; 32])
}
