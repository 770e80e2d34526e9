use std::time::Duration;

use lock_proto::file::{FileLock, FileLockOptions, Identity};
use lock_proto::memory::MemoryLock;
use lock_proto::postgres::{AdvisoryKey, AdvisoryLock, Mode, PermitKeys, PermitLock};
use lock_proto::redis::{Keys, RedisOptions, ServerLock, Side};
use lock_proto::{AcquireOptions, Demand, Instant, LockName, Seed};
use lock_tests::explore::{Bounds, explore};

#[test]
fn every_short_life_of_a_memory_lock_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        let lives = explore(Bounds::new(5, 5), || memory(&options));
        assert!(lives > 1_000, "{lives}");
    }
}

#[test]
fn every_short_life_of_a_file_mutex_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        let lives = explore(Bounds::new(5, 5), || file(Demand::Exclusive, &options, false));
        assert!(lives > 1_000, "{lives}");
    }
}

#[test]
fn every_life_of_a_file_mutex_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        for remove in [false, true] {
            explore(Bounds::new(14, 2), || file(Demand::Exclusive, &options, remove));
        }
    }
}

#[test]
fn every_life_of_a_reader_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try()] {
        explore(Bounds::new(14, 2), || file(Demand::Shared, &options, true));
    }
}

#[test]
fn every_life_of_a_file_semaphore_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try()] {
        for (count, limit) in [(1, 2), (2, 2)] {
            let demand = Demand::permits(count, limit).unwrap();
            explore(Bounds::new(24, 2), || file(demand, &options, true));
        }
    }
}

#[test]
fn every_short_life_of_a_lock_on_one_redis_server_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        let lives = explore(Bounds::new(4, 4), || redis(Side::Exclusive, &options));
        assert!(lives > 1_000, "{lives}");
    }
}

#[test]
fn every_life_of_a_lock_on_one_redis_server_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        for side in [Side::Exclusive, Side::Shared, Side::Permits { count: 2, limit: 3 }] {
            explore(Bounds::new(12, 2), || redis(side, &options));
        }
    }
}

#[test]
fn every_short_life_of_an_advisory_lock_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        let lives = explore(Bounds::new(5, 5), || advisory(Mode::Exclusive, &options));
        assert!(lives > 1_000, "{lives}");
        let queueing = || advisory(Mode::Exclusive, &options).queueing(Instant::ZERO);
        explore(Bounds::new(5, 5), queueing);
    }
}

#[test]
fn every_life_of_an_advisory_lock_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        explore(Bounds::new(12, 3), || advisory(Mode::Shared, &options));
    }
}

#[test]
fn every_life_of_permits_on_postgres_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        for count in [1, 2] {
            explore(Bounds::new(12, 3), || permits(count, &options));
        }
    }
}

fn advisory(mode: Mode, options: &AcquireOptions) -> AdvisoryLock {
    let (key, seed) = (AdvisoryKey::from_name("orders"), Seed::from_bytes([7; 32]));
    AdvisoryLock::new(key, mode, options, &seed, Instant::ZERO).expect("sensible options")
}

fn permits(count: u32, options: &AcquireOptions) -> PermitLock {
    let (keys, seed) = (PermitKeys::new(&name(), 3), Seed::from_bytes([7; 32]));
    PermitLock::new(keys, count, options, &seed, Instant::ZERO).expect("sensible options")
}

fn redis(side: Side, options: &AcquireOptions) -> ServerLock {
    let keys = Keys::new("", &name()).expect("a plain name");
    let settings = RedisOptions::new(Identity::new("build-7", 4242));
    let seed = Seed::from_bytes([7; 32]);
    ServerLock::new(keys, side, options, &settings, &seed, Instant::ZERO).expect("sensible options")
}

fn memory(options: &AcquireOptions) -> MemoryLock {
    MemoryLock::new(Demand::Exclusive, options, Instant::ZERO).expect("sensible options")
}

fn file(demand: Demand, options: &AcquireOptions, remove: bool) -> FileLock {
    let settings =
        FileLockOptions::new(Identity::new("build-7", 4242)).with_remove_on_release(remove);
    let seed = Seed::from_bytes([7; 32]);
    FileLock::new(name(), demand, options, settings, &seed, Instant::ZERO)
        .expect("sensible options")
}

fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}

fn waiting() -> AcquireOptions {
    AcquireOptions::new()
}

fn one_try() -> AcquireOptions {
    AcquireOptions::new().with_timeout(Duration::ZERO)
}

fn leased() -> AcquireOptions {
    let second = Duration::from_secs(1);
    AcquireOptions::new().with_ttl(second).with_max_renewals(2).with_max_hold(second * 2)
}

fn bounded() -> AcquireOptions {
    AcquireOptions::new().with_timeout(Duration::from_secs(1))
}
