//! Every short life of a lock on three servers.

use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::{Keys, RedLock, RedisOptions, Side};
use lock_proto::{AcquireOptions, Instant, LockName, Seed};
use lock_tests::explore::{Bounds, explore};

#[test]
fn every_short_life_on_three_servers_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        let lives = explore(Bounds::new(4, 3), || lock(3, Side::Exclusive, &options));
        assert!(lives > 10_000, "{lives}");
    }
}

#[test]
fn every_life_on_three_servers_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        for side in [Side::Exclusive, Side::Shared] {
            explore(Bounds::new(12, 2), || lock(3, side, &options));
        }
    }
}

#[test]
fn every_life_on_one_two_and_five_servers_with_few_surprises_keeps_the_contract() {
    for options in [waiting(), one_try(), leased(), bounded()] {
        explore(Bounds::new(9, 3), || lock(1, Side::Exclusive, &options));
        explore(Bounds::new(10, 2), || lock(2, Side::Exclusive, &options));
        explore(Bounds::new(14, 1), || lock(5, Side::Exclusive, &options));
    }
}

fn lock(servers: usize, side: Side, options: &AcquireOptions) -> RedLock {
    let name = LockName::new("orders").expect("a short name");
    let keys = Keys::new("", &name).expect("a plain name");
    let settings = RedisOptions::new(Identity::new("build-7", 4242));
    let patience = vec![Duration::from_millis(50); servers];
    let seed = Seed::from_bytes([7; 32]);
    let now = Instant::ZERO;
    RedLock::new(keys, side, options, &settings, &patience, 1_000_000, &seed, now)
        .expect("sensible options")
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
    AcquireOptions::new().with_timeout(Duration::from_millis(300))
}
