//! The statements about locks of a session's scope.

use std::sync::OnceLock;
use std::time::Duration;

use lock_proto::postgres::{AdvisoryKey, Command, Mode, Permits, Reply, Subject, Verb};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::connect::Lifetime;
use super::fault::sql_state;
use super::transaction;

/// A fencing token: the timeline of the server's log, which rises with each promotion, before the
/// number of the transaction. The message has the commit wait until the log is on disk: the number
/// of a transaction that has written nothing may be given out again after a crash.
pub(super) const MINT: &str = "(select (('x' || substr(pg_catalog.pg_walfile_name(lsn), 1, 8))\
    ::bit(32)::bigint << 48) | pg_catalog.txid_current() \
    from pg_catalog.pg_logical_emit_message(true, 'dlock', '') as lsn)";
/// Takes permits: `$2` of the locks `$1`, all or none unless `$3`, inside the gate `$4`, which is
/// given back with the last.
const TAKE: &str = "with open as materialized (
        select $3 or pg_catalog.pg_try_advisory_xact_lock_shared($4) as free),
    took as materialized (
        select slot.key, slot.n from open, unnest($1::bigint[]) with ordinality as slot(key, n)
        where case when open.free then pg_catalog.pg_try_advisory_lock(slot.key) else false end
        limit $2),
    kept as materialized (
        select $3 or count(*) >= $2 as keeps,
        case when $3 and count(*) >= $2 then pg_catalog.pg_advisory_unlock($4) end as left
        from took)
    select took.n, kept.left, case when kept.keeps then false
        else pg_catalog.pg_advisory_unlock(took.key) end as back from took, kept";
/// Gives the locks `$1` back, and the gate `$2` if `$3`; tells whoever is inside it.
const GIVE_BACK: &str = "with back as materialized (
        select count(*) filter (where pg_catalog.pg_advisory_unlock(key)) as n
        from unnest($1::bigint[]) as key),
    gate as materialized (
        select back.n, case when $3 then pg_catalog.pg_advisory_unlock($2) end as left from back)
    select gate.n, gate.left, case when not pg_catalog.pg_try_advisory_xact_lock_shared($2)
        then pg_catalog.pg_notify($4, '') end as told from gate";

/// What is asked alike in one provider, and prepared once in one session.
pub(super) struct Statements {
    lifetime: Lifetime,
    fencing: bool,
    prepared: [OnceLock<Statement>; 14],
}

/// What one statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Try,
    Wait,
    Unlock,
}

/// One statement of a session.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Lock { kind: Kind, mode: Mode, pair: bool },
    Take,
    GiveBack,
}

type Values<'a> = Vec<&'a (dyn ToSql + Sync)>;

impl Statements {
    pub(super) fn new(lifetime: Lifetime, fencing: bool) -> Self {
        Self { lifetime, fencing, prepared: [const { OnceLock::new() }; 14] }
    }

    /// Asks for one command that is a statement.
    pub(super) async fn ask(&self, client: &Client, command: &Command) -> Result<Reply, Error> {
        match (&command.subject, self.lifetime) {
            (Subject::Lock(key, mode), Lifetime::Session) => {
                self.ask_lock(client, *key, *mode, command.verb).await
            }
            (Subject::Lock(key, mode), Lifetime::Transaction) => {
                transaction::ask(client, *key, *mode, command.verb, self.fencing).await
            }
            (Subject::Permits(permits), _) => self.ask_permits(client, permits, command.verb).await,
        }
    }

    async fn ask_lock(
        &self,
        client: &Client,
        key: AdvisoryKey,
        mode: Mode,
        verb: Verb,
    ) -> Result<Reply, Error> {
        let kind = Kind::of(verb);
        let pair = matches!(key, AdvisoryKey::Pair(..));
        let limit;
        let mut values = Values::with_capacity(3);
        if let Verb::Wait { limit: within } = verb {
            limit = milliseconds(within).to_string();
            values.push(&limit);
        }
        match &key {
            AdvisoryKey::Single(key) => values.push(key),
            AdvisoryKey::Pair(first, second) => {
                values.push(first);
                values.push(second);
            }
        }
        let rows = self.query(client, Shape::Lock { kind, mode, pair }, &values).await?;
        let Some(row) = rows.first() else { return Ok(Reply::Done) };
        self.read(kind, row)
    }

    /// What the row of an answer says. The result of `pg_advisory_lock` is nothing, and not read.
    fn read(&self, kind: Kind, row: &Row) -> Result<Reply, Error> {
        let fence = |column| -> Result<Option<u64>, Error> {
            Ok(row.try_get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
        };
        Ok(match kind {
            Kind::Unlock => Reply::Unlocked(row.try_get(0)?),
            Kind::Wait if self.fencing => Reply::Granted { fence: fence(2)? },
            Kind::Wait => Reply::Granted { fence: None },
            Kind::Try if self.fencing => {
                fence(0)?.map_or(Reply::Busy, |fence| Reply::Granted { fence: Some(fence) })
            }
            Kind::Try if row.try_get(0)? => Reply::Granted { fence: None },
            Kind::Try => Reply::Busy,
        })
    }

    async fn ask_permits(
        &self,
        client: &Client,
        permits: &Permits,
        verb: Verb,
    ) -> Result<Reply, Error> {
        let gate = permits.keys.permit(0);
        let channel = permits.keys.channel();
        match Kind::of(verb) {
            Kind::Try => {
                let free = |number: &u32| !permits.ours.contains(number);
                let numbers: Vec<u32> = (1..=permits.keys.limit()).filter(free).collect();
                let locks = locks(permits, &numbers);
                let wanted = i64::from(permits.wanted);
                let values: Values<'_> = vec![&locks, &wanted, &permits.inside, &gate];
                let rows = self.query(client, Shape::Take, &values).await?;
                if !permits.inside && rows.len() < permits.wanted as usize {
                    return Ok(Reply::Busy);
                }
                let mut took = Vec::with_capacity(rows.len());
                for row in &rows {
                    let place = usize::try_from(row.try_get::<_, i64>(0)? - 1).ok();
                    took.extend(place.and_then(|place| numbers.get(place)));
                }
                Ok(Reply::Took(took))
            }
            Kind::Wait => {
                // Whoever is inside must hear of every permit that comes back.
                client.batch_execute(&format!("listen {channel}")).await?;
                let gate = permits.keys.gate();
                self.ask_lock(client, gate, Mode::Exclusive, verb).await
            }
            Kind::Unlock => {
                let locks = locks(permits, &permits.ours);
                let values: Values<'_> = vec![&locks, &gate, &permits.inside, &channel];
                let rows = self.query(client, Shape::GiveBack, &values).await?;
                let Some(row) = rows.first() else { return Ok(Reply::Done) };
                let back: i64 = row.try_get(0)?;
                Ok(Reply::Unlocked(usize::try_from(back) == Ok(locks.len())))
            }
        }
    }

    async fn query(
        &self,
        client: &Client,
        shape: Shape,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let cell = &self.prepared[shape.place()];
        let statement = match cell.get() {
            Some(statement) => statement,
            None => {
                let statement = client.prepare(&shape.text(self.fencing)).await?;
                cell.get_or_init(|| statement)
            }
        };
        client.query(statement, values).await
    }
}

impl Kind {
    /// The statement of a verb that is one.
    fn of(verb: Verb) -> Self {
        match verb {
            Verb::Try => Self::Try,
            Verb::Wait { .. } => Self::Wait,
            Verb::Unlock | Verb::Cancel | Verb::Close => Self::Unlock,
        }
    }
}

impl Shape {
    /// Which of the prepared statements it is.
    fn place(self) -> usize {
        match self {
            Self::Lock { kind, mode, pair } => {
                kind as usize * 4 + usize::from(mode == Mode::Shared) * 2 + usize::from(pair)
            }
            Self::Take => 12,
            Self::GiveBack => 13,
        }
    }

    fn text(self, fencing: bool) -> String {
        let Self::Lock { kind, mode, pair } = self else {
            return if let Self::Take = self { TAKE } else { GIVE_BACK }.to_owned();
        };
        let suffix = suffix(mode);
        let first = if kind == Kind::Wait { 2 } else { 1 };
        let key = if pair { format!("${first}, ${}", first + 1) } else { format!("${first}") };
        let tried = format!("pg_catalog.pg_try_advisory_lock{suffix}({key})");
        match kind {
            Kind::Try if fencing => format!("select case when {tried} then {MINT} end"),
            Kind::Try => format!("select {tried}"),
            Kind::Wait => {
                let mint = if fencing { format!(", {MINT}") } else { String::new() };
                format!(
                    "select pg_catalog.set_config('lock_timeout', $1, true), \
                     pg_catalog.pg_advisory_lock{suffix}({key}){mint}"
                )
            }
            Kind::Unlock => format!("select pg_catalog.pg_advisory_unlock{suffix}({key})"),
        }
    }
}

fn locks(permits: &Permits, numbers: &[u32]) -> Vec<i64> {
    numbers.iter().map(|number| permits.keys.permit(*number)).collect()
}

/// What a refusal says about the lock, if it says anything.
pub(super) fn verdict(error: &Error) -> Option<Reply> {
    let state = sql_state(error)?;
    if *state == SqlState::LOCK_NOT_AVAILABLE {
        Some(Reply::Expired)
    } else if *state == SqlState::QUERY_CANCELED {
        Some(Reply::Cancelled)
    } else if *state == SqlState::T_R_DEADLOCK_DETECTED {
        let error = error.as_db_error()?;
        let detail = error.detail().unwrap_or_else(|| error.message());
        Some(Reply::Deadlock(detail.replace('\n', " ")))
    } else {
        None
    }
}

/// `lock_timeout`, where 0 is for ever.
pub(super) fn milliseconds(limit: Option<Duration>) -> u128 {
    limit.map_or(0, |limit| limit.as_millis().max(1))
}

/// What the functions of a mode are called besides.
pub(super) fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "",
        Mode::Shared => "_shared",
    }
}
