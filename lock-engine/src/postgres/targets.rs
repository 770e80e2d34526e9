//! Which servers a connection string names, and how to log in to them.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lock_proto::LockError;
use rustls::ClientConfig;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};

use super::info::application_name;
use super::network::{Keepalive, SocketSettings};
use super::tls::{self, Proof, Roots};
use super::url::{self, Parameters, invalid};

/// Servers, of which one is meant: whichever is reached first and is what was asked for.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(super) hosts: Vec<Target>,
    /// All of the login but TLS's part.
    pub(super) config: Config,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proof: Proof,
    pub(super) role: Role,
    pub(super) sockets: SocketSettings,
    /// What the connection string says of it.
    pub(super) connect_timeout: Option<Duration>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp {
        /// What to connect to: a name, or an address.
        address: String,
        port: u16,
        /// Whose certificate it has.
        host: String,
    },
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp { address, port, .. } if address.contains(':') => {
                write!(f, "[{address}]:{port}")
            }
            Self::Tcp { address, port, .. } => write!(f, "{address}:{port}"),
        }
    }
}

/// What a server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Not a standby: what is locked there, others lock on the primary.
    Primary,
    /// A primary that takes writes by default.
    ReadWrite,
    /// Whatever can't be written to.
    ReadOnly,
    /// A standby.
    Standby,
}

/// Where a server on this machine listens, as it was built by its distributor.
const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];
const PORT: u16 = 5432;
/// A silent network is given up after as long: three probes, or what is not acknowledged.
const KEEPALIVE: Duration = Duration::from_secs(5);
const RETRIES: u32 = 2;
const USER_TIMEOUT: Duration = Duration::from_secs(15);

impl Targets {
    /// Reads a connection string; `roots` are trusted instead of those that it names.
    pub(super) fn parse(text: &str, roots: Option<&[u8]>) -> Result<Self, LockError> {
        let given = Given(url::parse(text)?);
        given.know_all()?;
        let (ssl_mode, proof, roots) = security(&given, roots)?;
        let identity = match (given.text("sslcert"), given.text("sslkey")) {
            (None, None) => None,
            (Some(cert), Some(key)) => {
                Some((tls::read("sslcert", cert)?, tls::read("sslkey", key)?))
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(invalid("sslcert and sslkey belong together"));
            }
        };
        let role = given.choice(
            "target_session_attrs",
            &[
                ("any", Role::Primary),
                ("read-write", Role::ReadWrite),
                ("primary", Role::Primary),
                ("read-only", Role::ReadOnly),
                ("standby", Role::Standby),
            ],
        )?;
        Ok(Self {
            hosts: hosts(&given)?,
            config: login(&given, ssl_mode)?,
            tls: tls::configured(proof, &roots, identity.as_ref())?,
            proof,
            role: role.unwrap_or(Role::Primary),
            sockets: sockets(&given)?,
            connect_timeout: given.number("connect_timeout")?.and_then(seconds),
        })
    }
}

/// What was given.
struct Given(Parameters);

/// What may be given.
const KNOWN: [&str; 30] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "keepalives_retries",
    "tcp_user_timeout",
    "sslmode",
    "ssl",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslnegotiation",
    "sslsni",
    "sslcompression",
    "channel_binding",
    "gssencmode",
    "krbsrvname",
    "client_encoding",
];

impl Given {
    fn know_all(&self) -> Result<(), LockError> {
        if self.0.iter().all(|(key, _)| KNOWN.contains(&key.as_str())) {
            return Ok(());
        }
        let known = KNOWN.join(", ");
        Err(invalid(format!("it has an option that is not known; known are {known}")))
    }

    /// The last that was said is meant.
    fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn list(&self, key: &str) -> Vec<&str> {
        self.text(key).map(|text| text.split(',').map(str::trim).collect()).unwrap_or_default()
    }

    fn number(&self, key: &str) -> Result<Option<i64>, LockError> {
        let number = self.text(key).map(|text| text.trim().parse());
        number.transpose().map_err(|_| invalid(format!("{key} is a whole number")))
    }

    fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, LockError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(Some(*choice));
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Err(invalid(format!("{key} is one of {}", names.join(", "))))
    }
}

fn seconds(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().filter(|number| *number > 0).map(Duration::from_secs)
}

fn hosts(given: &Given) -> Result<Vec<Target>, LockError> {
    // One after another would be held by one program here and by another there.
    given.choice("load_balance_hosts", &[("disable", ())])?;
    let (hosts, addresses) = (given.list("host"), given.list("hostaddr"));
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(invalid("host and hostaddr are lists of the same length, or one is not given"));
    }
    let count = hosts.len().max(addresses.len()).max(1);
    let ports = ports(given, count)?;
    let mut targets = Vec::new();
    for (place, port) in ports.into_iter().enumerate() {
        let host = hosts.get(place).copied().unwrap_or_default();
        let address = addresses.get(place).copied().unwrap_or_default();
        if address.parse::<IpAddr>().is_err() && !address.is_empty() {
            return Err(invalid("hostaddr is an IP address, or several with commas"));
        }
        targets.push(target(host, address, port));
    }
    Ok(targets)
}

fn ports(given: &Given, count: usize) -> Result<Vec<u16>, LockError> {
    let mut ports = Vec::new();
    for port in given.list("port") {
        let number = if port.is_empty() { Ok(PORT) } else { port.parse() };
        ports.push(number.ok().filter(|port| *port != 0).ok_or_else(|| {
            invalid("port is a number from 1 to 65535, or one for each host with commas")
        })?);
    }
    match ports.as_slice() {
        [] => Ok(vec![PORT; count]),
        [port] => Ok(vec![*port; count]),
        _ if ports.len() == count => Ok(ports),
        _ => Err(invalid("there is one port for all hosts, or one for each")),
    }
}

fn target(host: &str, address: &str, port: u16) -> Target {
    let socket = |directory: &Path| directory.join(format!(".s.PGSQL.{port}"));
    if address.is_empty() && host.starts_with('/') {
        return Target::Unix(socket(Path::new(host)));
    }
    if address.is_empty() && host.is_empty() {
        let sockets = SOCKET_DIRECTORIES.map(|directory| socket(Path::new(directory)));
        if let Some(socket) = sockets.into_iter().find(|socket| socket.exists()) {
            return Target::Unix(socket);
        }
    }
    let host = [host, address, "localhost"].into_iter().find(|host| !host.is_empty());
    let host = host.unwrap_or_default().to_owned();
    let address = if address.is_empty() { host.clone() } else { address.to_owned() };
    Target::Tcp { address, port, host }
}

fn login(given: &Given, ssl_mode: SslMode) -> Result<Config, LockError> {
    let mut config = Config::new();
    if let Some(user) = given.text("user") {
        config.user(user);
    }
    if let Some(password) = given.text("password") {
        config.password(password);
    }
    if let Some(database) = given.text("dbname") {
        config.dbname(database);
    }
    if let Some(options) = given.text("options") {
        config.options(options);
    }
    let ours = application_name();
    let names = [given.text("application_name"), given.text("fallback_application_name")];
    config.application_name(names.into_iter().flatten().next().unwrap_or(&ours));
    config.ssl_mode(ssl_mode);
    let bindings = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    if let Some(binding) = given.choice("channel_binding", &bindings)? {
        config.channel_binding(binding);
    }
    let negotiations = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
    if let Some(negotiation) = given.choice("sslnegotiation", &negotiations)? {
        if negotiation == SslNegotiation::Direct && ssl_mode != SslMode::Require {
            return Err(invalid("sslnegotiation=direct needs sslmode=require or stricter"));
        }
        config.ssl_negotiation(negotiation);
    }
    given.choice("gssencmode", &[("disable", ()), ("prefer", ())])?;
    let encodings = [("UTF8", ()), ("utf8", ()), ("UTF-8", ()), ("utf-8", ()), ("auto", ())];
    given.choice("client_encoding", &encodings)?;
    Ok(config)
}

/// As [libpq has it](https://www.postgresql.org/docs/current/libpq-ssl.html): with roots at hand,
/// a mode that proves nothing proves what `verify-ca` does.
fn security(given: &Given, own_roots: Option<&[u8]>) -> Result<(SslMode, Proof, Roots), LockError> {
    let modes = [
        ("disable", (SslMode::Disable, Proof::Nothing)),
        ("allow", (SslMode::Prefer, Proof::Nothing)),
        ("prefer", (SslMode::Prefer, Proof::Nothing)),
        ("require", (SslMode::Require, Proof::Nothing)),
        ("verify-ca", (SslMode::Require, Proof::Authority)),
        ("verify-full", (SslMode::Require, Proof::Host)),
    ];
    let mode = given.choice("sslmode", &modes)?;
    // The spelling of JDBC's URLs.
    let jdbc = given.choice("ssl", &[("true", (SslMode::Require, Proof::Nothing))])?;
    let mode = mode.or(jdbc);
    let file = given.text("sslrootcert");
    if own_roots.is_none() && file == Some("system") {
        let full = (SslMode::Require, Proof::Host);
        if mode.unwrap_or(full) != full {
            return Err(invalid("sslrootcert=system needs sslmode=verify-full"));
        }
        return Ok((full.0, full.1, Roots::System));
    }
    // Who names roots in the program means them.
    let default = if own_roots.is_some() { modes[5].1 } else { modes[2].1 };
    let (ssl_mode, proof) = mode.unwrap_or(default);
    let roots = match (own_roots, file) {
        (Some(pem), _) => Roots::These(pem.to_owned(), "tls_root_certificates"),
        (None, Some(file)) => Roots::These(tls::read("sslrootcert", file)?, "sslrootcert"),
        (None, None) => return Ok((ssl_mode, proof, Roots::System)),
    };
    let proof = if proof == Proof::Nothing { Proof::Authority } else { proof };
    Ok((ssl_mode, proof, roots))
}

fn sockets(given: &Given) -> Result<SocketSettings, LockError> {
    let keepalive = Keepalive {
        idle: given.number("keepalives_idle")?.and_then(seconds).unwrap_or(KEEPALIVE),
        interval: given.number("keepalives_interval")?.and_then(seconds).unwrap_or(KEEPALIVE),
        retries: given
            .number("keepalives_count")?
            .or(given.number("keepalives_retries")?)
            .and_then(|count| u32::try_from(count).ok().filter(|count| *count > 0))
            .unwrap_or(RETRIES),
    };
    // The limits of Linux, which refuses what is beyond.
    let longest = Duration::from_secs(32_767);
    let keepalive = Keepalive {
        idle: keepalive.idle.min(longest),
        interval: keepalive.interval.min(longest),
        retries: keepalive.retries.min(127),
    };
    let wanted = given.number("keepalives")? != Some(0);
    let user_timeout = match given.number("tcp_user_timeout")? {
        None => Some(USER_TIMEOUT),
        Some(millis) => u64::try_from(millis).ok().filter(|m| *m > 0).map(Duration::from_millis),
    };
    Ok(SocketSettings { user_timeout, keepalive: wanted.then_some(keepalive) })
}

#[cfg(test)]
mod tests {
    use super::{Config, Duration, LockError, Proof, Role, SslMode, Target, Targets};

    #[test]
    fn each_host_has_its_own_port_and_address() {
        let targets = read("postgres://a,b:5433/app?hostaddr=127.0.0.1,::1");
        assert_eq!(targets.hosts, [tcp("127.0.0.1", 5432, "a"), tcp("::1", 5433, "b")]);
        let targets = read("host=a,b port=5433");
        assert_eq!(targets.hosts, [tcp("a", 5433, "a"), tcp("b", 5433, "b")]);
        let targets = read("hostaddr=127.0.0.1");
        assert_eq!(targets.hosts, [tcp("127.0.0.1", 5432, "127.0.0.1")]);
        let targets = read("postgres:///app?host=/run/pg&port=5433");
        assert_eq!(targets.hosts, [Target::Unix("/run/pg/.s.PGSQL.5433".into())]);
    }

    #[test]
    fn what_proves_the_server_is_chosen_as_in_libpq() {
        check_security("", (SslMode::Prefer, Proof::Nothing));
        check_security("sslmode=disable", (SslMode::Disable, Proof::Nothing));
        check_security("sslmode=require", (SslMode::Require, Proof::Nothing));
        check_security("ssl=true", (SslMode::Require, Proof::Nothing));
    }

    #[test]
    fn a_silent_network_is_given_up_in_time_unless_asked_otherwise() {
        let sockets = read("host=a").sockets;
        assert_eq!(sockets.user_timeout, Some(Duration::from_secs(15)));
        assert!(sockets.keepalive.is_some());
        let sockets = read("host=a tcp_user_timeout=2500 keepalives_idle=7").sockets;
        assert_eq!(sockets.user_timeout, Some(Duration::from_millis(2500)));
        assert_eq!(sockets.keepalive.map(|keepalive| keepalive.idle), Some(Duration::from_secs(7)));
        let sockets = read("host=a tcp_user_timeout=0 keepalives=0").sockets;
        assert_eq!((sockets.user_timeout, sockets.keepalive), (None, None));
    }

    #[test]
    fn the_login_is_what_was_given() {
        let targets = read("postgres://u:p@a/db?connect_timeout=7&application_name=reports");
        let config: &Config = &targets.config;
        assert_eq!(config.get_user(), Some("u"));
        assert_eq!(config.get_password(), Some(&b"p"[..]));
        assert_eq!(config.get_dbname(), Some("db"));
        assert_eq!(config.get_application_name(), Some("reports"));
        assert_eq!(targets.connect_timeout, Some(Duration::from_secs(7)));
        assert_eq!(targets.role, Role::Primary);
        let targets = read("host=a target_session_attrs=read-write");
        assert_eq!(targets.role, Role::ReadWrite);
    }

    #[test]
    fn what_can_not_be_is_refused_without_repeating_it() {
        for text in [
            "host=a secret=1",
            "host=a sslmode=secret",
            "host=a port=secret",
            "host=a port=0",
            "host=a,b port=1,2,3",
            "host=a,b hostaddr=127.0.0.1",
            "host=a hostaddr=secret",
            "host=a,b load_balance_hosts=random",
            "host=a target_session_attrs=prefer-standby",
            "host=a connect_timeout=secret",
            "host=a sslcert=/secret",
            "host=a sslrootcert=/no/such/file",
            "host=a sslrootcert=system sslmode=require",
            "host=a sslnegotiation=direct",
        ] {
            let problem = Targets::parse(text, None).expect_err(text);
            assert!(matches!(problem, LockError::InvalidConfig { option: "url", .. }), "{problem}");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }

    #[test]
    fn nothing_that_is_shown_has_the_password_in_it() {
        let shown = format!("{:?}", read("postgres://u:secret@a/db"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    fn read(text: &str) -> Targets {
        Targets::parse(text, None).expect(text)
    }

    fn tcp(address: &str, port: u16, host: &str) -> Target {
        Target::Tcp { address: address.into(), port, host: host.into() }
    }

    fn check_security(options: &str, security: (SslMode, Proof)) {
        let targets = read(&format!("host=a {options}"));
        assert_eq!((targets.config.get_ssl_mode(), targets.proof), security, "{options}");
    }
}
