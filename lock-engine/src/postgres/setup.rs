//! What a provider of PostgreSQL locks is made of.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::connect::Lifetime;
use lock_proto::LockError;
use lock_proto::postgres::PoolLimits;

use super::targets::Targets;
use super::url::invalid;
use crate::SecretUrl;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(600);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The range of the idle time-out, and of the keepalive cadence.
const PERIODS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
const MAX_CONNECTIONS: usize = 16;
const CONNECTIONS: RangeInclusive<usize> = 1..=1000;

/// What was chosen for a provider, unchecked.
#[derive(Clone, Debug)]
pub struct PostgresSetup {
    url: Option<SecretUrl>,
    multiplexing: Option<bool>,
    transaction_scope: bool,
    keepalive_cadence: Option<Duration>,
    max_connections: usize,
    idle_timeout: Duration,
    fencing: bool,
    connect_timeout: Option<Duration>,
    root_certificates: Option<Vec<u8>>,
}

/// What was chosen, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresPlan {
    /// Which servers, and how to log in.
    pub(crate) targets: Arc<Targets>,
    /// Whether locks that nobody waits for share sessions.
    pub(crate) multiplexing: bool,
    /// Whether each lock is held by a transaction of its own, instead of a session.
    pub(crate) transaction_scope: bool,
    /// How often a session that holds a lock is made to say something.
    pub(crate) keepalive_cadence: Option<Duration>,
    /// How many sessions there may be.
    pub(crate) max_connections: usize,
    /// For how long a session that holds nothing is kept.
    pub(crate) idle_timeout: Duration,
    /// Whether fencing tokens are minted.
    pub(crate) fencing: bool,
    /// How long connecting to one server may take.
    pub(crate) connect_timeout: Duration,
}

impl PostgresSetup {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            url: None,
            multiplexing: None,
            transaction_scope: false,
            keepalive_cadence: None,
            max_connections: MAX_CONNECTIONS,
            idle_timeout: IDLE_TIMEOUT,
            fencing: false,
            connect_timeout: None,
            root_certificates: None,
        }
    }

    /// The servers, as a URL or as `key=value` pairs.
    pub fn set_url(&mut self, url: &str) {
        self.url = Some(SecretUrl::new(url));
    }

    /// Whether locks share sessions.
    pub fn set_multiplexing(&mut self, multiplexing: bool) {
        self.multiplexing = Some(multiplexing);
    }

    /// Whether transactions hold the locks.
    pub fn set_transaction_scope(&mut self, transaction_scope: bool) {
        self.transaction_scope = transaction_scope;
    }

    /// How often a session that holds a lock says something.
    pub fn set_keepalive_cadence(&mut self, cadence: Duration) {
        self.keepalive_cadence = Some(cadence);
    }

    /// How many sessions there may be.
    pub fn set_max_connections(&mut self, connections: usize) {
        self.max_connections = connections;
    }

    /// For how long a session that holds nothing is kept.
    pub fn set_idle_timeout(&mut self, timeout: Duration) {
        self.idle_timeout = timeout;
    }

    /// Whether fencing tokens are minted.
    pub fn set_fencing(&mut self, fencing: bool) {
        self.fencing = fencing;
    }

    /// How long connecting may take.
    pub fn set_connect_timeout(&mut self, timeout: Duration) {
        self.connect_timeout = Some(timeout);
    }

    /// The certificates of whoever signed the servers' own, as PEM.
    pub fn set_root_certificates(&mut self, pem: &[u8]) {
        self.root_certificates = Some(pem.to_owned());
    }

    /// Checks what was chosen, and reads the files that it names.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] naming the option that is wrong.
    pub fn checked(&self) -> Result<PostgresPlan, LockError> {
        let url = self.url.as_ref().ok_or_else(|| {
            invalid("it is required: name the PostgreSQL server, as in postgres://localhost/app")
        })?;
        let targets = Targets::parse(url.reveal(), self.root_certificates.as_deref())?;
        if self.transaction_scope && self.multiplexing == Some(true) {
            return Err(LockError::InvalidConfig {
                option: "use_multiplexing",
                problem: "it contradicts use_transaction_scope: a transaction that holds a lock \
                          has its connection to itself"
                    .into(),
            });
        }
        if self.transaction_scope && self.fencing {
            return Err(LockError::InvalidConfig {
                option: "fencing",
                problem: "it contradicts use_transaction_scope: a token is kept by a transaction \
                          that ends before it is given out"
                    .into(),
            });
        }
        let period = |option, period| range(option, period, &PERIODS);
        let keepalive_cadence = self.keepalive_cadence;
        let keepalive_cadence =
            keepalive_cadence.map(|cadence| period("keepalive_cadence", cadence)).transpose()?;
        let connect_timeout =
            self.connect_timeout.or(targets.connect_timeout).unwrap_or(CONNECT_TIMEOUT);
        Ok(PostgresPlan {
            multiplexing: self.multiplexing.unwrap_or(!self.transaction_scope),
            transaction_scope: self.transaction_scope,
            keepalive_cadence,
            max_connections: range("max_connections", self.max_connections, &CONNECTIONS)?,
            idle_timeout: period("idle_timeout", self.idle_timeout)?,
            fencing: self.fencing,
            connect_timeout: range("connect_timeout", connect_timeout, &CONNECT_TIMEOUTS)?,
            targets: Arc::new(targets),
        })
    }
}

impl Default for PostgresSetup {
    fn default() -> Self {
        Self::new()
    }
}

fn range<T: PartialOrd + std::fmt::Debug + Copy>(
    option: &'static str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<T, LockError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (range.start(), range.end());
    let problem = format!("{value:?} is not between {least:?} and {most:?}");
    Err(LockError::InvalidConfig { option, problem: problem.into() })
}

impl PostgresPlan {
    pub(super) fn lifetime(&self) -> Lifetime {
        if self.transaction_scope { Lifetime::Transaction } else { Lifetime::Session }
    }

    pub(super) fn limits(&self) -> PoolLimits {
        let mut limits = PoolLimits::new(self.max_connections);
        limits.multiplexed = self.multiplexing;
        limits.idle = self.idle_timeout;
        limits.keepalive = self.keepalive_cadence;
        limits
    }
}
