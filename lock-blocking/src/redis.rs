//! Locks on Redis servers.

mod ear;
mod errand;
mod lane;
mod lanes;
mod line;
mod place;
mod rests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lock_engine::Client;
use lock_engine::redis::{Inbox, Redis, RedisPlan, RedisSetup, Topology, seed};
use lock_proto::LockError;

use self::lanes::Lanes;
use self::place::{Patience, Place};
use crate::provider::sealed::HasClient;

pub(crate) use self::errand::run as errand;

/// Locks on Redis.
#[derive(Clone)]
pub struct RedisLockProvider {
    client: Arc<dyn Client>,
}

/// What a [`RedisLockProvider`] is made of.
#[derive(Clone, Debug, Default)]
pub struct RedisLockProviderBuilder {
    setup: RedisSetup,
}

impl RedisLockProvider {
    /// The locks of the server at `url`.
    ///
    /// # Errors
    ///
    /// As [`RedisLockProviderBuilder::build`].
    pub fn new(url: &str) -> Result<Self, LockError> {
        Self::builder().url(url).build()
    }

    /// A provider whose servers are to be chosen.
    #[must_use]
    pub fn builder() -> RedisLockProviderBuilder {
        RedisLockProviderBuilder::default()
    }
}

impl RedisLockProviderBuilder {
    /// One more server.
    #[must_use]
    pub fn url(mut self, url: &str) -> Self {
        self.setup.add_url(url);
        self
    }

    /// A connection on which a request is unanswered for so long is given up.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.setup.set_response_timeout(timeout);
        self
    }

    /// Checks what was chosen.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] naming the option that is wrong.
    pub fn build(self) -> Result<RedisLockProvider, LockError> {
        let RedisPlan { topology, settings, key_prefix, connect_timeout, response_timeout, .. } =
            self.setup.checked()?;
        let patience = Patience { connect: connect_timeout, answer: response_timeout };
        let inbox = Inbox::new(&seed()?);
        let places = match topology {
            Topology::Servers(clients) => clients.into_iter().map(Place::Server).collect(),
            Topology::Sentinels { sentinels, master, like } => {
                let server = like.get_connection_info().clone();
                vec![Place::Watched { sentinels, name: master, server }]
            }
            Topology::Cluster(_) => return Err(LockError::Unsupported("clusters".into())),
        };
        let lanes = Lanes::new(places, patience, &inbox);
        let redis = Redis::new(lanes, &inbox, settings, &key_prefix)?;
        Ok(RedisLockProvider { client: redis.client() })
    }
}

impl fmt::Debug for RedisLockProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLockProvider").finish_non_exhaustive()
    }
}

impl HasClient for RedisLockProvider {
    fn client(&self) -> &Arc<dyn Client> {
        &self.client
    }
}
