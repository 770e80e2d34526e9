//! What a caller may ask for, and a provider be told.

use std::time::Duration;

use lock_proto::file::Identity;
use lock_proto::redis::RedisOptions;
use lock_proto::{AcquireOptions, Backoff, Demand, LockError, Renewal};

use super::{duration, number, text};
use crate::entropy::Entropy;

/// The shortest lease and the longest.
const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_millis(i32::MAX as u64);

/// Options of any kind.
pub(super) fn any_acquire(entropy: &mut Entropy) -> AcquireOptions {
    let mut options = AcquireOptions::new();
    if entropy.pick(2) == 1 {
        options = options.with_timeout(duration(entropy));
    }
    if entropy.pick(2) == 1 {
        options = options.with_ttl(duration(entropy));
    }
    options = match entropy.pick(4) {
        1 => options.with_renewal(Renewal::Off),
        2 => options.with_renewal(Renewal::Every(duration(entropy))),
        _ => options,
    };
    if entropy.pick(4) == 1 {
        options = options.with_max_renewals(entropy.pick(4) as u32);
    }
    if entropy.pick(4) == 1 {
        options = options.with_max_hold(duration(entropy));
    }
    if entropy.pick(4) == 1
        && let Ok(backoff) = Backoff::new(duration(entropy), duration(entropy))
    {
        options = options.with_backoff(backoff);
    }
    if entropy.pick(4) == 1 {
        options = options.with_owner(&text(entropy, 256));
    }
    options
}

/// Settings of any kind, for leases of 30 seconds unless they say otherwise.
pub(super) fn any_redis(entropy: &mut Entropy) -> RedisOptions {
    let mut settings = RedisOptions::new(Identity::new(&text(entropy, 8), 4242));
    if entropy.pick(4) == 1 {
        settings = settings.with_expiry(duration(entropy));
    }
    if entropy.pick(4) == 1 {
        settings = settings.with_extension_cadence(duration(entropy));
    }
    if entropy.pick(4) == 1 {
        settings = settings.with_min_validity(duration(entropy));
    }
    settings.with_fencing(entropy.pick(4) != 1)
}

/// Options are refused by name, or make terms by which a lease is prolonged before it ends.
pub(super) fn acquire(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let options = any_acquire(&mut entropy);
    match options.terms() {
        Ok(terms) => {
            assert!(terms.ttl.is_none_or(|ttl| LEASES.contains(&ttl)), "{terms:?}");
            assert!(terms.max_hold != Some(Duration::ZERO), "{terms:?}");
            match (terms.cadence, terms.ttl) {
                (Some(cadence), Some(ttl)) => assert!(!cadence.is_zero() && cadence < ttl),
                (cadence, _) => assert_eq!(cadence, None, "nothing is prolonged without a lease"),
            }
            let owner = options.owner().map_or("", |owner| owner);
            assert!(owner.len() < 256 && !owner.contains(['\n', '\r', '\0']), "{owner:?}");
        }
        Err(error) => {
            refused(&error, &["max_hold", "max_renewals", "owner", "renewal", "ttl"]);
        }
    }
    let (count, limit) = (number(&mut entropy) as u32, number(&mut entropy) as u32);
    let demand = Demand::permits(count, limit);
    assert_eq!(demand.is_ok(), (1..=limit).contains(&count), "{count} of {limit}");
    let (shortest, longest) = (duration(&mut entropy), duration(&mut entropy));
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    let sensible = range.contains(&shortest) && range.contains(&longest) && shortest <= longest;
    assert_eq!(Backoff::new(shortest, longest).is_ok(), sensible, "{shortest:?} to {longest:?}");
}

/// Settings are refused by name, or locks can be made with them.
pub(super) fn redis(bytes: &[u8]) {
    let settings = any_redis(&mut Entropy::new(bytes.to_vec()));
    match settings.checked() {
        Ok(settings) => {
            let options = AcquireOptions::new().with_renewal(Renewal::Off);
            let lock = super::lives::on_one_server(&options, &settings);
            lock.expect("what is left open by the caller has been checked");
        }
        Err(error) => refused(&error, &["expiry", "extension_cadence", "min_validity"]),
    }
}

/// An option that was given is to blame, and what is wrong with it is said.
pub(super) fn refused(error: &LockError, known: &[&str]) {
    let LockError::InvalidConfig { option, problem } = error else { panic!("{error:?}") };
    assert!(known.contains(option) && !problem.is_empty(), "{error:?}");
}
