//! What was seen of one server.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use crate::Fault;

/// The settings of `pg_settings` that [`examine`](super::examine) reads.
pub const EXAMINED: [&str; 16] = [
    "server_version",
    "server_version_num",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
];

/// What was seen of one server, on the connections to it.
#[derive(Clone, Debug)]
pub struct Reading {
    server: String,
    facts: Vec<Fact>,
    /// The sessions that served one connection, one after another.
    own: Vec<String>,
    /// Those that served others while that one was open.
    others: Vec<String>,
    unconnected: Option<Fault>,
    refuses_transactions: bool,
}

/// Something that a server says of itself: a setting, or what it was asked.
///
/// Beside the settings that [`EXAMINED`] names, there are `in_recovery` (`true` or `false`),
/// `client_address` (only of a connection over TCP), `locks` (how many are in the shared table), and
/// `role_connections` and `database_connections` (how many there may be, if that is limited).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    name: String,
    value: String,
    unit: String,
    configured: String,
}

impl Fact {
    /// That `name` is `value`.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_string(),
            value: value.to_string(),
            unit: String::new(),
            configured: value.to_string(),
        }
    }

    /// What the value is counted in: `ms`, `s`, `min`.
    #[must_use]
    pub fn with_unit(mut self, unit: &str) -> Self {
        self.unit = unit.to_string();
        self
    }

    /// The value that a session of this role in this database begins with.
    #[must_use]
    pub fn with_configured(mut self, value: &str) -> Self {
        self.configured = value.to_string();
        self
    }
}

impl Reading {
    /// Nothing seen yet. `server` is what findings call it.
    #[must_use]
    pub fn new(server: &str) -> Self {
        Self {
            server: server.to_string(),
            facts: Vec::new(),
            own: Vec::new(),
            others: Vec::new(),
            unconnected: None,
            refuses_transactions: false,
        }
    }

    /// Adds something that the server says where locks are held. The first of a name counts.
    #[must_use]
    pub fn with_fact(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }

    /// Adds the session that served a statement of one connection, always the same connection. Any
    /// words will do that no two sessions have in common.
    #[must_use]
    pub fn with_own_session(mut self, session: &str) -> Self {
        self.own.push(session.to_string());
        self
    }

    /// Adds the session that served some other connection while that one was open.
    #[must_use]
    pub fn with_other_session(mut self, session: &str) -> Self {
        self.others.push(session.to_string());
        self
    }

    /// Notes that one more connection can't be had.
    #[must_use]
    pub fn with_no_connection(mut self, fault: Fault) -> Self {
        self.unconnected = Some(fault);
        self
    }

    /// Notes that a transaction that takes several statements was refused.
    #[must_use]
    pub fn with_refused_transaction(mut self) -> Self {
        self.refuses_transactions = true;
        self
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn unconnected(&self) -> Option<&Fault> {
        self.unconnected.as_ref()
    }

    pub(super) fn refuses_transactions(&self) -> bool {
        self.refuses_transactions
    }

    /// Whether connections share sessions: one changed its session, or two had the same.
    pub(super) fn is_pooled(&self) -> bool {
        let Some(first) = self.own.first() else { return self.refuses_transactions };
        let moved = self.own.iter().any(|session| session != first);
        let met = self.others.iter().any(|session| self.own.contains(session));
        moved || met || self.refuses_transactions
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.fact(name).map(|fact| fact.value.as_str())
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.value(name) == Some(value)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// What a setting is, unless it is 0, which is never.
    pub(super) fn period(&self, name: &str) -> Option<Duration> {
        self.fact(name).and_then(|fact| period(&fact.value, &fact.unit))
    }

    /// What a setting is at the start of a session, unless it is 0.
    pub(super) fn configured_period(&self, name: &str) -> Option<Duration> {
        self.fact(name).and_then(|fact| period(&fact.configured, &fact.unit))
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }
}

fn period(value: &str, unit: &str) -> Option<Duration> {
    let number: u64 = value.parse().ok().filter(|number| *number > 0)?;
    Some(match unit {
        "ms" => Duration::from_millis(number),
        "min" => Duration::from_secs(number.saturating_mul(60)),
        _ => Duration::from_secs(number),
    })
}
