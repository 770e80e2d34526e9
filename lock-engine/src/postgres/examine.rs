//! Asks a server, and the way to it, what the doctor wants to know.

use std::future::Future;
use std::sync::Arc;

use lock_proto::postgres::{EXAMINED, Fact, Finding, Reading, Scope, Usage, examine};
use lock_proto::{Fault, LockError};
use tokio_postgres::{Client, Error};

use super::connect::{Connected, Line, connect, drive};
use super::fault::{fault_of, sql_state};
use super::link::PostgresLink;
use super::network::{Network, within};
use super::orders::Rows;
use super::session::rows;
use super::setup::PostgresPlan;
use super::{Postgres, transaction};
use crate::Pending;
use crate::engine::Engine;

/// Who serves a statement: processes may share a number one after another, and on two machines.
const SESSION: &str = "select pid || ' since ' || (extract(epoch from backend_start) * 1000000)\
    ::bigint from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid()";

/// How often two statements are asked in a row. A pooler that others keep busy may give a connection
/// the same session again by chance: of 900 examinations, 2 looks missed it in 11, and 8 in none.
const LOOKS: usize = 8;

/// What the server is, and what it has room for, as rows like those of its settings.
const FACTS: &str = "\
    select 'in_recovery', pg_catalog.pg_is_in_recovery()::text, null, null \
    union all select 'client_address', pg_catalog.host(pg_catalog.inet_client_addr()), null, null \
    union all select 'locks', (select pg_catalog.count(*) from pg_catalog.pg_locks \
    where not fastpath)::text, null, null \
    union all select 'role_connections', (select rolconnlimit from pg_catalog.pg_roles \
    where rolname = session_user)::text, null, null \
    union all select 'database_connections', (select datconnlimit from pg_catalog.pg_database \
    where datname = pg_catalog.current_database())::text, null, null";

impl Postgres {
    /// Says what is wrong with the server, and with the way to it.
    ///
    /// The answer is an error if the server can't be asked.
    pub fn examine(&self) -> Pending<Result<Vec<Finding>, LockError>> {
        let (promise, pending) = Pending::promised();
        let examination = Examination {
            engine: Arc::clone(&self.engine),
            plan: Arc::clone(&self.plan),
            network: Arc::clone(&self.network),
        };
        self.network.spawn(Box::pin(async move {
            promise.keep(examination.findings().await.map_err(LockError::Connection));
        }));
        pending
    }
}

struct Examination {
    engine: Arc<Engine<PostgresLink>>,
    plan: Arc<PostgresPlan>,
    network: Arc<dyn Network>,
}

impl Examination {
    async fn findings(&self) -> Result<Vec<Finding>, Fault> {
        let plan = &self.plan;
        let scope = if plan.transaction_scope { Scope::Transaction } else { Scope::Session };
        let mut usage = Usage::new(scope, plan.max_connections);
        usage.keepalive = plan.keepalive_cadence;
        let hosts: Vec<String> = plan.targets.hosts.iter().map(ToString::to_string).collect();
        let reading = self.read(Reading::new(&hosts.join(", "))).await?;
        Ok(examine(&usage, &reading))
    }

    /// A connection like those of the pool is made for this, because it must stay the same and hold
    /// nothing; only if none can be had, one of the pool tells what it can.
    async fn read(&self, reading: Reading) -> Result<Reading, Fault> {
        let plan = &self.plan;
        match connect(&plan.targets, &self.network, plan.lifetime(), plan.connect_timeout).await {
            Ok(Connected { client, connection, .. }) => {
                self.look(Probe { client, line: connection }, reading).await
            }
            // Whoever gives none, and does not answer either, is not there.
            Err(fault) => match self.ask_pool(facts()).await {
                Ok(rows) => Ok(with_facts(reading, &rows).with_no_connection(fault)),
                Err(_) => Err(fault),
            },
        }
    }

    /// The first two statements come in a row: a pooler that hands out its sessions in turn would
    /// give a connection always the same one if two connections took turns.
    async fn look(&self, mut probe: Probe, mut reading: Reading) -> Result<Reading, Fault> {
        for beside in [false, true].repeat(LOOKS) {
            let own = self.in_time(probe.ask(SESSION)).await?;
            if let Some(own) = first(&own) {
                reading = reading.with_own_session(own);
            }
            if beside {
                // When all connections of the pool wait for locks, none answers.
                let other = self.ask_pool(SESSION.to_owned()).await.unwrap_or_default();
                if let Some(other) = first(&other) {
                    reading = reading.with_other_session(other);
                }
            }
        }
        let in_transaction = self.plan.transaction_scope;
        if !in_transaction {
            reading = with_facts(reading, &self.in_time(probe.ask(&facts())).await?);
        }
        // Whoever knows no transactions hangs up at that.
        if !self.in_time(probe.begin()).await? {
            return Ok(reading.with_refused_transaction());
        }
        if in_transaction {
            reading = with_facts(reading, &self.in_time(probe.ask(&facts())).await?);
        }
        self.in_time(probe.ask("rollback")).await?;
        Ok(reading)
    }

    async fn ask_pool(&self, text: String) -> Result<Rows, Fault> {
        self.in_time(self.engine.link().ask(text, self.engine.clock().now())).await
    }

    /// A round trip takes no longer than making a connection may.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let limit = self.plan.connect_timeout;
        within(&*self.network, limit, work).await.unwrap_or_else(|| {
            Err(Fault::unknown(format!("the PostgreSQL server did not answer within {limit:?}")))
        })
    }
}

/// A connection that is made to look at the server, and closed with its value.
struct Probe {
    client: Client,
    line: Line,
}

impl Probe {
    async fn ask(&mut self, text: &str) -> Result<Rows, Fault> {
        let asked = self.client.simple_query(text);
        drive(&mut self.line, asked).await?.map(|messages| rows(&messages)).map_err(fault_of)
    }

    /// Begins a transaction like those that hold locks; whether there is such a thing.
    async fn begin(&mut self) -> Result<bool, Fault> {
        let text = format!("{}0", transaction::BEGIN);
        match drive(&mut self.line, self.client.batch_execute(&text)).await? {
            Ok(()) => Ok(true),
            Err(error) if refuses(&error) => Ok(false),
            Err(error) => Err(fault_of(error)),
        }
    }
}

/// Whether it is the statement that is refused: a server that shuts down would refuse any.
fn refuses(error: &Error) -> bool {
    sql_state(error).is_some_and(|state| !state.code().starts_with("57"))
}

fn facts() -> String {
    let names = EXAMINED.join("', '");
    format!(
        "select name, setting, reset_val, unit from pg_catalog.pg_settings \
         where name in ('{names}') union all {FACTS}"
    )
}

fn with_facts(mut reading: Reading, rows: &Rows) -> Reading {
    for row in rows {
        let [Some(name), Some(value), configured, unit] = row.as_slice() else { continue };
        let mut fact = Fact::new(name, value);
        if let Some(configured) = configured {
            fact = fact.with_configured(configured);
        }
        if let Some(unit) = unit {
            fact = fact.with_unit(unit);
        }
        reading = reading.with_fact(fact);
    }
    reading
}

/// The only thing that was asked for.
fn first(rows: &Rows) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}
