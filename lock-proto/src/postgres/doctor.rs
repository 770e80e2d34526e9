//! What is wrong with a PostgreSQL server that locks stand on, or with the way to it.
//!
//! [`examine`] is given what was seen on some connections, and how they are used. It asks nobody
//! anything.

mod finding;
mod reading;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use crate::Severity;

pub use finding::Finding;
pub use reading::{EXAMINED, Fact, Reading};

/// The oldest version that the locks are meant for, as `server_version_num` has it.
const OLDEST: u64 = 120_000;
/// A machine that is gone may be noticed so much later, and no finding comes of it.
const SOON: Duration = Duration::from_secs(5 * 60);
/// Fewer locks than this are soon used up: a server on which nothing was chosen has room for 6,400,
/// and locks of tables need it too.
const FEW_LOCKS: u64 = 1000;

/// What holds the locks of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an advisory lock belongs to one or the other")]
pub enum Scope {
    /// A session.
    Session,
    /// A transaction.
    Transaction,
}

/// How a provider uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What holds its locks.
    pub scope: Scope,
    /// How often a connection that holds a lock says something, if it does.
    pub keepalive: Option<Duration>,
    /// How many connections there may be.
    pub connections: usize,
}

impl Usage {
    /// At most `connections` that hold locks of a scope, and say nothing meanwhile.
    #[must_use]
    pub fn new(scope: Scope, connections: usize) -> Self {
        Self { scope, keepalive: None, connections }
    }
}

/// What is the matter with the server of `reading`, the worst first.
#[must_use]
pub fn examine(usage: &Usage, reading: &Reading) -> Vec<Finding> {
    let server = || reading.server().to_string();
    let pooled = reading.is_pooled();
    let mut findings: Vec<Finding> = Vec::new();
    if reading.refuses_transactions() {
        findings.push(Finding::StatementPooling { server: server() });
    } else if pooled && usage.scope == Scope::Session {
        findings.push(Finding::TransactionPooling { server: server() });
    }
    if reading.is("in_recovery", "true") {
        findings.push(Finding::Standby { server: server() });
    }
    if let Some(fault) = reading.unconnected().filter(|_| usage.connections > 1) {
        findings.push(Finding::NoConnection { server: server(), fault: fault.clone() });
    }
    if reading.number("server_version_num").is_some_and(|version| version < OLDEST) {
        let version = reading.value("server_version").unwrap_or_default().to_string();
        findings.push(Finding::TooOld { server: server(), version });
    }
    // Of sessions that are not the provider's alone, the settings are somebody else's.
    if !pooled || usage.scope == Scope::Transaction {
        findings.extend(endings(usage, reading));
        findings.extend(others(reading));
    }
    if !pooled {
        findings.extend(dead_holders(reading));
        findings.extend(few_connections(usage, reading));
    }
    findings.extend(few_locks(reading));
    findings.sort_by_key(|finding| finding.severity() != Severity::Danger);
    findings
}

/// The settings that end what holds a lock, or whoever waits for one, in the provider's own
/// sessions.
fn endings(usage: &Usage, reading: &Reading) -> Vec<Finding> {
    let server = || reading.server().to_string();
    let holders: &[&str] = match usage.scope {
        Scope::Session => &["idle_session_timeout"],
        Scope::Transaction => &["idle_in_transaction_session_timeout", "transaction_timeout"],
    };
    let mut findings = Vec::new();
    for setting in holders {
        let Some(after) = reading.period(setting) else { continue };
        let idle = *setting != "transaction_timeout";
        let kept = idle && usage.keepalive.is_some_and(|cadence| cadence < after);
        if !kept {
            let setting = (*setting).to_string();
            findings.push(Finding::HoldersEnd { server: server(), setting, after });
        }
    }
    if let Some(after) = reading.period("statement_timeout") {
        let setting = String::from("statement_timeout");
        findings.push(Finding::WaitsEnd { server: server(), setting, after });
    }
    findings
}

/// What is set for everybody of this role or in this database, and what the provider's own sessions
/// set aside.
fn others(reading: &Reading) -> impl Iterator<Item = Finding> {
    let settings = [
        "lock_timeout",
        "statement_timeout",
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
    ];
    settings.into_iter().filter_map(|setting| {
        let after = reading.configured_period(setting)?;
        // Each wait brings its own.
        let own = if setting == "lock_timeout" { None } else { reading.period(setting) };
        own.is_none().then(|| Finding::OthersEnd {
            server: reading.server().to_string(),
            setting: setting.to_string(),
            after,
        })
    })
}

/// How long the server believes in a holder whose machine is gone.
fn dead_holders(reading: &Reading) -> Option<Finding> {
    // Of a process on its own machine it hears at once.
    reading.value("client_address")?;
    let idle = reading.period("tcp_keepalives_idle")?;
    let interval = reading.period("tcp_keepalives_interval")?;
    let count = u32::try_from(reading.number("tcp_keepalives_count")?).ok()?;
    let probing = interval.saturating_mul(count);
    let probing = reading.period("tcp_user_timeout").map_or(probing, |limit| limit.min(probing));
    let after = idle.saturating_add(probing);
    let server = || reading.server().to_string();
    (after > SOON).then(|| Finding::DeadHolders { server: server(), after })
}

fn few_connections(usage: &Usage, reading: &Reading) -> Option<Finding> {
    let reserved = ["superuser_reserved_connections", "reserved_connections"];
    let reserved: u64 = reserved.iter().filter_map(|name| reading.number(name)).sum();
    let room = reading.number("max_connections")?.saturating_sub(reserved);
    let limits = ["role_connections", "database_connections"];
    let limits = limits.iter().filter_map(|name| reading.number(name));
    let room = limits.fold(room, u64::min);
    let wanted = usage.connections;
    let server = || reading.server().to_string();
    (room < wanted as u64).then(|| Finding::FewConnections { server: server(), room, wanted })
}

fn few_locks(reading: &Reading) -> Option<Finding> {
    let each = reading.number("max_locks_per_transaction")?;
    let prepared = reading.number("max_prepared_transactions").unwrap_or(0);
    let room = each.saturating_mul(reading.number("max_connections")?.saturating_add(prepared));
    let taken = reading.number("locks").unwrap_or(0);
    let server = reading.server().to_string();
    (room < FEW_LOCKS || taken > room / 2).then_some(Finding::FewLocks { server, room, taken })
}
