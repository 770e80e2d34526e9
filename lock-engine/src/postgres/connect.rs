//! How a session comes about.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lock_proto::{Fault, FaultKind};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Connection, Error};

use super::cancel::{Canceller, Cancelling};
use super::fault::not_connected;
use super::network::{Network, Peer, SocketSettings, Stream, within};
use super::targets::{Role, Target, Targets};
use super::tls::{Handshake, Proof, SecureStream};

/// A session's connection: whoever polls it carries the session.
pub(crate) type Line = Connection<Box<dyn Stream>, SecureStream<Box<dyn Stream>>>;

/// A new session.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) connection: Line,
    pub(crate) canceller: Canceller,
}

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It is ours alone: its settings are made to last.
    Session,
    /// A pooler may give each of its transactions another: nothing of it is touched.
    Transaction,
}

/// Connects to the first of the servers that is reached and is what was asked for, each within
/// `limit`.
pub(crate) async fn connect(
    targets: &Arc<Targets>,
    network: &Arc<dyn Network>,
    lifetime: Lifetime,
    limit: Duration,
) -> Result<Connected, Fault> {
    let mut failures = Failures::default();
    for target in &targets.hosts {
        let host = match target {
            Target::Unix(_) => None,
            Target::Tcp { host, .. } => Some(host.as_str()),
        };
        let peers = match within(&**network, limit, peers(target, targets, &**network)).await {
            Some(Ok(peers)) => peers,
            Some(Err(error)) => {
                failures.add(target, unresolved(error));
                continue;
            }
            None => {
                failures.add(target, Fault::not_sent("its name was not looked up in time"));
                continue;
            }
        };
        for peer in peers {
            let attempt = Attempt { targets, network, host, peer, lifetime, limit };
            match within(&**network, limit, attempt.connect()).await {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(fault)) => failures.add(target, fault),
                None => failures.add(
                    target,
                    Fault::not_sent(format!(
                        "nothing answers there within {limit:?}: check the address, and the \
                         firewalls on the way"
                    )),
                ),
            }
        }
    }
    Err(failures.into_fault())
}

/// Where a server may be reached.
async fn peers(target: &Target, targets: &Targets, network: &dyn Network) -> io::Result<Vec<Peer>> {
    let (address, port) = match target {
        Target::Unix(path) => return Ok(vec![Peer::Unix(path.clone())]),
        Target::Tcp { address, port, .. } => (address, *port),
    };
    let addresses = match address.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => network.resolve(address, port).await?,
    };
    if addresses.is_empty() {
        return Err(io::Error::other("it has no address"));
    }
    Ok(addresses.into_iter().map(|address| Peer::Tcp(address, targets.sockets.clone())).collect())
}

struct Attempt<'a> {
    targets: &'a Arc<Targets>,
    network: &'a Arc<dyn Network>,
    host: Option<&'a str>,
    peer: Peer,
    lifetime: Lifetime,
    limit: Duration,
}

impl Attempt<'_> {
    async fn connect(self) -> Result<Connected, Fault> {
        let stream = self.network.connect(&self.peer).await;
        let stream = stream.map_err(|error| unreached(error, &self.peer))?;
        let mut config = self.targets.config.clone();
        if self.host.is_none() {
            // Who can listen on a Unix socket can do worse, and no certificate names one.
            config.ssl_mode(SslMode::Disable);
        }
        let handshake = handshake(self.targets, self.host)?;
        let (client, mut connection) =
            config.connect_raw(stream, handshake).await.map_err(not_connected)?;
        let question = ask(&client, self.lifetime, &self.targets.sockets);
        let server = drive(&mut connection, question).await?;
        let server = server.map_err(not_connected)?;
        server.suits(self.targets.role)?;
        let canceller = Canceller::new(Cancelling {
            token: client.cancel_token(),
            peer: self.peer,
            targets: Arc::clone(self.targets),
            host: self.host.map(str::to_owned),
            network: Arc::clone(self.network),
            limit: self.limit,
        });
        Ok(Connected { client, connection, canceller })
    }
}

pub(super) fn handshake(targets: &Targets, host: Option<&str>) -> Result<Handshake, Fault> {
    let named = host.and_then(|host| Handshake::new(&targets.tls, host));
    match named {
        Some(handshake) => Ok(handshake),
        None if targets.proof == Proof::Host && host.is_some() => {
            Err(Fault::refused("the host's name can't be in a certificate"))
        }
        None => Ok(Handshake::nameless(&targets.tls)),
    }
}

/// What the server says of itself.
struct Server {
    read_only: bool,
    standby: bool,
}

impl Server {
    fn suits(&self, role: Role) -> Result<(), Fault> {
        let problem = match role {
            Role::Primary | Role::ReadWrite if self.standby => {
                "it is a standby: what is locked there is not locked on the primary, which is the \
                 one to name"
            }
            Role::ReadWrite if self.read_only => "it takes no writes, and read-write was asked for",
            Role::ReadOnly if !self.read_only => "it takes writes, and read-only was asked for",
            Role::Standby if !self.standby => "it is a primary, and a standby was asked for",
            Role::Primary | Role::ReadWrite | Role::ReadOnly | Role::Standby => return Ok(()),
        };
        Err(Fault::refused(problem))
    }
}

/// What ends a session, or a statement that waits, is ours to choose.
const SETTINGS: [(&str, &str); 5] = [
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("transaction_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];
const NO_SETTINGS: &str = "0::int8";
/// How often the server looks whether whoever waits for a lock is still there, at least.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Makes the settings last. Whatever the server is set to, it is to notice when we are gone as
/// early as we are to notice when it is.
fn settings(sockets: &SocketSettings) -> String {
    let mut values: Vec<String> =
        SETTINGS.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    if let Some(keepalive) = &sockets.keepalive {
        values.push(format!("('tcp_keepalives_idle', '{}')", keepalive.idle.as_secs()));
        values.push(format!("('tcp_keepalives_interval', '{}')", keepalive.interval.as_secs()));
        values.push(format!("('tcp_keepalives_count', '{}')", keepalive.retries));
    }
    if let Some(timeout) = sockets.user_timeout {
        values.push(format!("('tcp_user_timeout', '{}')", timeout.as_millis()));
    }
    format!(
        "(select pg_catalog.count(pg_catalog.set_config(name, value, false)) \
         from (values {}) as wanted (name, value) \
         where pg_catalog.current_setting(name, true) is not null)",
        values.join(", ")
    )
}

/// In a statement of its own: servers on some systems don't know it.
fn check_interval(sockets: &SocketSettings) -> String {
    let interval = sockets.user_timeout.unwrap_or(CHECK_INTERVAL).min(CHECK_INTERVAL);
    format!(
        "select pg_catalog.set_config('client_connection_check_interval', '{}', false) \
         where pg_catalog.current_setting('client_connection_check_interval', true) is not null",
        interval.as_millis()
    )
}

/// Sets the session up and asks about its server, in one round trip.
async fn ask(
    client: &Client,
    lifetime: Lifetime,
    sockets: &SocketSettings,
) -> Result<Server, Error> {
    let settings = match lifetime {
        Lifetime::Session => settings(sockets),
        Lifetime::Transaction => NO_SETTINGS.to_owned(),
    };
    let question = format!(
        "select pg_catalog.current_setting('transaction_read_only') = 'on', \
         pg_catalog.pg_is_in_recovery(), {settings}"
    );
    let none: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 0] = [];
    let mut answer = pin!(client.query_typed(&question, &none));
    let mut second = pin!(async {
        if lifetime == Lifetime::Session {
            // A server that doesn't know it finds out later that we are gone.
            let _ = client.simple_query(&check_interval(sockets)).await;
        }
    });
    let mut rows = None;
    let mut done = false;
    // Both are sent before either is answered.
    poll_fn(|cx| {
        if rows.is_none()
            && let Poll::Ready(answer) = answer.as_mut().poll(cx)
        {
            rows = Some(answer);
        }
        done = done || second.as_mut().poll(cx).is_ready();
        if done && rows.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let rows = rows.unwrap_or_else(|| Ok(Vec::new()))?;
    let row = rows.first();
    let column = |place| row.map_or(Ok(true), |row| row.try_get(place));
    Ok(Server { read_only: column(0)?, standby: column(1)? })
}

/// Carries a connection until what was asked on it is answered.
pub(super) async fn drive<T>(
    connection: &mut Line,
    question: impl Future<Output = T>,
) -> Result<T, Fault> {
    let mut question = pin!(question);
    poll_fn(|cx| {
        loop {
            // First it puts what it asks into the connection's queue, then it reads the answer.
            if let Poll::Ready(answer) = question.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            let end = match connection.poll_message(cx) {
                // A notice is no answer.
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Ready(Some(Err(error))) => not_connected(error),
                Poll::Ready(None) => Fault::not_sent("the server closed the connection"),
                Poll::Pending => return question.as_mut().poll(cx).map(Ok),
            };
            // The answer may have come just before the end, and say why.
            return match question.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending => Poll::Ready(Err(end)),
            };
        }
    })
    .await
}

fn unresolved(error: io::Error) -> Fault {
    Fault::not_sent("its name leads nowhere: check the host").with_cause(error)
}

pub(super) fn unreached(error: io::Error, peer: &Peer) -> Fault {
    let context = match (error.kind(), peer) {
        (io::ErrorKind::ConnectionRefused, _) => {
            "no PostgreSQL server listens there: check the address, and that the server runs"
        }
        (io::ErrorKind::NotFound, Peer::Unix(_)) => {
            "there is no such socket: check the directory and the port, and that the server runs"
        }
        (_, Peer::Unix(_) | Peer::Tcp(..)) => "it can't be reached: check the address",
    };
    Fault::not_sent(context).with_cause(error)
}

/// Why no server would do.
#[derive(Default)]
struct Failures(Vec<(String, Fault)>);

impl Failures {
    fn add(&mut self, target: &Target, fault: Fault) {
        let (place, text) = (target.to_string(), fault.to_string());
        // The addresses of one host mostly fail alike.
        self.0.retain(|(known, other)| *known != place || other.to_string() != text);
        self.0.push((place, fault));
    }

    fn into_fault(mut self) -> Fault {
        // One that may do later counts more than any that never will.
        let main = self.0.iter().rposition(|(_, fault)| fault.kind() == FaultKind::NotSent);
        let Some(main) = main.or_else(|| self.0.len().checked_sub(1)) else {
            return Fault::not_sent("no PostgreSQL server was named");
        };
        let (place, fault) = self.0.remove(main);
        let mut context = "no connection to PostgreSQL at ".to_owned();
        for (other, fault) in &self.0 {
            context += &format!("{other} ({fault}), nor at ");
        }
        fault.with_context(&(context + &place))
    }
}
