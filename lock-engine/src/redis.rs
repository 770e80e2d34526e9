//! Locks on Redis: what every way of talking to a server has in common.
//!
//! A [`Transport`] connects, reconnects and carries [`Parcel`]s. Everything that needs to know what
//! is in one of them is here.

mod census;
mod courier;
mod examine;
mod fault;
mod inbox;
mod info;
mod link;
mod listeners;
mod session;
mod setup;
mod slots;
mod transport;
mod url;
mod wire;

use std::sync::Arc;

use lock_proto::redis::RedisOptions;
use lock_proto::{LockError, Seed};

use crate::engine::Engine;
use crate::seeds::{self, Seeds};
use crate::{Client, Clock};
use courier::Courier;
use link::RedisLink;

pub use census::Census;
pub use examine::Roster;
pub use fault::fault_of;
pub use inbox::Inbox;
pub use session::Session;
pub use setup::{RedisPlan, RedisSetup, Topology, not_connected, same_twice};
pub use transport::{Answers, Parcel, Ticket, Transport};
pub use wire::load_scripts;

/// The locks of one provider; every clone is the same.
#[derive(Clone)]
pub struct Redis {
    engine: Arc<Engine<RedisLink>>,
}

impl Redis {
    /// Locks over `transport`, whose servers tell what they have to tell to `inbox`.
    ///
    /// # Errors
    ///
    /// [`LockError::Backend`] if the system has no random numbers.
    pub fn new(
        transport: impl Transport,
        inbox: &Inbox,
        settings: RedisOptions,
        key_prefix: &str,
    ) -> Result<Self, LockError> {
        let seeds = Seeds::new(&seed()?);
        let courier = Courier::new(Box::new(transport), Arc::clone(inbox.name()));
        let engine = Engine::with(Clock::System, |engine| {
            RedisLink::new(courier, settings, key_prefix.into(), seeds, engine.clone())
        });
        RedisLink::listen_to(&engine, inbox);
        Ok(Self { engine })
    }

    /// The locks, for the adapters.
    #[must_use]
    pub fn client(&self) -> Arc<dyn Client> {
        Arc::clone(&self.engine) as Arc<dyn Client>
    }
}

/// A seed that the system draws.
///
/// # Errors
///
/// [`LockError::Backend`] if it has none.
pub fn seed() -> Result<Seed, LockError> {
    seeds::drawn()
}
