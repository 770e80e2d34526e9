//! What is known of a command, by the error that came instead of its reply.

use lock_proto::Fault;
use redis::{ErrorKind, RedisError, RetryMethod, ServerErrorKind};

/// Sorts an error of the `redis` crate.
///
/// Its text is what a server or the operating system said, and the crate's own fixed words; what
/// was sent, passwords among it, is never in it.
#[must_use]
pub fn fault_of(error: RedisError) -> Fault {
    let fault = match error.kind() {
        ErrorKind::Server(kind) => of_server(kind, error.code()),
        ErrorKind::Extension => of_code(error.code()),
        ErrorKind::AuthenticationFailed => refused_login(),
        ErrorKind::Io if error.is_connection_refusal() => Fault::not_sent(
            "no Redis server listens there: check the address, and that the server runs",
        ),
        ErrorKind::InvalidClientConfig
        | ErrorKind::Client
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::EmptySentinelList
        | ErrorKind::ClusterConnectionNotFound => {
            Fault::not_sent("no server could be found to send the command to")
        }
        ErrorKind::RESP3NotSupported => {
            Fault::refused("the server does not know RESP3: Redis 6.2 or later is needed")
        }
        // An answer that can't be read was an answer to something.
        _ if matches!(error.retry_method(), RetryMethod::MovedRedirect) => moved(),
        _ => Fault::unknown("the connection to the Redis server was lost before it answered"),
    };
    fault.with_cause(error)
}

fn of_server(kind: ServerErrorKind, code: Option<&str>) -> Fault {
    match kind {
        ServerErrorKind::BusyLoading
        | ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::MasterDown
        | ServerErrorKind::ReadOnly => {
            Fault::not_sent("the Redis server can't carry out commands at present")
        }
        ServerErrorKind::Moved | ServerErrorKind::Ask => moved(),
        ServerErrorKind::NoPerm => {
            Fault::refused("the Redis user may not do this: see ACL SETUSER of the server")
        }
        _ => of_code(code),
    }
}

fn of_code(code: Option<&str>) -> Fault {
    match code {
        Some("BUSY" | "NOREPLICAS") => {
            Fault::not_sent("the Redis server can't carry out commands at present")
        }
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

fn moved() -> Fault {
    Fault::not_sent(
        "the key lives on another node: if the servers are a cluster, name them as \
         redis+cluster://",
    )
}
