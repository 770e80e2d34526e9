//! All servers of one provider.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::redis::{Inbox, Parcel, RedisPlan, Topology, Transport, not_connected, seed};
use lock_proto::{Fault, LockError};

use super::connect::Connector;
use super::server::{Server, Standing};
use super::spawner::Spawner;

/// One connection to each server, all on one runtime.
pub(super) struct Servers(Vec<Arc<Server>>);

impl Servers {
    /// Connects to a majority of the servers.
    pub(super) async fn connect(plan: &RedisPlan, inbox: &Inbox) -> Result<Self, LockError> {
        let spawner = Spawner::current()?;
        let timers = Timers::started().map_err(LockError::Backend)?;
        let (connect, response) = (plan.connect_timeout, plan.response_timeout);
        let mut jitter = seed()?.jitter();
        let mut servers = Self(Vec::new());
        for connector in connectors(&plan.topology)? {
            let server = Server::new(connector, inbox, &timers, connect, response);
            let seed = jitter.next_u64().to_le_bytes().repeat(4);
            let mut bytes = [0; 32];
            bytes.copy_from_slice(&seed);
            let jitter = lock_proto::Seed::from_bytes(bytes).jitter();
            spawner.spawn(Arc::clone(&server).keep(jitter));
            servers.0.push(server);
        }
        servers.majority(&timers, connect).await?;
        Ok(servers)
    }

    async fn majority(&self, timers: &Timers, within: Duration) -> Result<(), LockError> {
        let needed = self.0.len() / 2 + 1;
        let mut limit = timers.sleep(within);
        poll_fn(|cx| {
            let (mut connected, mut possible, mut failed) = (0, 0, None);
            for server in &self.0 {
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
                return Poll::Ready(Err(not_connected(server.connector().client(), fault)));
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
        self.0.len()
    }

    fn send(&self, parcel: Parcel) {
        match self.0.get(parcel.server()) {
            Some(server) => server.send(parcel),
            None => parcel.fail(Fault::not_sent("there is no such server")),
        }
    }

    fn close(&self) {
        self.0.iter().for_each(|server| server.close());
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.close();
    }
}

fn connectors(topology: &Topology) -> Result<Vec<Connector>, LockError> {
    match topology {
        Topology::Servers(clients) => Ok(clients.iter().cloned().map(Connector::Direct).collect()),
        Topology::Sentinels { sentinels, master, like } => Ok(vec![Connector::Sentinels {
            sentinels: sentinels.clone(),
            master: master.clone(),
            like: like.clone(),
        }]),
        Topology::Cluster(_) => Err(LockError::Unsupported("clusters".into())),
    }
}
