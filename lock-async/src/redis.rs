//! Locks on Redis.

mod cluster;
mod connect;
mod ear;
mod errand;
mod line;
mod lookout;
mod queue;
mod server;
mod spawner;
mod transport;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lock_engine::Client;
use lock_engine::redis::{Inbox, Redis, RedisSetup, Roster, seed};
use lock_proto::LockError;
use lock_proto::redis::Finding;

use crate::provider::sealed::HasClient;
use transport::Servers;

/// Locks on a Redis server, on several that vote, or on a cluster.
///
/// A mutex is a key that holds a token and expires: clients of DistributedLock.Redis for .NET, and
/// all others that use `SET NX PX`, are excluded by it and exclude us. A waiter stands in a queue
/// beside the lock and is let in by whoever gives it back, so that nobody polls. Redis 6.2 or later
/// is needed.
///
/// One connection to each server carries everything. It lives on the runtime on which the provider
/// was built, is made anew when it is lost, and ends with the last handle.
///
/// ```no_run
/// # use lock_async as lock_tokio;
/// use lock_tokio::prelude::*;
///
/// # async fn example() -> Result<(), LockError> {
/// let provider = RedisLockProvider::new("redis://localhost:6379").await?;
/// let handle = provider.create_lock("orders").acquire(None).await?;
/// // … nobody else is here …
/// handle.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisLockProvider {
    client: Arc<dyn Client>,
    redis: Redis,
    roster: Roster,
}

/// What a [`RedisLockProvider`] is made of.
///
/// | option | default |
/// | --- | --- |
/// | [`url`](Self::url), [`urls`](Self::urls), [`add_server`](Self::add_server) | required |
/// | [`expiry`](Self::expiry) | 30 s |
/// | [`extension_cadence`](Self::extension_cadence) | a third of the expiry |
/// | [`min_validity`](Self::min_validity) | 90 % of the expiry |
/// | [`busy_wait_sleep_range`](Self::busy_wait_sleep_range) | 10 to 200 ms |
/// | [`fencing`](Self::fencing) | on |
/// | [`key_prefix`](Self::key_prefix) | none |
/// | [`connect_timeout`](Self::connect_timeout) | 5 s |
/// | [`response_timeout`](Self::response_timeout) | 2 s |
#[derive(Clone, Debug, Default)]
pub struct RedisLockProviderBuilder {
    setup: RedisSetup,
}

impl RedisLockProvider {
    /// The locks of the server, or the servers, at `url`.
    ///
    /// # Errors
    ///
    /// As [`RedisLockProviderBuilder::build`].
    ///
    /// # Cancel safety
    ///
    /// As [`RedisLockProviderBuilder::build`].
    pub async fn new(url: &str) -> Result<Self, LockError> {
        Self::builder().url(url).build().await
    }

    /// A provider whose servers are to be chosen.
    #[must_use]
    pub fn builder() -> RedisLockProviderBuilder {
        RedisLockProviderBuilder::default()
    }

    /// Asks the servers how they are set up, and says what can cost a lock: eviction, restarts,
    /// failovers, clocks. It takes about a second and no lock: for a program's start, for the
    /// monitoring, or by hand as `dlock doctor`.
    ///
    /// ```no_run
    /// # use lock_async as lock_tokio;
    /// use lock_tokio::{RedisLockProvider, Severity};
    ///
    /// # async fn example() -> Result<(), lock_tokio::LockError> {
    /// let provider = RedisLockProvider::new("redis://localhost:6379").await?;
    /// let findings = provider.examine().await?;
    /// assert!(findings.iter().all(|finding| finding.severity() != Severity::Danger));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::Connection`] if no server answers. One of several that doesn't is a finding.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it leaves nothing behind.
    pub async fn examine(&self) -> Result<Vec<Finding>, LockError> {
        self.redis.examine(&self.roster).await
    }
}

impl RedisLockProviderBuilder {
    /// The server, or the servers:
    ///
    /// | URL | |
    /// | --- | --- |
    /// | `redis://user:password@host:6379/0` | one server, database 0 |
    /// | `rediss://…` | with TLS |
    /// | `unix:///run/redis.sock?db=0&user=…&pass=…` | on a Unix socket |
    /// | `redis+redlock://a,b,c` | several that vote |
    /// | `redis+cluster://a,b,c` | some nodes of a cluster |
    /// | `redis+sentinel://a,b,c/mymaster/0` | the server that sentinels watch |
    ///
    /// Each may end in `?expiry=30s&prefix=app:`.
    #[must_use]
    pub fn url(mut self, url: impl AsRef<str>) -> Self {
        self.setup.add_url(url.as_ref());
        self
    }

    /// Several servers that vote, and know nothing of one another: the lock is held on a majority.
    /// Take an odd number; an even one fails no later than the odd number below it.
    #[must_use]
    pub fn urls(mut self, urls: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        for url in urls {
            self.setup.add_url(url.as_ref());
        }
        self
    }

    /// One more of several servers that vote.
    #[must_use]
    pub fn add_server(self, url: impl AsRef<str>) -> Self {
        self.url(url)
    }

    /// A server as the `redis` crate, of version 1, knows it: for whatever no URL can say. More
    /// than one vote.
    #[must_use]
    pub fn client(mut self, client: redis::Client) -> Self {
        self.setup.add_client(client);
        self
    }

    /// The lease: how long a lock stays held when its holder is gone. From 100 ms to 2³¹ − 1 ms.
    #[must_use]
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.setup.set_expiry(expiry);
        self
    }

    /// How often a held lock is prolonged; shorter than the min validity.
    #[must_use]
    pub fn extension_cadence(mut self, cadence: Duration) -> Self {
        self.setup.set_extension_cadence(cadence);
        self
    }

    /// How much of the lease must be left when a lock was acquired; shorter than the expiry.
    #[must_use]
    pub fn min_validity(mut self, validity: Duration) -> Self {
        self.setup.set_min_validity(validity);
        self
    }

    /// How long to rest between two tries that nobody woke.
    #[must_use]
    pub fn busy_wait_sleep_range(mut self, rests: RangeInclusive<Duration>) -> Self {
        self.setup.set_rests(*rests.start(), *rests.end());
        self
    }

    /// Whether each acquisition is given a fencing token.
    #[must_use]
    pub fn fencing(mut self, fencing: bool) -> Self {
        self.setup.set_fencing(fencing);
        self
    }

    /// What stands before the key of each lock. The .NET library has no such thing.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl AsRef<str>) -> Self {
        self.setup.set_key_prefix(prefix.as_ref());
        self
    }

    /// How long connecting may take. From 10 ms to 10 minutes.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.setup.set_connect_timeout(timeout);
        self
    }

    /// How long a server may be silent before its connection is given up. From 10 ms to 10
    /// minutes.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.setup.set_response_timeout(timeout);
        self
    }

    /// The certificates, in PEM format, of whoever signed those of the servers. Default: the
    /// system's.
    #[must_use]
    pub fn tls_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.setup.set_root_certificates(pem.as_ref());
        self
    }

    /// Connects to the server, or to a majority of the servers.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is wrong or there is no runtime,
    /// [`LockError::Connection`] if the servers can't be reached or let nobody in.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it leaves nothing behind.
    pub async fn build(self) -> Result<RedisLockProvider, LockError> {
        let plan = self.setup.checked()?;
        let inbox = Inbox::new(&seed()?);
        let roster = Roster::new(&plan.topology);
        let servers = Servers::connect(&plan, &inbox).await?;
        let redis = Redis::new(servers, &inbox, plan.settings, &plan.key_prefix)?;
        Ok(RedisLockProvider { client: redis.client(), redis, roster })
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
