//! How a connection comes about.

use std::sync::Arc;

use lock_engine::redis::{Inbox, fault_of, load_scripts};
use lock_proto::Fault;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, PushInfo, PushKind, Value, cmd};

use super::line::{Connection, Line, subscription};
use super::server::Server;

/// How many requests may wait for the connection to write them.
const BUFFER: usize = 1024;

/// How to reach one server.
#[derive(Debug)]
pub(super) enum Connector {
    /// Always at the same address.
    Direct(Client),
    /// Wherever the sentinels say.
    Sentinels { sentinels: Vec<Client>, master: String, like: Box<Client> },
}

/// A new connection.
pub(super) struct Connected {
    pub(super) line: Arc<Line>,
    /// The inbox was subscribed to again: messages may have been lost meanwhile.
    pub(super) resubscribed: bool,
}

impl Connector {
    /// Connects `server`, and subscribes to its inbox if anybody has `listened` before.
    pub(super) async fn connect(
        server: &Arc<Server>,
        generation: u64,
        listened: bool,
    ) -> Result<Connected, Fault> {
        let inbox = server.inbox();
        let connection = match server.connector() {
            Self::Direct(client) => open(client, server, generation).await.map_err(fault_of)?,
            Self::Sentinels { sentinels, master, like } => {
                let client = master_of(sentinels, master, like).await?;
                open(&client, server, generation).await.map_err(fault_of)?
            }
        };
        let single = Connection::Single(connection.clone());
        let loaded = single.clone().ask(&load_scripts()).await.map_err(fault_of)?;
        for answer in loaded {
            answer.extract_error().map_err(fault_of)?;
        }
        if listened {
            // Without the right to subscribe, waiters ask from time to time.
            let _ = subscription(connection, inbox.clone()).await;
        }
        let line = Line::new(single, generation, inbox, listened, server);
        Ok(Connected { line, resubscribed: listened })
    }

    /// The client by which to name the server in a message.
    pub(super) fn client(&self) -> &Client {
        match self {
            Self::Direct(client) => client,
            Self::Sentinels { sentinels, like, .. } => sentinels.first().unwrap_or(like),
        }
    }
}

async fn open(
    client: &Client,
    server: &Arc<Server>,
    generation: u64,
) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        // Both are watched by the keeper: these would need a runtime's timer on every thread.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(BUFFER)
        .set_push_sender(pushes(server, generation));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Hears what the server says unasked.
fn pushes(
    server: &Arc<Server>,
    generation: u64,
) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
    let (inbox, server) = (server.inbox().clone(), Arc::downgrade(server));
    move |push| {
        if push.kind == PushKind::Message {
            receive(&inbox, &push.data);
        } else if push.kind == PushKind::Disconnection
            && let Some(server) = server.upgrade()
        {
            server.lose(generation);
        }
        Ok(())
    }
}

fn receive(inbox: &Inbox, data: &[Value]) {
    if let [Value::BulkString(channel), Value::BulkString(message)] = data
        && channel == inbox.name().as_bytes()
    {
        inbox.receive(message);
    }
}

/// Asks the sentinels, one after another, where the master is.
async fn master_of(sentinels: &[Client], master: &str, like: &Client) -> Result<Client, Fault> {
    let mut last = Fault::not_sent("no sentinel was named");
    for sentinel in sentinels {
        match ask_sentinel(sentinel, master).await {
            Ok(Some((host, port))) => {
                return at(like, host, port)
                    .ok_or_else(|| Fault::not_sent("the sentinel names no address of a server"));
            }
            Ok(None) => {
                last = Fault::not_sent(
                    "a sentinel knows no server of that name: check the name after the slash",
                );
            }
            Err(error) => last = fault_of(error).with_context("a sentinel"),
        }
    }
    Err(last)
}

async fn ask_sentinel(
    sentinel: &Client,
    master: &str,
) -> redis::RedisResult<Option<(String, u16)>> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await
}

/// The server at `host` and `port`, with everything else as in `like`.
fn at(like: &Client, host: String, port: u16) -> Option<Client> {
    let info = like.get_connection_info().clone();
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    Client::open(info.set_addr(address)).ok()
}
