//! What a provider of Redis locks is made of.

use std::time::Duration;

use lock_proto::redis::RedisOptions;
use lock_proto::{Backoff, Fault, LockError};
use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

use super::url::{self, Kind, Parsed};
use crate::{SecretUrl, seeds};

/// More servers than this only cost time.
const MOST_SERVERS: usize = 9;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The range of both time-outs.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(600));

/// What was chosen for a provider, unchecked.
#[derive(Clone, Debug)]
pub struct RedisSetup {
    urls: Vec<SecretUrl>,
    clients: Vec<Client>,
    expiry: Option<Duration>,
    extension_cadence: Option<Duration>,
    min_validity: Option<Duration>,
    rests: Option<(Duration, Duration)>,
    fencing: bool,
    key_prefix: Option<String>,
    connect_timeout: Duration,
    response_timeout: Duration,
    root_certificates: Option<Vec<u8>>,
}

/// What was chosen, checked.
#[derive(Debug)]
#[non_exhaustive]
pub struct RedisPlan {
    /// Which servers, and what they are to one another.
    pub topology: Topology,
    /// The settings of the locks.
    pub settings: RedisOptions,
    /// What stands before each key.
    pub key_prefix: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// A connection on which a request is unanswered for so long is given up.
    pub response_timeout: Duration,
    /// The certificates of whoever signed the servers' own, as PEM: for a cluster, whose clients
    /// find other nodes by themselves. All other clients know them already.
    pub root_certificates: Option<Vec<u8>>,
}

/// What servers are to one another.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever connects must know every case")]
pub enum Topology {
    /// Each on its own: one server, or several that vote.
    Servers(Vec<Client>),
    /// The first nodes of one cluster.
    Cluster(Vec<Client>),
    /// The one that the sentinels name.
    Sentinels {
        /// The sentinels.
        sentinels: Vec<Client>,
        /// What they call the server.
        master: String,
        /// How to connect to it, its address aside.
        like: Box<Client>,
    },
}

impl RedisSetup {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            urls: Vec::new(),
            clients: Vec::new(),
            expiry: None,
            extension_cadence: None,
            min_validity: None,
            rests: None,
            fencing: true,
            key_prefix: None,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            root_certificates: None,
        }
    }

    /// One more server, or the URL of several.
    pub fn add_url(&mut self, url: &str) {
        self.urls.push(SecretUrl::new(url));
    }

    /// One more server, as the `redis` crate knows it.
    pub fn add_client(&mut self, client: Client) {
        self.clients.push(client);
    }

    /// The lease.
    pub fn set_expiry(&mut self, expiry: Duration) {
        self.expiry = Some(expiry);
    }

    /// How often a lease is prolonged.
    pub fn set_extension_cadence(&mut self, cadence: Duration) {
        self.extension_cadence = Some(cadence);
    }

    /// What must be left of a lease when it is ours.
    pub fn set_min_validity(&mut self, validity: Duration) {
        self.min_validity = Some(validity);
    }

    /// How long to rest between tries.
    pub fn set_rests(&mut self, shortest: Duration, longest: Duration) {
        self.rests = Some((shortest, longest));
    }

    /// Whether fencing tokens are minted.
    pub fn set_fencing(&mut self, fencing: bool) {
        self.fencing = fencing;
    }

    /// What stands before each key.
    pub fn set_key_prefix(&mut self, prefix: &str) {
        self.key_prefix = Some(prefix.to_owned());
    }

    /// How long connecting may take.
    pub fn set_connect_timeout(&mut self, timeout: Duration) {
        self.connect_timeout = timeout;
    }

    /// How long a server may be silent.
    pub fn set_response_timeout(&mut self, timeout: Duration) {
        self.response_timeout = timeout;
    }

    /// The certificates of whoever signed the servers' own, as PEM.
    pub fn set_root_certificates(&mut self, pem: &[u8]) {
        self.root_certificates = Some(pem.to_owned());
    }

    /// Checks what was chosen.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] naming the option that is wrong.
    pub fn checked(&self) -> Result<RedisPlan, LockError> {
        let parsed = self.parsed()?;
        let topology = self.topology(&parsed)?;
        let option = |of: fn(&Parsed) -> Option<Duration>| parsed.iter().find_map(of);
        let mut settings = RedisOptions::new(seeds::identity()).with_fencing(self.fencing);
        if let Some(expiry) = self.expiry.or_else(|| option(|url| url.expiry)) {
            settings = settings.with_expiry(expiry);
        }
        if let Some(cadence) = self.extension_cadence {
            settings = settings.with_extension_cadence(cadence);
        }
        if let Some(validity) = self.min_validity {
            settings = settings.with_min_validity(validity);
        }
        if let Some((shortest, longest)) = self.rests {
            settings = settings.with_backoff(backoff(shortest, longest)?);
        }
        let key_prefix = self
            .key_prefix
            .clone()
            .or_else(|| parsed.iter().find_map(|url| url.prefix.clone()))
            .unwrap_or_default();
        Ok(RedisPlan {
            topology,
            settings: settings.checked()?,
            key_prefix,
            connect_timeout: timeout("connect_timeout", self.connect_timeout)?,
            response_timeout: timeout("response_timeout", self.response_timeout)?,
            root_certificates: self.root_certificates.clone(),
        })
    }

    fn parsed(&self) -> Result<Vec<Parsed>, LockError> {
        self.urls.iter().map(|url| url::parse(url.reveal())).collect()
    }

    fn topology(&self, parsed: &[Parsed]) -> Result<Topology, LockError> {
        let all_servers = parsed.iter().all(|url| url.kind == Kind::Servers);
        if !all_servers && parsed.len() + self.clients.len() > 1 {
            return Err(invalid(
                "urls",
                "a cluster, or what sentinels watch, is one server: give it one URL, and no other",
            ));
        }
        let mut clients: Vec<Client> = self.clients.iter().cloned().map(speaking_resp3).collect();
        for node in parsed.iter().flat_map(|url| &url.nodes) {
            clients.push(self.client(node)?);
        }
        no_two_alike(&clients)?;
        match parsed.first().map(|url| &url.kind) {
            Some(Kind::Cluster) => Ok(Topology::Cluster(clients)),
            Some(Kind::Sentinels { master, like }) => Ok(Topology::Sentinels {
                sentinels: clients,
                master: master.clone(),
                like: Box::new(self.client(like)?),
            }),
            Some(Kind::Servers) | None => match clients.len() {
                0 => Err(invalid("url", "it is required: name the Redis server")),
                1..=MOST_SERVERS => Ok(Topology::Servers(clients)),
                _ => Err(invalid("urls", "more than 9 servers only take longer to agree")),
            },
        }
    }

    fn client(&self, url: &str) -> Result<Client, LockError> {
        // What the parser says may repeat the URL, and with it the password.
        let info = url.into_connection_info().map_err(|_| {
            invalid(
                "url",
                "it can't be read, or names TLS in a program built without it; write for example \
                 redis://user:password@host:6379/0, with %40 for an @ in the password",
            )
        })?;
        let secure = url.starts_with("rediss");
        let client = match &self.root_certificates {
            Some(pem) if secure => trusting(info, pem),
            _ => Client::open(info).ok(),
        };
        let client = client.ok_or_else(|| {
            invalid("tls_root_certificates", "they are no certificates in PEM format")
        })?;
        Ok(speaking_resp3(client))
    }
}

impl Default for RedisSetup {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "redis-tls")]
fn trusting(info: ConnectionInfo, pem: &[u8]) -> Option<Client> {
    let root_cert = Some(pem.to_owned());
    let certificates = redis::TlsCertificates { client_tls: None, root_cert };
    Client::build_with_tls(info, certificates).ok()
}

#[cfg(not(feature = "redis-tls"))]
fn trusting(_info: ConnectionInfo, _pem: &[u8]) -> Option<Client> {
    None
}

/// Messages and answers share a connection, and an answer is not to wait for more to be written.
fn speaking_resp3(client: Client) -> Client {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    Client::open(info).unwrap_or(client)
}

fn no_two_alike(clients: &[Client]) -> Result<(), LockError> {
    let address = |client: &Client| client.get_connection_info().addr().to_string();
    for (place, client) in clients.iter().enumerate() {
        if clients[..place].iter().any(|other| address(other) == address(client)) {
            return Err(same_twice());
        }
    }
    Ok(())
}

/// The same server was named twice.
#[must_use]
pub fn same_twice() -> LockError {
    invalid(
        "urls",
        "the same server is named twice: its failure would count twice, so a majority would prove \
         nothing",
    )
}

fn backoff(shortest: Duration, longest: Duration) -> Result<Backoff, LockError> {
    Backoff::new(shortest, longest).map_err(|mut error| {
        if let LockError::InvalidConfig { option, .. } = &mut error {
            *option = "busy_wait_sleep_range";
        }
        error
    })
}

fn timeout(option: &'static str, timeout: Duration) -> Result<Duration, LockError> {
    if timeout < TIMEOUTS.0 || timeout > TIMEOUTS.1 {
        let problem = format!("{timeout:?} is not between {:?} and {:?}", TIMEOUTS.0, TIMEOUTS.1);
        return Err(LockError::InvalidConfig { option, problem: problem.into() });
    }
    Ok(timeout)
}

pub(super) fn invalid(option: &'static str, problem: &'static str) -> LockError {
    LockError::InvalidConfig { option, problem: problem.into() }
}

/// Why no connection came about while a provider was built.
#[must_use]
pub fn not_connected(client: &Client, fault: Fault) -> LockError {
    let address = client.get_connection_info().addr();
    LockError::Connection(fault.with_context(&format!("no connection to Redis at {address}")))
}
