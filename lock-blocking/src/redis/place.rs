//! Where a server is, and connections to it.

use std::time::Duration;

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value,
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
    let role: Vec<Value> = redis::cmd("ROLE").query(&mut connection)?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(connection),
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
