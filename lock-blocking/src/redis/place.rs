//! Where a server is, and connections to it.

use std::time::Duration;

use lock_engine::redis::fault_of;
use lock_proto::{Fault, FaultKind};
use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    ServerErrorKind, Value,
};

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// To be connected to, and to greet.
    pub(crate) connect: Duration,
    /// To answer what it was sent.
    pub(crate) answer: Duration,
}

/// How a server is found.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// It is always the same.
    Server(Client),
    /// Any of these will do.
    Any(Vec<Client>),
    /// Sentinels know.
    Watched {
        /// The sentinels.
        sentinels: Vec<Client>,
        /// What the sentinels call it.
        name: String,
        /// What it is told, wherever it is.
        server: ConnectionInfo,
    },
}

impl Place {
    /// Connects to the server; both directions wait for as long as an answer may take.
    pub(super) fn connect(&self, patience: Patience) -> RedisResult<Connection> {
        let connection = match self {
            Self::Server(client) => client.get_connection_with_timeout(patience.connect)?,
            Self::Any(clients) => first(clients, patience)?,
            Self::Watched { sentinels, name, server } => {
                let address = find(sentinels, name, patience)?;
                let server = server.clone().set_addr(at(server.addr(), address)?);
                master(&Client::open(server)?, patience)?
            }
        };
        connection.set_read_timeout(Some(patience.answer))?;
        connection.set_write_timeout(Some(patience.answer))?;
        Ok(connection)
    }
}

/// Connects to the first server that lets us.
fn first(clients: &[Client], patience: Patience) -> RedisResult<Connection> {
    let mut last = None;
    for client in clients {
        match client.get_connection_with_timeout(patience.connect) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Some(error),
        }
    }
    let nobody = || (ErrorKind::InvalidClientConfig, "no server was named").into();
    Err(last.unwrap_or_else(nobody))
}

/// Why there is no connection.
pub(super) fn unconnected(error: RedisError, patience: Patience) -> Fault {
    let silent = error.is_timeout();
    let fault = fault_of(error.clone());
    if fault.kind() != FaultKind::Unknown {
        return fault;
    }
    let context = if silent {
        let limit = patience.connect;
        format!(
            "the server did not answer within {limit:?}: check the address, and whether a \
             firewall or a missing rediss:// is in the way"
        )
    } else {
        "the server could not be connected to: check the address, and whether it is Redis, with \
         TLS or without"
            .to_owned()
    };
    Fault::not_sent(context).with_cause(error)
}

/// Asks the sentinels in turn where the master is.
fn find(sentinels: &[Client], name: &str, patience: Patience) -> RedisResult<(String, u16)> {
    let mut last = None;
    for sentinel in sentinels {
        match ask(sentinel, name, patience) {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
    }
    let unknown = || {
        let problem = "no sentinel knows a master of that name";
        RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, problem))
    };
    Err(last.unwrap_or_else(unknown))
}

fn ask(sentinel: &Client, name: &str, patience: Patience) -> RedisResult<Option<(String, u16)>> {
    let mut connection = sentinel.get_connection_with_timeout(patience.connect)?;
    connection.set_read_timeout(Some(patience.answer))?;
    connection.set_write_timeout(Some(patience.answer))?;
    redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(name).query(&mut connection)
}

/// Connects to what should be a master. Right after a failover the sentinels may not agree yet.
fn master(client: &Client, patience: Patience) -> RedisResult<Connection> {
    let mut connection = client.get_connection_with_timeout(patience.connect)?;
    connection.set_read_timeout(Some(patience.answer))?;
    let role = redis::cmd("ROLE").query::<Vec<Value>>(&mut connection);
    match role.as_ref().map(|role| role.first()) {
        Ok(Some(Value::BulkString(role))) if role == b"master" => Ok(connection),
        // Not everybody may ask.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(connection),
        _ => Err((
            ErrorKind::MasterNameNotFoundBySentinel,
            "the server that the sentinels name is no master",
        )
            .into()),
    }
}

/// Another host and port, with the same way to talk to it.
pub(super) fn at(
    like: &ConnectionAddr,
    (host, port): (String, u16),
) -> RedisResult<ConnectionAddr> {
    match like {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => Ok(ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        }),
        ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) => Ok(ConnectionAddr::Tcp(host, port)),
        _ => Err((ErrorKind::InvalidClientConfig, "an address of an unknown kind").into()),
    }
}
