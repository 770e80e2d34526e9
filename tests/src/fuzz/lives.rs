//! Random lives of every machine: answers that are right, wrong or nonsense, messages, time, and a
//! caller who changes its mind.

use std::time::Duration;

use lock_proto::file::{FileLock, FileLockOptions, Identity, Reply as FileReply};
use lock_proto::memory::MemoryLock;
use lock_proto::postgres::{AdvisoryKey, AdvisoryLock, Mode, PermitKeys, PermitLock};
use lock_proto::redis::{Keys, RedLock, RedisOptions, ServerLock, Side, Slots};
use lock_proto::{AcquireOptions, Demand, Fault, Instant, LockError, LockName, Seed};

use super::options::{any_acquire, any_redis};
use super::{bytes, duration, number};
use crate::check::{Checkable, Checked, Stage};
use crate::entropy::Entropy;
use crate::explore::end;

/// What every machine refuses by name.
const REFUSED: &[&str] = &[
    "extension_cadence",
    "max_hold",
    "max_renewals",
    "min_validity",
    "owner",
    "permits",
    "renewal",
    "ttl",
];

pub(super) fn memory(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let (demand, options) = (demand(&mut entropy), any_acquire(&mut entropy));
    let make = || MemoryLock::new(demand, &options, Instant::ZERO);
    live(&mut entropy, |_, _| None, make);
}

pub(super) fn file(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let (demand, options) = (demand(&mut entropy), any_acquire(&mut entropy));
    let settings = FileLockOptions::new(Identity::new("build-7", 4242))
        .with_remove_on_release(entropy.pick(2) == 1);
    let make = || FileLock::new(name(), demand, &options, settings.clone(), &seed(), Instant::ZERO);
    live(&mut entropy, |_, entropy| Some(contents(entropy)), make);
}

pub(super) fn redis(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let side = Side::from(demand(&mut entropy));
    let (options, settings) = (any_acquire(&mut entropy), any_redis(&mut entropy));
    let make = || ServerLock::new(keys(), side, &options, &settings, &seed(), Instant::ZERO);
    live(&mut entropy, |_, entropy| Some(numbers(entropy)), make);
}

pub(super) fn redlock(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let side = if entropy.pick(3) == 2 { Side::Shared } else { Side::Exclusive };
    let (options, settings) = (any_acquire(&mut entropy), any_redis(&mut entropy));
    let (servers, wall) = (servers(&mut entropy), number(&mut entropy));
    let now = Instant::ZERO;
    let make = || RedLock::new(keys(), side, &options, &settings, &servers, wall, &seed(), now);
    live(&mut entropy, |_, entropy| Some(numbers(entropy)), make);
}

pub(super) fn slots(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let limit = 1 + entropy.pick(3) as u32;
    let demand = Demand::Permits { count: 1 + entropy.pick(limit as usize) as u32, limit };
    let (options, settings) = (any_acquire(&mut entropy), any_redis(&mut entropy));
    let (servers, wall) = (servers(&mut entropy), number(&mut entropy));
    let now = Instant::ZERO;
    let make = || Slots::new(keys(), demand, &options, &settings, &servers, wall, &seed(), now);
    live(&mut entropy, |_, entropy| Some(numbers(entropy)), make);
}

pub(super) fn advisory(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let mode = [Mode::Exclusive, Mode::Shared][entropy.pick(2)];
    let options = any_acquire(&mut entropy);
    let key = AdvisoryKey::from_name("orders");
    live(
        &mut entropy,
        |_, _| None,
        || AdvisoryLock::new(key, mode, &options, &seed(), Instant::ZERO),
    );
}

pub(super) fn permits(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let keys = PermitKeys::new(&name(), 3);
    let (count, options) = (entropy.pick(5) as u32, any_acquire(&mut entropy));
    live(
        &mut entropy,
        |_, _| None,
        || PermitLock::new(keys, count, &options, &seed(), Instant::ZERO),
    );
}

/// A mutex on one server.
pub(super) fn on_one_server(
    options: &AcquireOptions,
    settings: &RedisOptions,
) -> Result<ServerLock, LockError> {
    ServerLock::new(keys(), Side::Exclusive, options, settings, &seed(), Instant::ZERO)
}

/// Leads what `make` makes through a life, and to its end. `any` makes up an answer.
fn live<M: Checkable>(
    entropy: &mut Entropy,
    any: fn(&M::Command, &mut Entropy) -> Option<M::Reply>,
    make: impl Fn() -> Result<M, LockError>,
) {
    if let Err(error) = make() {
        return super::options::refused(&error, REFUSED);
    }
    let mut life = Checked::new(|| make().expect("it was made a moment ago"));
    while life.stage() != Stage::Closed {
        let Some(choice) = entropy.choose(16) else { break };
        match choice {
            0..7 => answer(&mut life, entropy, any),
            7..10 => life.timeout(),
            10 => life.later(duration(entropy).min(Duration::from_secs(1 << 20))),
            11 => life.extend(duration(entropy)),
            12 => life.nudge(),
            13 => {
                let messages = M::messages();
                if let Some(message) = messages.get(entropy.pick(messages.len())) {
                    life.message(message);
                }
            }
            14 => life.release(),
            _ => life.disconnect(),
        }
    }
    end(&mut life);
}

fn answer<M: Checkable>(
    life: &mut Checked<M>,
    entropy: &mut Entropy,
    any: fn(&M::Command, &mut Entropy) -> Option<M::Reply>,
) {
    let unanswered = life.unanswered();
    let Some((id, command)) = unanswered.get(entropy.pick(unanswered.len())) else {
        return life.timeout();
    };
    let mut replies = M::replies(command, life.now());
    let choice = entropy.pick(replies.len() + 8);
    let reply = match choice.checked_sub(replies.len()) {
        None => Ok(replies.swap_remove(choice)),
        Some(0) => Err(Fault::refused("no space left")),
        Some(1) => Err(Fault::not_sent("too late")),
        Some(2) => Err(Fault::unknown("nobody knows")),
        Some(3) => Ok(any(command, entropy).unwrap_or_else(|| replies.swap_remove(0))),
        // What leads further is likelier than what goes wrong.
        Some(_) => Ok(replies.swap_remove(0)),
    };
    life.reply(*id, &reply);
}

fn contents(entropy: &mut Entropy) -> FileReply {
    let wall_micros = number(entropy);
    let mut contents = bytes(entropy, 64);
    if entropy.pick(2) == 1 {
        contents.splice(0..0, b"distributed-lock 1\nfence ".iter().copied());
    }
    FileReply::Contents { bytes: contents, wall_micros }
}

fn numbers(entropy: &mut Entropy) -> [i64; 3] {
    [(); 3].map(|()| match entropy.pick(6) {
        0 => 0,
        1 => 1,
        2 => -1,
        3 => i64::MAX,
        4 => i64::MIN,
        _ => number(entropy).cast_signed(),
    })
}

fn demand(entropy: &mut Entropy) -> Demand {
    match entropy.pick(4) {
        0 | 1 => Demand::Exclusive,
        2 => Demand::Shared,
        _ => {
            let limit = 1 + entropy.pick(3) as u32;
            Demand::Permits { count: 1 + entropy.pick(limit as usize) as u32, limit }
        }
    }
}

fn servers(entropy: &mut Entropy) -> Vec<Duration> {
    vec![Duration::from_millis(40); 1 + entropy.pick(5)]
}

fn keys() -> Keys {
    Keys::new("", &name()).expect("a plain name")
}

fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}

fn seed() -> Seed {
    Seed::from_bytes([7; 32])
}
