//! Locks on PostgreSQL.

mod advisory;
mod network;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lock_engine::Client;
use lock_engine::postgres::{Postgres, PostgresSetup};
use lock_proto::LockError;
use lock_proto::postgres::Finding;

use crate::provider::sealed::HasClient;

pub use advisory::PostgresAdvisoryLock;

/// Locks on a PostgreSQL server, which are its advisory locks.
///
/// A mutex is an advisory lock whose key comes of its name as in DistributedLock.Postgres for .NET:
/// clients of that library, and all others that lock the same key, are excluded by it and exclude
/// us. The server queues who waits, so that nobody polls, and frees a lock when the connection that
/// holds it ends. PostgreSQL 12 or later is needed.
///
/// Locks that are free share a connection; whoever has to wait for one does so on another. The
/// connections live on the runtime on which the provider was built, are watched all the time, and
/// end with the last handle.
///
/// ```no_run
/// # use lock_async as lock_tokio;
/// use lock_tokio::prelude::*;
///
/// # async fn example() -> Result<(), LockError> {
/// let provider = PostgresLockProvider::new("postgres://app:secret@localhost/app").await?;
/// let handle = provider.create_lock("orders").acquire(None).await?;
/// // … nobody else is here …
/// handle.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresLockProvider {
    client: Arc<dyn Client>,
    postgres: Postgres,
}

/// What a [`PostgresLockProvider`] is made of.
///
/// | option | default |
/// | --- | --- |
/// | [`url`](Self::url), [`connection_string`](Self::connection_string) | required |
/// | [`use_multiplexing`](Self::use_multiplexing) | on |
/// | [`use_transaction_scope`](Self::use_transaction_scope) | off |
/// | [`keepalive_cadence`](Self::keepalive_cadence) | none |
/// | [`max_connections`](Self::max_connections) | 16 |
/// | [`idle_timeout`](Self::idle_timeout) | 60 s |
/// | [`fencing`](Self::fencing) | off |
/// | [`connect_timeout`](Self::connect_timeout) | 5 s |
/// | [`tls_root_certificates`](Self::tls_root_certificates) | the system's |
#[derive(Clone, Debug, Default)]
pub struct PostgresLockProviderBuilder {
    setup: PostgresSetup,
}

impl PostgresLockProvider {
    /// The locks of the server at `url`, which may also be `key=value` pairs.
    ///
    /// # Errors
    ///
    /// As [`PostgresLockProviderBuilder::build`].
    ///
    /// # Cancel safety
    ///
    /// As [`PostgresLockProviderBuilder::build`].
    pub async fn new(url: &str) -> Result<Self, LockError> {
        Self::builder().url(url).build().await
    }

    /// A provider whose server is to be chosen.
    #[must_use]
    pub fn builder() -> PostgresLockProviderBuilder {
        PostgresLockProviderBuilder::default()
    }

    /// Asks the server how it is set up, and says what can cost a lock, or waits for one: a pooler
    /// that gives each transaction another session, a standby, time-outs, machines that are noticed
    /// late to be gone, too few connections, too few locks. It takes no lock, and makes one connection
    /// more for as long as it asks: for a program's start, for the monitoring, or by hand as
    /// `dlock doctor`.
    ///
    /// A pooler is known by connections that change or share their sessions while this looks. One that
    /// others keep busy may go unnoticed by chance, so no finding is no proof that there is none.
    ///
    /// ```no_run
    /// # use lock_async as lock_tokio;
    /// use lock_tokio::{PostgresLockProvider, Severity};
    ///
    /// # async fn example() -> Result<(), lock_tokio::LockError> {
    /// let provider = PostgresLockProvider::new("postgres://app:secret@localhost/app").await?;
    /// let findings = provider.examine().await?;
    /// assert!(findings.iter().all(|finding| finding.severity() != Severity::Danger));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::Connection`] if the server doesn't answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it leaves nothing behind.
    pub async fn examine(&self) -> Result<Vec<Finding>, LockError> {
        self.postgres.examine().await
    }
}

impl PostgresLockProviderBuilder {
    /// The server, as a URL or as `key=value` pairs:
    ///
    /// | connection string | |
    /// | --- | --- |
    /// | `postgres://user:password@host:5432/database` | one server; `postgresql://` is the same |
    /// | `postgres://user@a,b:5433/database` | the first of several that is not a standby |
    /// | `postgres:///database?host=/run/postgresql` | on a Unix socket |
    /// | `host=localhost user=app dbname=database` | the same as pairs |
    ///
    /// The options are those of
    /// [libpq](https://www.postgresql.org/docs/current/libpq-connect.html), `sslmode`,
    /// `sslrootcert`, `target_session_attrs` and `options` among them. Environment variables and
    /// password files are not read.
    ///
    /// A network that is cut is noticed within about 15 seconds, unless `keepalives…` or
    /// `tcp_user_timeout` say otherwise; by the server as well, which then frees the locks.
    #[must_use]
    pub fn url(mut self, url: impl AsRef<str>) -> Self {
        self.setup.set_url(url.as_ref());
        self
    }

    /// The same as [`url`](Self::url).
    #[must_use]
    pub fn connection_string(self, connection_string: impl AsRef<str>) -> Self {
        self.url(connection_string)
    }

    /// Whether locks that are free share a connection. Without, each lock has its own as long as it
    /// is held, and [`max_connections`](Self::max_connections) bounds how many can be.
    #[must_use]
    pub fn use_multiplexing(mut self, multiplexing: bool) -> Self {
        self.setup.set_multiplexing(multiplexing);
        self
    }

    /// Whether a lock is held by a transaction, instead of a session: behind a pooler that gives
    /// each transaction another connection, as PgBouncer does in transaction mode, nothing else
    /// excludes anybody. Each lock then has a connection to itself.
    #[must_use]
    pub fn use_transaction_scope(mut self, transaction_scope: bool) -> Self {
        self.setup.set_transaction_scope(transaction_scope);
        self
    }

    /// How often a connection that holds a lock is made to say something, so that nothing on the
    /// way ends it because it is idle. From 100 ms to a day.
    #[must_use]
    pub fn keepalive_cadence(mut self, cadence: Duration) -> Self {
        self.setup.set_keepalive_cadence(cadence);
        self
    }

    /// How many connections there may be at a time; who needs one more waits for it. From 1 to
    /// 1000. Readers share a lock only if there may be two: one finds out whether a writer waits.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.setup.set_max_connections(connections);
        self
    }

    /// For how long a connection that holds nothing is kept. From 100 ms to a day.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.setup.set_idle_timeout(timeout);
        self
    }

    /// Whether each acquisition is given a fencing token, which costs a statement more.
    #[must_use]
    pub fn fencing(mut self, fencing: bool) -> Self {
        self.setup.set_fencing(fencing);
        self
    }

    /// How long connecting to one address of one server may take, the login included. From 10 ms to
    /// 10 minutes.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.setup.set_connect_timeout(timeout);
        self
    }

    /// The certificates, in PEM format, of whoever signed the server's, instead of those of
    /// `sslrootcert` or the system. Unless `sslmode` says otherwise, the server must then have a
    /// certificate for its name.
    #[must_use]
    pub fn tls_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.setup.set_root_certificates(pem.as_ref());
        self
    }

    /// Connects to the server.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if an option is wrong or there is no runtime,
    /// [`LockError::Connection`] if the server can't be reached or lets nobody in.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it leaves nothing behind.
    pub async fn build(self) -> Result<PostgresLockProvider, LockError> {
        let postgres = Postgres::new(self.setup.checked()?, network::current()?)?;
        postgres.connected().await?;
        Ok(PostgresLockProvider { client: postgres.client(), postgres })
    }
}

impl fmt::Debug for PostgresLockProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLockProvider").finish_non_exhaustive()
    }
}

impl HasClient for PostgresLockProvider {
    fn client(&self) -> &Arc<dyn Client> {
        &self.client
    }
}
