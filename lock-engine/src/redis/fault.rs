//! What is known of a command, by the error that came instead of its reply.

use lock_proto::Fault;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Sorts an error of the `redis` crate.
///
/// Its text is what a server or the operating system said, and the crate's own fixed words; what
/// was sent, passwords among it, is never in it.
#[must_use]
pub fn fault_of(error: RedisError) -> Fault {
    let kind = error.kind();
    let fault = if let ErrorKind::Server(kind) = kind {
        of_server(kind, &error)
    } else if kind == ErrorKind::Extension {
        of_code(error.code())
    } else if kind == ErrorKind::AuthenticationFailed {
        refused_login()
    } else if kind == ErrorKind::RESP3NotSupported {
        Fault::refused("the server does not know RESP3: Redis 6.2 or later is needed")
    } else if error.is_connection_refusal() {
        Fault::not_sent(
            "no Redis server listens there: check the address, and that the server runs",
        )
    } else if NOBODY.contains(&kind) {
        Fault::not_sent("no Redis server could be found to send the command to")
    } else {
        Fault::unknown("the connection to the Redis server was lost before it answered")
    };
    fault.with_cause(error)
}

/// There was nobody to send anything to.
const NOBODY: [ErrorKind; 6] = [
    ErrorKind::InvalidClientConfig,
    ErrorKind::Client,
    ErrorKind::MasterNameNotFoundBySentinel,
    ErrorKind::NoValidReplicasFoundBySentinel,
    ErrorKind::EmptySentinelList,
    ErrorKind::ClusterConnectionNotFound,
];

/// The server is not fit to carry anything out.
const UNFIT: [ServerErrorKind; 5] = [
    ServerErrorKind::BusyLoading,
    ServerErrorKind::TryAgain,
    ServerErrorKind::ClusterDown,
    ServerErrorKind::MasterDown,
    ServerErrorKind::ReadOnly,
];

/// What a script is told that has deleted a key while its slot is moved, and then looks for it: what
/// it did before stands.
const STRAYED: &str = "attempted to access a non local key";

fn of_server(kind: ServerErrorKind, error: &RedisError) -> Fault {
    if UNFIT.contains(&kind) {
        unfit()
    } else if kind == ServerErrorKind::Ask {
        Fault::not_sent("the key is being moved to another node of the Redis Cluster")
    } else if kind == ServerErrorKind::Moved {
        Fault::not_sent(
            "the key lives on another node: if the servers are a cluster, name them as \
             redis+cluster://",
        )
    } else if kind == ServerErrorKind::NoPerm {
        Fault::refused("the Redis user may not do this: see ACL SETUSER of the server")
    } else if error.detail().is_some_and(|detail| detail.contains(STRAYED)) {
        Fault::unknown("the key was moved to another node of the Redis Cluster in between")
    } else {
        of_code(error.code())
    }
}

fn of_code(code: Option<&str>) -> Fault {
    match code {
        Some("BUSY" | "NOREPLICAS") => unfit(),
        Some("NOAUTH" | "WRONGPASS") => refused_login(),
        Some("WRONGTYPE") => Fault::refused(
            "a key of another type stands at the lock's name on the Redis server: choose another \
             name, or a key prefix",
        ),
        Some("OOM") => Fault::refused(
            "the Redis server is out of memory: see its maxmemory and maxmemory-policy",
        ),
        Some("MISCONF") => Fault::refused(
            "the Redis server can't write its data to disk and refuses commands: see its log",
        ),
        _ => Fault::refused("the Redis server refused the command"),
    }
}

fn refused_login() -> Fault {
    Fault::refused("the Redis server wants other credentials: check user and password")
}

fn unfit() -> Fault {
    Fault::not_sent("the Redis server can't carry out commands at present")
}
