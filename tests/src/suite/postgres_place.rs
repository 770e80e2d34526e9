//! The PostgreSQL server on which the columns run: one for all tests of a process, each column with
//! a database of its own, where nobody else locks anything.

use std::sync::{LazyLock, Mutex, PoisonError};

use super::adapters::Backend;
use crate::postgres::{PgBouncer, PoolMode, PostgresOptions, PostgresServer, USER};
use crate::redis::eventually;

/// Enough for every test that runs at once.
const CONNECTIONS: u32 = 600;

static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| PostgresOptions::new().with_max_connections(CONNECTIONS).start());
static POOL: LazyLock<PgBouncer> =
    LazyLock::new(|| PgBouncer::start(&SERVER, PoolMode::Transaction, CONNECTIONS / 4));
/// The databases that no column has.
static FREE: Mutex<Databases> = Mutex::new(Databases { names: Vec::new(), made: 0 });

struct Databases {
    names: Vec<String>,
    made: usize,
}

/// Where the locks of one column are.
#[derive(Debug)]
pub(super) struct PostgresPlace {
    pub(super) url: String,
    pub(super) multiplexing: bool,
    pub(super) transaction_scope: bool,
    database: String,
}

impl PostgresPlace {
    /// A database without locks on the server of `backend`; `None` if it has none.
    pub(super) fn new(backend: Backend) -> Option<Self> {
        if !backend.is_postgres() {
            return None;
        }
        let database = free_database();
        let pooled = backend == Backend::PostgresPooled;
        let url =
            if pooled { POOL.url_for(USER, &database) } else { SERVER.url_for(USER, &database) };
        Some(Self {
            url,
            multiplexing: backend == Backend::PostgresShared,
            transaction_scope: backend.is_transaction(),
            database,
        })
    }
}

/// Whoever is still connected is thrown out, so that the database is like new.
impl Drop for PostgresPlace {
    fn drop(&mut self) {
        let there = format!("from pg_stat_activity where datname = '{}'", self.database);
        eventually("a database that everybody has left", || {
            SERVER
                .psql(&format!("select pg_terminate_backend(pid) {there}"))
                .is_empty()
                .then_some(())
        });
        databases(|free| free.names.push(std::mem::take(&mut self.database)));
    }
}

fn free_database() -> String {
    let found = databases(|free| {
        free.made += usize::from(free.names.is_empty());
        free.names.pop().ok_or(free.made)
    });
    found.unwrap_or_else(|number| {
        let name = format!("column{number}");
        SERVER.psql(&format!("create database {name}"));
        name
    })
}

fn databases<R>(change: impl FnOnce(&mut Databases) -> R) -> R {
    change(&mut FREE.lock().unwrap_or_else(PoisonError::into_inner))
}
