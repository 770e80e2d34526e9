//! Clusters, by way of the `redis` crate's client.

use redis::cluster_async::ClusterConnection;
use redis::{Pipeline, aio::ConnectionLike as _};

use super::errand::Replies;

/// Asks the node where the keys are.
pub(super) async fn ask(connection: &mut ClusterConnection, pipeline: &Pipeline) -> Replies {
    connection.req_packed_commands(pipeline, 0, pipeline.len()).await
}
