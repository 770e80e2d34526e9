//! Locks on PostgreSQL: what all runtimes have in common, which is everything but the network.

mod cancel;
mod certificate;
mod connect;
mod examine;
mod fault;
mod info;
mod link;
mod network;
mod orders;
mod own;
mod permits;
mod recall;
mod session;
mod setup;
mod statement;
mod targets;
mod tls;
mod transaction;
mod url;

use std::sync::Arc;

use lock_proto::LockError;

use crate::engine::Engine;
use crate::seeds::{self, Seeds};
use crate::{Client, Clock};
use link::PostgresLink;

pub use network::{Job, Network, Peer, SocketSettings, Stream};
pub use own::heard;
pub use setup::{PostgresPlan, PostgresSetup};

/// The locks of one provider; every clone is the same.
#[derive(Clone)]
pub struct Postgres {
    engine: Arc<Engine<PostgresLink>>,
    plan: Arc<PostgresPlan>,
    network: Arc<dyn Network>,
}

impl Postgres {
    /// Locks as `plan` has them, over connections of `network`.
    ///
    /// # Errors
    ///
    /// [`LockError::Backend`] if the system has no random numbers.
    pub fn new(plan: PostgresPlan, network: Arc<dyn Network>) -> Result<Self, LockError> {
        let seeds = Seeds::new(&seeds::drawn()?);
        let engine = Engine::with(Clock::System, |engine| {
            PostgresLink::new(plan.clone(), Arc::clone(&network), seeds, engine.clone())
        });
        Ok(Self { engine, plan: Arc::new(plan), network })
    }

    /// The locks, for the adapters.
    #[must_use]
    pub fn client(&self) -> Arc<dyn Client> {
        Arc::clone(&self.engine) as Arc<dyn Client>
    }

    /// Connects, or says why that can't be.
    ///
    /// # Errors
    ///
    /// [`LockError::Connection`] with what the server, or the network, says.
    pub async fn connected(&self) -> Result<(), LockError> {
        let asked = self.engine.link().ask(String::new(), self.engine.clock().now());
        asked.await.map(drop).map_err(LockError::Connection)
    }
}
