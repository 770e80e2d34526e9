//! Advisory locks of PostgreSQL: the least that one can do, and those of others.

use std::sync::Arc;

use distributed_lock_core::{DistributedLock as _, LockHandle as _, LockProvider as _};
use distributed_lock_postgres::PostgresLockProvider;
use distributed_lock_postgres::handle::PostgresLockHandle;
use distributed_lock_postgres::lock::PostgresDistributedLock;
use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockGuard, PgPool, PgPoolOptions};
use sqlx::{Postgres, pool::PoolConnection};
use tokio_postgres::{Client, NoTls, Statement};

use crate::workload::Lockable;

/// Prepared statements on a connection of its own.
pub struct AdvisoryFloor {
    client: Client,
    take: Statement,
    give_back: Statement,
    key: i64,
}

impl AdvisoryFloor {
    /// Takes `key` by a function such as `pg_advisory_lock`.
    pub async fn new(url: &str, take: &str, key: i64) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("it is up");
        tokio::spawn(connection);
        let take = client.prepare(&format!("SELECT {take}($1)")).await;
        let give_back = client.prepare("SELECT pg_advisory_unlock($1)").await;
        let (take, give_back) = (take.expect("it is SQL"), give_back.expect("it is SQL"));
        Self { client, take, give_back, key }
    }
}

impl Lockable for AdvisoryFloor {
    type Held = ();

    async fn acquire(&self) {
        self.client.query_one(&self.take, &[&self.key]).await.expect("the server is up");
    }

    async fn release(&self, (): ()) {
        self.client.query_one(&self.give_back, &[&self.key]).await.expect("the server is up");
    }
}

/// sqlx, with a connection of a pool for each lock that is held.
pub struct Sqlx {
    pool: PgPool,
    lock: &'static PgAdvisoryLock,
}

impl Sqlx {
    /// A pool for all locks of one contender.
    pub async fn pool(url: &str, connections: u32) -> PgPool {
        let options = PgPoolOptions::new().max_connections(connections);
        options.connect(url).await.expect("the server is up")
    }

    pub fn new(pool: &PgPool, key: &str) -> Self {
        // Its guard borrows it, and must outlive an await; a bench leaks a few bytes.
        let lock = Box::leak(Box::new(PgAdvisoryLock::new(key)));
        Self { pool: pool.clone(), lock }
    }
}

impl Lockable for Sqlx {
    type Held = PgAdvisoryLockGuard<'static, PoolConnection<Postgres>>;

    async fn acquire(&self) -> Self::Held {
        let connection = self.pool.acquire().await.expect("the server is up");
        self.lock.acquire(connection).await.expect("the server is up")
    }

    async fn release(&self, held: Self::Held) {
        held.release_now().await.expect("the server is up");
    }
}

/// distributed-lock-postgres.
pub struct DistributedPostgres(PostgresDistributedLock);

impl DistributedPostgres {
    /// A provider for all locks of one contender.
    pub async fn provider(url: &str, connections: u32) -> Arc<PostgresLockProvider> {
        let pool = Sqlx::pool(url, connections).await;
        let provider = PostgresLockProvider::builder().pool(pool).build().await;
        Arc::new(provider.expect("the server is up"))
    }

    pub fn new(provider: &PostgresLockProvider, key: &str) -> Self {
        Self(provider.create_lock(key))
    }
}

impl Lockable for DistributedPostgres {
    type Held = PostgresLockHandle;

    async fn acquire(&self) -> PostgresLockHandle {
        self.0.acquire(None).await.expect("the server is up")
    }

    async fn release(&self, held: PostgresLockHandle) {
        held.release().await.expect("the server is up");
    }
}
