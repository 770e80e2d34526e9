//! What is tried on strings of bytes that a fuzzer makes up.
//!
//! A target is a function that panics when something does not hold. cargo-fuzz looks for strings
//! that reach what no other has (`fuzz/`); those that it kept are in `tests/corpus`, and every run
//! of the tests replays them.

mod hub;
mod lives;
mod names;
mod options;
mod own;
mod texts;
mod urls;
mod worlds;

use std::time::Duration;

use crate::entropy::Entropy;

/// Something that holds for every string of bytes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// As the fuzzer calls it.
    pub name: &'static str,
    /// Panics if it does not hold for these.
    pub body: fn(&[u8]),
}

/// All targets.
#[must_use]
pub fn targets() -> &'static [Target] {
    TARGETS
}

/// Tries one target on one string.
///
/// # Panics
///
/// If there is no target of that name, or it does not hold.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("it is in the table").body)(bytes);
}

macro_rules! table {
    ($($name:literal: $body:path;)*) => {
        const TARGETS: &[Target] = &[$(Target { name: $name, body: $body }),*];
    };
}

table! {
    "acquire_options": options::acquire;
    "advisory": lives::advisory;
    "advisory_key": names::advisory_key;
    "endpoint": urls::endpoint;
    "file": lives::file;
    "file_name": names::file_name;
    "file_record": texts::file_record;
    "hub": hub::hub;
    "memory": lives::memory;
    "own": own::own;
    "permits": lives::permits;
    "postgres_url": urls::postgres;
    "redis": lives::redis;
    "redis_keys": names::redis_keys;
    "redis_message": texts::redis_message;
    "redis_options": options::redis;
    "redis_token": texts::redis_token;
    "redis_url": urls::redis;
    "redis_words": texts::redis_words;
    "redlock": lives::redlock;
    "slots": lives::slots;
    "world_cluster": worlds::cluster;
    "world_cluster_forgetful": worlds::cluster_forgetful;
    "world_file": worlds::file;
    "world_file_harsh": worlds::file_harsh;
    "world_memory": worlds::memory;
    "world_postgres": worlds::postgres;
    "world_postgres_pooled": worlds::postgres_pooled;
    "world_redis": worlds::redis;
    "world_redis_forgetful": worlds::redis_forgetful;
    "world_redlock": worlds::redlock;
    "world_redlock_forgetful": worlds::redlock_forgetful;
}

/// A number of any size, small ones above all.
fn number(entropy: &mut Entropy) -> u64 {
    let length = [0, 1, 1, 2, 3, 4, 5, 8][entropy.pick(8)];
    (0..length).fold(0, |number, _| number << 8 | entropy.pick(256) as u64)
}

/// A duration that means something to a lock, or any other.
fn duration(entropy: &mut Entropy) -> Duration {
    match entropy.pick(8) {
        0 => Duration::ZERO,
        1 => Duration::MAX,
        2 => Duration::from_nanos(number(entropy)),
        3 => Duration::from_secs(number(entropy)),
        _ => Duration::from_millis(number(entropy)),
    }
}

/// Text of fewer than `length` bytes, that which is no UTF-8 replaced.
fn text(entropy: &mut Entropy, length: usize) -> String {
    String::from_utf8_lossy(&bytes(entropy, length)).into_owned()
}

/// Fewer than `length` bytes.
fn bytes(entropy: &mut Entropy, length: usize) -> Vec<u8> {
    let length = entropy.pick(length);
    (0..length).map_while(|_| entropy.choose(256)).map(|byte| byte as u8).collect()
}
