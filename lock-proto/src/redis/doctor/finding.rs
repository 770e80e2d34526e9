//! What can be the matter, in words.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::{Fault, Severity};

/// Something about the servers that whoever runs them should know.
///
/// `Display` says what is the matter, what can go wrong, and what to do. Servers are called by
/// their addresses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A server can't be used.
    Unreachable {
        /// Which one.
        server: String,
        /// Why not.
        fault: Fault,
    },
    /// A server says nothing of itself.
    Unexamined {
        /// Which one.
        server: String,
        /// Why not.
        fault: Fault,
    },
    /// A server is older than those that are tested.
    TooOld {
        /// Which one.
        server: String,
        /// Its version.
        version: String,
    },
    /// A server is a copy of another.
    Replica {
        /// Which one.
        server: String,
    },
    /// A server is a node of a cluster, and is used as if it were not.
    ClusterNode {
        /// Which one.
        server: String,
    },
    /// Two addresses lead to one server.
    SameServer {
        /// One address.
        one: String,
        /// The other.
        other: String,
    },
    /// A server may delete locks to make room.
    Eviction {
        /// Which one.
        server: String,
        /// Its `maxmemory-policy`.
        policy: String,
        /// Whether its memory is limited, so that it will.
        limited: bool,
    },
    /// A server keeps no log of its writes.
    NotPersistent {
        /// Which one.
        server: String,
        /// Whether it is one of several that vote.
        voting: bool,
    },
    /// A server answers before what it wrote is on disk.
    LateWrites {
        /// Which one.
        server: String,
        /// Its `appendfsync`, if it tells.
        appendfsync: Option<String>,
    },
    /// A server has replicas, which lag behind it.
    AsynchronousReplicas {
        /// Which one.
        server: String,
        /// Whether it is one of several that vote.
        voting: bool,
    },
    /// A server's clock runs faster or slower than ours, or was set while we looked.
    ClockRate {
        /// Which one.
        server: String,
        /// How far its clock went on.
        there: Duration,
        /// How far ours did meanwhile.
        here: Duration,
    },
    /// The wall clocks of machines differ.
    ClocksDiffer {
        /// Whose clock is ahead of the others.
        ahead: String,
        /// Whose clock is behind.
        behind: String,
        /// How far they are apart, at least.
        by: Duration,
    },
    /// An even number of servers vote.
    EvenNumber {
        /// How many.
        servers: usize,
    },
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Unreachable { .. }
            | Self::TooOld { .. }
            | Self::Replica { .. }
            | Self::ClusterNode { .. }
            | Self::SameServer { .. }
            | Self::ClockRate { .. }
            | Self::Eviction { limited: true, .. }
            | Self::NotPersistent { voting: true, .. } => Severity::Danger,
            Self::Unexamined { .. }
            | Self::Eviction { limited: false, .. }
            | Self::NotPersistent { voting: false, .. }
            | Self::LateWrites { .. }
            | Self::AsynchronousReplicas { .. }
            | Self::ClocksDiffer { .. }
            | Self::EvenNumber { .. } => Severity::Advice,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { server, fault } => {
                write!(f, "{server} can't be used, and no lock can stand on it: {fault}")
            }
            Self::Unexamined { server, fault } => write!(
                f,
                "{server} does not say how it is set up ({fault}): let the user run INFO and \
                 CONFIG GET, or look yourself"
            ),
            Self::TooOld { server, version } => write!(
                f,
                "{server} is Redis {version}, and 6.2 is the oldest that locks are tested with; \
                 before 6.0, RESP3 and SET KEEPTTL are missing, and no lock can be taken: update it"
            ),
            Self::Replica { server } => write!(
                f,
                "{server} is a replica, which takes no locks: name its master, or the sentinels \
                 with redis+sentinel://"
            ),
            Self::ClusterNode { server } => write!(
                f,
                "{server} is a node of a cluster, and refuses all locks that live on other nodes: \
                 name the cluster with redis+cluster://"
            ),
            Self::SameServer { one, other } => write!(
                f,
                "{one} and {other} are one and the same server: it votes twice, and its failure \
                 counts twice; name each server once"
            ),
            Self::Eviction { server, policy, limited } => eviction(f, server, policy, *limited),
            Self::NotPersistent { server, voting } => not_persistent(f, server, *voting),
            Self::LateWrites { server, appendfsync } => late_writes(f, server, appendfsync),
            Self::AsynchronousReplicas { server, voting } => replicas(f, server, *voting),
            Self::ClockRate { server, there, here } => write!(
                f,
                "the clock of {server} went on by {there:.2?} while {here:.2?} passed here, and leases \
                 allow for 1 %: a lock may be given to a second holder while the first believes in \
                 its own; let NTP slew the clocks, never step them"
            ),
            Self::ClocksDiffer { ahead, behind, by } => write!(
                f,
                "the wall clock of {ahead} is ahead of that of {behind} by {by:.1?}: several \
                 servers mint fencing tokens by the clocks of their clients, and if those differ \
                 the tokens may fall after a server has lost its data; let NTP keep the clocks"
            ),
            Self::EvenNumber { servers } => write!(
                f,
                "{servers} servers vote, and are no safer from failures than {}: leave one out, \
                 or add one",
                servers.saturating_sub(1)
            ),
        }
    }
}

fn eviction(f: &mut fmt::Formatter<'_>, server: &str, policy: &str, limited: bool) -> fmt::Result {
    let when = if limited { "when its memory is full" } else { "once its maxmemory is set" };
    write!(
        f,
        "{server} may delete locks {when} (maxmemory-policy {policy}), and then give them to a \
         second holder: set maxmemory-policy noeviction, or keep locks on a server of their own"
    )
}

fn not_persistent(f: &mut fmt::Formatter<'_>, server: &str, voting: bool) -> fmt::Result {
    write!(f, "{server} keeps no log of its writes (appendonly no): ")?;
    if voting {
        f.write_str(
            "restarted, it has forgotten its votes and may help a second holder to a majority; \
             set appendonly yes, or don't restart it before the longest lease has run out",
        )
    } else {
        f.write_str(
            "its locks are lost when it restarts, and others may have them before their holders \
             notice; set appendonly yes, or don't restart it before the longest lease has run out",
        )
    }
}

fn late_writes(
    f: &mut fmt::Formatter<'_>,
    server: &str,
    appendfsync: &Option<String>,
) -> fmt::Result {
    let (setting, lost) = match appendfsync.as_deref() {
        Some("no") => ("appendfsync no", "up to half a minute"),
        Some("everysec") => ("appendfsync everysec", "a second or two"),
        Some(_) | None => ("unless appendfsync is always", "a second or more"),
    };
    write!(
        f,
        "{server} answers before its writes are on disk ({setting}): locks of the last moments, \
         {lost}, are lost when its machine fails; set appendfsync always if that matters more than \
         speed"
    )
}

fn replicas(f: &mut fmt::Formatter<'_>, server: &str, voting: bool) -> fmt::Result {
    write!(f, "{server} does not wait for its replicas: ")?;
    if voting {
        f.write_str(
            "if one takes its place, votes of the last moments are forgotten, and a second holder \
             may get a majority; servers that vote are safer without a failover",
        )
    } else {
        f.write_str(
            "a failover can lose a lock that was just acquired or prolonged, and give it to a \
             second holder; fencing tokens go on rising if the clock of the replica is not behind, \
             so let what the lock protects check them",
        )
    }
}
