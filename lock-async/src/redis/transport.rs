//! All servers of one provider.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::redis::{Inbox, Parcel, RedisPlan, Topology, Transport, not_connected, seed};
use lock_proto::{Fault, LockError};

use super::cluster;
use super::connect::Connector;
use super::ear::Ear;
use super::server::{Server, Standing};
use super::spawner::Spawner;

/// One connection to each server, all on one runtime.
pub(super) struct Servers {
    servers: Vec<Arc<Server>>,
    /// Where a cluster is listened to.
    ear: Option<Arc<Ear>>,
}

impl Servers {
    /// Connects to a majority of the servers.
    pub(super) async fn connect(plan: &RedisPlan, inbox: &Inbox) -> Result<Self, LockError> {
        let spawner = Spawner::current()?;
        let timers = Timers::started().map_err(LockError::Backend)?;
        let (connect, response) = (plan.connect_timeout, plan.response_timeout);
        let server = |connector| Server::new(connector, inbox, &timers, connect, response);
        let mut servers = Self { servers: Vec::new(), ear: None };
        for connector in connectors(plan)? {
            let server = server(connector);
            spawner.spawn(Arc::clone(&server).keep(seed()?.jitter()));
            servers.servers.push(server);
        }
        if let Topology::Cluster(nodes) = &plan.topology
            && let Some(mouth) = servers.servers.first()
        {
            let ear = server(Connector::AnyOf(nodes.clone()));
            servers.ear = Some(Ear::new(ear, mouth, &spawner, &timers, seed()?.jitter()));
        }
        servers.majority(&timers, connect).await?;
        Ok(servers)
    }

    async fn majority(&self, timers: &Timers, within: Duration) -> Result<(), LockError> {
        let needed = self.servers.len() / 2 + 1;
        let mut limit = timers.sleep(within);
        poll_fn(|cx| {
            let (mut connected, mut possible, mut failed) = (0, 0, None);
            for server in &self.servers {
                match server.standing(cx) {
                    Standing::Connected => {
                        connected += 1;
                        possible += 1;
                    }
                    Standing::Trying => possible += 1,
                    Standing::Failed(fault) => failed = Some((server, fault)),
                }
            }
            if connected >= needed {
                return Poll::Ready(Ok(()));
            }
            if possible < needed
                && let Some((server, fault)) = failed
            {
                return Poll::Ready(Err(match server.connector().client() {
                    Some(client) => not_connected(client, fault),
                    None => LockError::Connection(fault),
                }));
            }
            Pin::new(&mut limit).poll(cx).map(|()| {
                let fault = format!("fewer than {needed} servers answered within {within:?}");
                Err(LockError::Connection(Fault::not_sent(fault)))
            })
        })
        .await
    }
}

impl Transport for Servers {
    fn servers(&self) -> usize {
        self.servers.len()
    }

    fn is_cluster(&self) -> bool {
        self.ear.is_some()
    }

    fn send(&self, parcel: Parcel) {
        match (&self.ear, self.servers.get(parcel.server())) {
            (Some(ear), Some(_)) if parcel.listens() => ear.send(parcel),
            (_, Some(server)) => server.send(parcel),
            (_, None) => parcel.fail(Fault::not_sent("there is no such server")),
        }
    }

    fn close(&self) {
        self.servers.iter().for_each(|server| server.close());
        if let Some(ear) = &self.ear {
            ear.close();
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.close();
    }
}

fn connectors(plan: &RedisPlan) -> Result<Vec<Connector>, LockError> {
    match &plan.topology {
        Topology::Servers(clients) => Ok(clients.iter().cloned().map(Connector::Direct).collect()),
        Topology::Sentinels { sentinels, master, like } => Ok(vec![Connector::Sentinels {
            sentinels: sentinels.clone(),
            master: master.clone(),
            like: like.clone(),
        }]),
        Topology::Cluster(nodes) => {
            let (connect, response) = (plan.connect_timeout, plan.response_timeout);
            let certificates = plan.root_certificates.as_deref();
            let client = cluster::client(nodes, certificates, connect, response);
            let first = nodes.first().cloned();
            let (Ok(nodes), Some(first)) = (client, first) else {
                return Err(LockError::InvalidConfig {
                    option: "url",
                    problem: "the nodes of a cluster must have the same user and password, and no \
                              Unix sockets"
                        .into(),
                });
            };
            Ok(vec![Connector::Cluster { nodes: Box::new(nodes), first }])
        }
    }
}
