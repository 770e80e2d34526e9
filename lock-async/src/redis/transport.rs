//! All servers of one provider.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::redis::{
    Census, Inbox, Parcel, RedisPlan, Topology, Transport, not_connected, same_twice, seed,
};
use lock_proto::{Fault, LockError};

use super::cluster;
use super::connect::Connector;
use super::ear::Ear;
use super::server::{Server, Standing};
use super::spawner::Spawner;

/// How long the slower servers are waited for when a majority has answered: two addresses of one
/// server are then told apart from two servers.
const GRACE: Duration = Duration::from_millis(250);

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
        let server =
            |connector, census| Server::new(connector, census, inbox, &timers, connect, response);
        let mut servers = Self { servers: Vec::new(), ear: None };
        let (connectors, census) = (connectors(plan)?, Census::new());
        let voting = connectors.len() > 1;
        for (place, connector) in connectors.into_iter().enumerate() {
            let server = server(connector, voting.then(|| (place, census.clone())));
            spawner.spawn(Arc::clone(&server).keep(seed()?.jitter()));
            servers.servers.push(server);
        }
        if let Topology::Cluster(nodes) = &plan.topology
            && let Some(mouth) = servers.servers.first()
        {
            let ear = server(Connector::AnyOf(nodes.clone()), None);
            servers.ear = Some(Ear::new(ear, mouth, &spawner, &timers, seed()?.jitter()));
        }
        servers.majority(&timers, connect, &census).await?;
        Ok(servers)
    }

    /// Waits for a majority, and a moment for the others.
    async fn majority(
        &self,
        timers: &Timers,
        within: Duration,
        census: &Census,
    ) -> Result<(), LockError> {
        let (mut limit, mut grace) = (timers.sleep(within), timers.sleep(GRACE));
        poll_fn(|cx| {
            let standings = self.servers.iter().map(|server| server.standing(cx)).collect();
            let verdict = self.verdict(standings, Pin::new(&mut grace).poll(cx).is_ready());
            if census.met_twice() {
                return Poll::Ready(Err(same_twice()));
            }
            if let Some(verdict) = verdict {
                return Poll::Ready(verdict);
            }
            Pin::new(&mut limit).poll(cx).map(|()| {
                let fault = format!("too few Redis servers answered within {within:?}");
                let missing = self.servers.iter().find(|server| {
                    matches!(server.standing(cx), Standing::Trying | Standing::Failed(_))
                });
                Err(no_majority(missing, Fault::not_sent(fault)))
            })
        })
        .await
    }

    /// Whether there is a majority, once that is certain.
    fn verdict(&self, standings: Vec<Standing>, hurry: bool) -> Option<Result<(), LockError>> {
        let needed = standings.len() / 2 + 1;
        let (mut connected, mut trying, mut failed) = (0, 0, None);
        for (standing, server) in standings.into_iter().zip(&self.servers) {
            match standing {
                Standing::Connected => connected += 1,
                Standing::Trying => trying += 1,
                Standing::Failed(fault) => failed = Some((server, fault)),
            }
        }
        if connected >= needed && (trying == 0 || hurry) {
            return Some(Ok(()));
        }
        let (server, fault) = failed.filter(|_| connected + trying < needed)?;
        Some(Err(no_majority(Some(server), fault)))
    }
}

/// Why there is no majority, as far as one server that is missing shows it.
fn no_majority(missing: Option<&Arc<Server>>, fault: Fault) -> LockError {
    match missing.and_then(|server| server.connector().client()) {
        Some(client) => not_connected(client, fault),
        None => LockError::Connection(fault),
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
