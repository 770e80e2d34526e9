//! What is wrong with servers that locks stand on.
//!
//! [`examine`] is given what each server says of itself, and how the servers are used. It asks
//! nobody anything.

mod finding;
mod reading;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::options::drift;
use crate::Severity;

pub use finding::Finding;
pub use reading::{ClockReading, Reading};

/// The oldest version that the locks are tested with.
const OLDEST: (u32, u32) = (6, 2);
/// Wall clocks that differ by less are as good as equal: a second is what an idle NTP may leave.
const CLOCKS_AGREE: Duration = Duration::from_secs(1);

/// How servers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arrangement {
    /// One server on its own.
    Single,
    /// Several that know nothing of one another, and vote.
    Voting,
    /// The masters of a cluster.
    Cluster,
    /// The master that sentinels watch.
    Sentinel,
}

/// What is the matter with the servers of `readings`, the worst first. Their wall clocks are
/// compared to `own_clock` as well.
#[must_use]
pub fn examine(
    arrangement: Arrangement,
    readings: &[Reading],
    own_clock: Option<ClockReading>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for reading in readings {
        of_server(arrangement, reading, &mut findings);
    }
    findings.extend(twins(readings));
    if arrangement == Arrangement::Voting {
        findings.extend(disagreement(readings, own_clock));
        if readings.len().is_multiple_of(2) {
            findings.push(Finding::EvenNumber { servers: readings.len() });
        }
    }
    findings.sort_by_key(|finding| finding.severity() != Severity::Danger);
    findings
}

fn of_server(arrangement: Arrangement, reading: &Reading, findings: &mut Vec<Finding>) {
    let server = || reading.server().to_string();
    if let Some(fault) = reading.fault() {
        let fault = fault.clone();
        // One that tells the time lets us in; it only won't tell of itself.
        findings.push(match reading.clocks() {
            [] => Finding::Unreachable { server: server(), fault },
            [..] => Finding::Unexamined { server: server(), fault },
        });
    }
    if reading.version().is_some_and(|version| version < OLDEST) {
        let version = reading.field("redis_version").unwrap_or_default().to_string();
        findings.push(Finding::TooOld { server: server(), version });
    }
    if reading.is("role", "slave") {
        findings.push(Finding::Replica { server: server() });
    }
    let apart = matches!(arrangement, Arrangement::Single | Arrangement::Voting);
    if apart && reading.is("redis_mode", "cluster") {
        findings.push(Finding::ClusterNode { server: server() });
    }
    findings.extend(eviction(reading));
    findings.extend(persistence(arrangement, reading));
    if reading.number("connected_slaves") > 0 {
        let voting = arrangement == Arrangement::Voting;
        findings.push(Finding::AsynchronousReplicas { server: server(), voting });
    }
    findings.extend(rate(reading));
}

fn eviction(reading: &Reading) -> Option<Finding> {
    let policy = reading.field("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    Some(Finding::Eviction {
        server: reading.server().to_string(),
        policy: policy.to_string(),
        limited: reading.number("maxmemory") > 0,
    })
}

fn persistence(arrangement: Arrangement, reading: &Reading) -> Option<Finding> {
    let server = reading.server().to_string();
    if reading.is("aof_enabled", "0") {
        let voting = arrangement == Arrangement::Voting;
        return Some(Finding::NotPersistent { server, voting });
    }
    if !reading.is("aof_enabled", "1") {
        return None;
    }
    let fsync = reading.setting("appendfsync");
    let late = fsync != Some("always");
    late.then(|| Finding::LateWrites { server, appendfsync: fsync.map(String::from) })
}

/// Servers that are one and the same.
fn twins(readings: &[Reading]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, one) in readings.iter().enumerate() {
        let Some(id) = one.field("run_id").filter(|id| !id.is_empty()) else { continue };
        let before = &readings[..index];
        if let Some(other) = before.iter().find(|other| other.is("run_id", id)) {
            findings.push(Finding::SameServer {
                one: other.server().to_string(),
                other: one.server().to_string(),
            });
        }
    }
    findings
}

/// Whether a server's clock surely ran at another rate than ours, by more than leases allow for.
fn rate(reading: &Reading) -> Option<Finding> {
    let [first, .., last] = reading.clocks() else { return None };
    let there = last.time.saturating_sub(first.time);
    let (shortest, longest) = (last.asked.since(first.answered), last.answered.since(first.asked));
    let fast = there > longest + drift(longest);
    let slow = there + drift(shortest) < shortest;
    let here = if fast { longest } else { shortest };
    let server = || reading.server().to_string();
    (fast || slow).then(|| Finding::ClockRate { server: server(), there, here })
}

/// The two wall clocks that differ most, if they surely differ by much.
fn disagreement(readings: &[Reading], own_clock: Option<ClockReading>) -> Option<Finding> {
    let servers = readings.iter().filter_map(|reading| {
        let clock = reading.clocks().last()?;
        Some((reading.server(), *clock))
    });
    let clocks: Vec<_> = servers.chain(own_clock.map(|clock| (OURSELVES, clock))).collect();
    // At the origin of our monotonic clock, each of them showed at least, and at most:
    let least = |clock: &ClockReading| since_1970(clock.time) - nanos(clock.answered);
    let most = |clock: &ClockReading| since_1970(clock.time) - nanos(clock.asked);
    let (ahead, fast) = clocks.iter().max_by_key(|(_, clock)| least(clock))?;
    let (behind, slow) = clocks.iter().min_by_key(|(_, clock)| most(clock))?;
    let by = u64::try_from(least(fast) - most(slow)).map(Duration::from_nanos).ok()?;
    (by > CLOCKS_AGREE).then(|| Finding::ClocksDiffer {
        ahead: ahead.to_string(),
        behind: behind.to_string(),
        by,
    })
}

const OURSELVES: &str = "this machine";

fn since_1970(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn nanos(instant: crate::Instant) -> i128 {
    i128::from(instant.as_nanos())
}
