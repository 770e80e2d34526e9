//! What can be the matter, in words.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::{Fault, Severity};

/// Something about a PostgreSQL server, or about the way to it, that whoever runs it should know.
///
/// `Display` says what is the matter, what can go wrong, and what to do. Servers are called by
/// their addresses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// A pooler gives each transaction a session, and sessions are to hold the locks.
    TransactionPooling {
        /// Where.
        server: String,
    },
    /// A pooler gives each statement a session, and knows no transactions.
    StatementPooling {
        /// Where.
        server: String,
    },
    /// The server is a standby.
    Standby {
        /// Which one.
        server: String,
    },
    /// One more connection can't be had.
    NoConnection {
        /// Where.
        server: String,
        /// Why not.
        fault: Fault,
    },
    /// The server is older than those that the locks are meant for.
    TooOld {
        /// Which one.
        server: String,
        /// Its version.
        version: String,
    },
    /// The server ends sessions or transactions of the provider that hold locks.
    HoldersEnd {
        /// Which one.
        server: String,
        /// The setting that has it do so.
        setting: String,
        /// When.
        after: Duration,
    },
    /// The server ends the provider's waits for locks.
    WaitsEnd {
        /// Which one.
        server: String,
        /// The setting that has it do so.
        setting: String,
        /// When.
        after: Duration,
    },
    /// The role or the database has a time-out that the provider sets aside, and others don't.
    OthersEnd {
        /// On which server.
        server: String,
        /// The setting.
        setting: String,
        /// Its value.
        after: Duration,
    },
    /// The server is late to notice that the machine of a holder is gone.
    DeadHolders {
        /// Which one.
        server: String,
        /// How late.
        after: Duration,
    },
    /// The server lets in fewer connections than the provider may open.
    FewConnections {
        /// Which one.
        server: String,
        /// How many it lets in.
        room: u64,
        /// How many there may be.
        wanted: usize,
    },
    /// The server has room for few locks, or for few more.
    FewLocks {
        /// Which one.
        server: String,
        /// For about how many it has room.
        room: u64,
        /// How many it has.
        taken: u64,
    },
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::TransactionPooling { .. }
            | Self::StatementPooling { .. }
            | Self::Standby { .. }
            | Self::NoConnection { .. }
            | Self::HoldersEnd { .. } => Severity::Danger,
            // What is left goes in hours, and the locks with it.
            Self::FewLocks { room, taken, .. } if *taken > room / 10 * 9 => Severity::Danger,
            Self::TooOld { .. }
            | Self::WaitsEnd { .. }
            | Self::OthersEnd { .. }
            | Self::DeadHolders { .. }
            | Self::FewConnections { .. }
            | Self::FewLocks { .. } => Severity::Advice,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransactionPooling { server } => write!(f, "{server} {TRANSACTION_POOLING}"),
            Self::StatementPooling { server } => write!(f, "{server} {STATEMENT_POOLING}"),
            Self::Standby { server } => write!(
                f,
                "{server} is a standby: what is locked there is not locked on the primary, nor on \
                 other standbys; name the primary"
            ),
            Self::NoConnection { server, fault } => write!(
                f,
                "{server} gives no further connection ({fault}), and each wait for a lock takes \
                 one: raise the limits of the server, of the role, and of the pooler before it"
            ),
            Self::TooOld { server, version } => write!(
                f,
                "{server} is PostgreSQL {version}, and 12 is the oldest that the locks are meant \
                 for: update it"
            ),
            Self::HoldersEnd { server, setting, after } => {
                holders_end(f, server, setting, &period(*after))
            }
            Self::WaitsEnd { server, setting, after } => write!(
                f,
                "{server} ends each wait for a lock after {}, whatever its own time-out ({setting}): \
                 set {setting} to 0 for the role that takes locks, with ALTER ROLE",
                period(*after)
            ),
            Self::OthersEnd { server, setting, after } => {
                others_end(f, server, setting, &period(*after))
            }
            Self::DeadHolders { server, after } => write!(
                f,
                "{server} takes {} to notice that the machine of a holder is gone, or cut off, and \
                 the lock stays held until then: set tcp_keepalives_idle, tcp_keepalives_interval \
                 and tcp_keepalives_count for the role that takes locks, with ALTER ROLE, to some \
                 seconds and probes",
                period(*after)
            ),
            Self::FewConnections { server, room, wanted } => write!(
                f,
                "{server} lets in {room} connections of this role to this database, and each \
                 provider may open {wanted}: let it open fewer with its max_connections, or raise \
                 the server's, or the limit of the role or the database"
            ),
            Self::FewLocks { server, room, taken } => write!(
                f,
                "{server} has room for about {room} locks, those of tables among them, and \
                 {taken} are held: when it is full, locks and other statements fail, whoever asks; \
                 raise max_locks_per_transaction, which takes a restart, or hold fewer locks at a \
                 time"
            ),
        }
    }
}

const TRANSACTION_POOLING: &str = "is a pooler that gives each transaction another session (pool_mode \
    transaction of PgBouncer): a lock that a session holds excludes nobody there, and is not given \
    back; turn use_transaction_scope on, or connect to the server itself, or to a pool with \
    pool_mode session";
const STATEMENT_POOLING: &str = "is a pooler that gives each statement another session (pool_mode \
    statement of PgBouncer): neither sessions nor transactions hold locks there; connect to the \
    server itself, or to a pool with pool_mode session";

fn holders_end(
    f: &mut fmt::Formatter<'_>,
    server: &str,
    setting: &str,
    after: &str,
) -> fmt::Result {
    let (what, cure) = match setting {
        "idle_session_timeout" => {
            ("a session that was idle for", ", or a shorter keepalive_cadence")
        }
        "idle_in_transaction_session_timeout" => {
            ("a transaction that was idle for", ", or a shorter keepalive_cadence")
        }
        _ => ("every transaction after", ""),
    };
    write!(
        f,
        "{server} ends {what} {after} ({setting}), and others may have its lock: set {setting} to 0 \
         for the role that takes locks, with ALTER ROLE{cure}"
    )
}

fn others_end(f: &mut fmt::Formatter<'_>, server: &str, setting: &str, after: &str) -> fmt::Result {
    let what = match setting {
        "lock_timeout" => "others that wait for a lock give up after that long",
        "statement_timeout" => {
            "statements of others, those that wait for a lock among them, fail after that long"
        }
        "idle_session_timeout" => {
            "a lock on a connection of your own, or of another client, is lost when that is idle \
             for so long"
        }
        "idle_in_transaction_session_timeout" => {
            "a lock in a transaction of your own, or of another client, is lost when that is idle \
             for so long"
        }
        _ => "a lock in a transaction of your own, or of another client, is lost after that long",
    };
    write!(
        f,
        "{server} has {setting} at {after} for this role or database: the connections of the \
         provider set it aside, but {what}; where that matters, set it to 0 for a role of its own, \
         with ALTER ROLE"
    )
}

/// A time in the units that people set it in.
fn period(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if duration.subsec_nanos() > 0 || seconds < 120 {
        alloc::format!("{duration:?}")
    } else if hours > 0 {
        alloc::format!("{hours} h {minutes} min")
    } else if seconds.is_multiple_of(60) {
        alloc::format!("{minutes} min")
    } else {
        alloc::format!("{minutes} min {} s", seconds % 60)
    }
}
