//! The Redis servers on which the columns run: one of each kind for all tests of a process, each
//! column with keys of its own.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::adapters::Backend;
use crate::redis::{Cluster, Server};

static ONE: LazyLock<Server> = LazyLock::new(Server::start);
static THREE: LazyLock<[Server; 3]> = LazyLock::new(|| [(); 3].map(|()| Server::start()));
static FIVE: LazyLock<[Server; 5]> = LazyLock::new(|| [(); 5].map(|()| Server::start()));
static TWO_OF_THREE: LazyLock<[Server; 3]> = LazyLock::new(|| {
    let servers = [(); 3].map(|()| Server::start());
    servers[1].kill();
    servers
});
static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);

/// Where the locks of one column are.
#[derive(Debug)]
pub(super) struct RedisPlace {
    pub(super) urls: Vec<String>,
    pub(super) prefix: String,
}

impl RedisPlace {
    /// Fresh keys on the servers of `backend`; `None` if it has none.
    pub(super) fn new(backend: Backend) -> Option<Self> {
        static COLUMNS: AtomicUsize = AtomicUsize::new(0);
        let urls = urls(backend);
        if urls.is_empty() {
            return None;
        }
        let column = COLUMNS.fetch_add(1, Ordering::Relaxed);
        Some(Self { urls, prefix: format!("column{column}/") })
    }
}

/// The servers of `backend`; none, if it has no need of any.
#[must_use]
pub fn urls(backend: Backend) -> Vec<String> {
    match backend {
        Backend::Memory
        | Backend::Files
        | Backend::DeletedFiles
        | Backend::PostgresShared
        | Backend::PostgresSessions
        | Backend::PostgresTransactions
        | Backend::PostgresPooled => Vec::new(),
        Backend::RedisServer => vec![ONE.url()],
        Backend::ThreeRedisServers => THREE.iter().map(Server::url).collect(),
        Backend::FiveRedisServers => FIVE.iter().map(Server::url).collect(),
        Backend::TwoOfThreeRedisServers => TWO_OF_THREE.iter().map(Server::url).collect(),
        Backend::RedisCluster => {
            let nodes: Vec<String> = CLUSTER.nodes().iter().map(Server::address).collect();
            vec![format!("redis+cluster://{}", nodes.join(","))]
        }
    }
}
