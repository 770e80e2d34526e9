//! Clusters, by way of the `redis` crate's client.

use std::time::Duration;

use lock_engine::redis::{fault_of, load_scripts};
use lock_proto::Fault;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::SingleNodeRoutingInfo;
use redis::io::tcp::TcpSettings;
use redis::{Client, Pipeline, ProtocolVersion, RedisResult, TlsCertificates, aio::ConnectionLike};

use super::errand::Request;

/// A client of the cluster to which `nodes` belong.
pub(super) fn client(
    nodes: &[Client],
    root_certificates: Option<&[u8]>,
    connect_timeout: Duration,
    response_timeout: Duration,
) -> RedisResult<ClusterClient> {
    let infos: Vec<_> = nodes.iter().map(|node| node.get_connection_info().clone()).collect();
    let mut builder = ClusterClientBuilder::new(infos)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(TcpSettings::default().set_nodelay(true))
        // The answer to a second try says nothing of the first, which may be carried out yet (R5).
        .retries(0)
        .connection_timeout(connect_timeout)
        // A node that is silent for half of what is allowed leaves time to find its successor.
        .response_timeout(response_timeout / 2)
        // The keeper watches over the whole; this would need a runtime's timer on every thread.
        .overall_response_timeout(None);
    if let Some(pem) = root_certificates {
        let root_cert = Some(pem.to_owned());
        builder = builder.certs(TlsCertificates { client_tls: None, root_cert });
    }
    builder.build()
}

/// Connects to all nodes, and tells the masters the scripts.
pub(super) async fn open(client: &ClusterClient) -> Result<ClusterConnection, Fault> {
    let mut connection = client.get_async_connection().await.map_err(fault_of)?;
    for load in load_scripts().cmd_iter() {
        // A node that can't be told now asks for it.
        let _ = connection.req_packed_command(load).await;
    }
    Ok(connection)
}

/// Asks `node`, or the one where the keys are.
pub(super) fn request(
    mut connection: ClusterConnection,
    pipeline: Pipeline,
    node: Option<(String, u16)>,
) -> Request {
    Box::pin(async move {
        let count = pipeline.len();
        match node {
            Some((host, port)) => {
                let node = SingleNodeRoutingInfo::ByAddress { host, port };
                connection.route_pipeline(pipeline, 0, count, node).await
            }
            None => connection.req_packed_commands(&pipeline, 0, count).await,
        }
    })
}
