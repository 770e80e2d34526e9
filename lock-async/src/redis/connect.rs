//! How a connection comes about.

use std::sync::Arc;

use lock_engine::redis::{Census, Inbox, fault_of, load_scripts};
use lock_proto::Fault;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, PushInfo, PushKind, Value, cmd};

use super::cluster;
use super::line::{Connection, Line, subscription};
use super::server::Server;

/// How many requests may wait for the connection to write them.
const BUFFER: usize = 1024;

/// How to reach one server.
pub(super) enum Connector {
    /// Always at the same address.
    Direct(Client),
    /// Wherever the sentinels say.
    Sentinels { sentinels: Vec<Client>, master: String, like: Box<Client> },
    /// All nodes of a cluster.
    Cluster { nodes: Box<ClusterClient>, first: Client },
    /// One node of a cluster, whichever answers, to listen to.
    AnyOf(Vec<Client>),
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
        let connection = match server.connector() {
            Self::Direct(client) => open(client, server, generation).await?,
            Self::Sentinels { sentinels, master, like } => {
                let client = master_of(sentinels, master, like).await?;
                open(&client, server, generation).await?
            }
            Self::Cluster { nodes, .. } => {
                let connection = Connection::Cluster(cluster::open(nodes).await?);
                let line = Line::new(connection, generation, server.inbox(), true, server);
                return Ok(Connected { line, resubscribed: false });
            }
            Self::AnyOf(nodes) => open_any(nodes, server, generation).await?,
        };
        ready(connection, server, generation, listened).await
    }

    /// The client by which to name the server in a message.
    pub(super) fn client(&self) -> Option<&Client> {
        match self {
            Self::Direct(client) | Self::Cluster { first: client, .. } => Some(client),
            Self::Sentinels { sentinels: clients, .. } | Self::AnyOf(clients) => clients.first(),
        }
    }
}

/// Tells the server what it has to know before the first request.
async fn ready(
    mut connection: MultiplexedConnection,
    server: &Arc<Server>,
    generation: u64,
    listened: bool,
) -> Result<Connected, Fault> {
    let scripts = load_scripts();
    let loaded = connection.send_packed_commands(&scripts, 0, scripts.len()).await;
    for answer in loaded.map_err(fault_of)? {
        answer.extract_error().map_err(fault_of)?;
    }
    if let Some((place, census)) = server.census() {
        let question = Census::question();
        let answer = connection.send_packed_commands(&question, 0, question.len()).await;
        if !census.admit(*place, &answer.map_err(fault_of)?) {
            return Err(Fault::refused("another address leads to the same Redis server"));
        }
    }
    if listened {
        // Without the right to subscribe, waiters ask from time to time.
        let _ = subscription(connection.clone(), server.inbox().clone()).await;
    }
    let connection = Connection::Single(connection);
    let line = Line::new(connection, generation, server.inbox(), listened, server);
    Ok(Connected { line, resubscribed: listened })
}

/// Connects to the first node that answers, each time beginning with the next.
async fn open_any(
    nodes: &[Client],
    server: &Arc<Server>,
    generation: u64,
) -> Result<MultiplexedConnection, Fault> {
    let mut last = Fault::not_sent("no node of the cluster was named");
    let first = usize::try_from(generation).unwrap_or(0) % nodes.len().max(1);
    for node in nodes.iter().cycle().skip(first).take(nodes.len()) {
        match open(node, server, generation).await {
            Ok(connection) => return Ok(connection),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

async fn open(
    client: &Client,
    server: &Arc<Server>,
    generation: u64,
) -> Result<MultiplexedConnection, Fault> {
    let config = AsyncConnectionConfig::new()
        // Both are watched by the keeper: these would need a runtime's timer on every thread.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(BUFFER)
        .set_push_sender(pushes(server, generation));
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(fault_of)
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
    let address = if let ConnectionAddr::TcpTls { insecure, tls_params, .. } = info.addr() {
        let (insecure, tls_params) = (*insecure, tls_params.clone());
        ConnectionAddr::TcpTls { host, port, insecure, tls_params }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    Client::open(info.set_addr(address)).ok()
}
