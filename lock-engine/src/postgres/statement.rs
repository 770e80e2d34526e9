//! The statements about locks of a session's scope.

use std::sync::OnceLock;
use std::time::Duration;

use lock_proto::postgres::{AdvisoryKey, Mode, Permits, Reply, Subject, Verb};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, SimpleQueryMessage, Statement};

use super::connect::Lifetime;
use super::fault::sql_state;
use super::orders::Question;
use super::{permits, transaction};

/// A fencing token: the timeline of the server's log, which rises with each promotion, before the
/// number of the transaction. The message has the commit wait until the log is on disk, whatever
/// `synchronous_commit` says: the number of a transaction that left nothing there may be given out
/// again after a crash.
const MINT: &str = "(select (('x' || substr(pg_catalog.pg_walfile_name(lsn), 1, 8))\
    ::bit(32)::bigint << 48) | pg_catalog.txid_current() \
    from (select pg_catalog.pg_logical_emit_message(true, 'dlock', '') as lsn, \
    case when pg_catalog.current_setting('synchronous_commit') = 'off' \
    then pg_catalog.set_config('synchronous_commit', 'local', true) end as kept) as written)";

/// What is asked alike in one provider, and prepared once in one session.
pub(super) struct Statements {
    lifetime: Lifetime,
    fencing: bool,
    prepared: [OnceLock<Statement>; 19],
}

/// What one statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Try,
    /// For ever, as is the `lock_timeout` of the session.
    Wait,
    WaitWithin,
    Unlock,
}

/// One statement of a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Lock { kind: Kind, mode: Mode, pair: bool },
    Take,
    GiveBack,
    GiveAllBack,
}

pub(super) type Values<'a> = Vec<&'a (dyn ToSql + Sync)>;

impl Statements {
    pub(super) fn new(lifetime: Lifetime, fencing: bool) -> Self {
        Self { lifetime, fencing, prepared: [const { OnceLock::new() }; 19] }
    }

    /// Asks for one command that is a statement.
    pub(super) async fn ask(&self, client: &Client, question: &Question) -> Result<Reply, Error> {
        let verb = question.command.verb;
        match (&question.command.subject, self.lifetime) {
            (Subject::Lock(key, mode), Lifetime::Session) => {
                self.ask_lock(client, *key, *mode, verb).await
            }
            (Subject::Lock(key, mode), Lifetime::Transaction) => {
                transaction::ask(client, *key, *mode, verb).await
            }
            (Subject::Permits(permits), _) => {
                self.ask_permits(client, permits, &question.beside, verb).await
            }
        }
    }

    async fn ask_permits(
        &self,
        client: &Client,
        permits: &Permits,
        beside: &[u32],
        verb: Verb,
    ) -> Result<Reply, Error> {
        match Kind::of(verb) {
            Kind::Try => permits::take(self, client, permits, beside).await,
            Kind::Wait | Kind::WaitWithin => {
                permits::listen(client, permits).await?;
                self.ask_lock(client, permits.keys.gate(), Mode::Exclusive, verb).await
            }
            Kind::Unlock => permits::give_back(self, client, permits, beside).await,
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
        if let Verb::Wait { limit: Some(within) } = verb {
            limit = milliseconds(Some(within)).to_string();
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
        self.read(kind, mode, row)
    }

    /// What the row of an answer says. The result of `pg_advisory_lock` is nothing, and not read.
    fn read(&self, kind: Kind, mode: Mode, row: &Row) -> Result<Reply, Error> {
        let fencing = self.fencing && mode == Mode::Exclusive;
        let fence = |column| -> Result<Option<u64>, Error> {
            Ok(row.try_get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
        };
        Ok(match kind {
            Kind::Unlock => Reply::Unlocked(row.try_get(0)?),
            Kind::Wait if fencing => Reply::Granted { fence: fence(1)? },
            Kind::WaitWithin if fencing => Reply::Granted { fence: fence(2)? },
            Kind::Wait | Kind::WaitWithin => Reply::Granted { fence: None },
            Kind::Try if fencing => {
                fence(0)?.map_or(Reply::Busy, |fence| Reply::Granted { fence: Some(fence) })
            }
            Kind::Try if row.try_get(0)? => Reply::Granted { fence: None },
            Kind::Try => Reply::Busy,
        })
    }

    pub(super) async fn query(
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
            Verb::Wait { limit: None } => Self::Wait,
            Verb::Wait { limit: Some(_) } => Self::WaitWithin,
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
            Self::Take => 16,
            Self::GiveBack => 17,
            Self::GiveAllBack => 18,
        }
    }

    fn text(self, fencing: bool) -> String {
        let (kind, mode, pair) = match self {
            Self::Lock { kind, mode, pair } => (kind, mode, pair),
            Self::Take => return permits::TAKE.to_owned(),
            Self::GiveBack => return permits::giving_back(permits::OURS),
            Self::GiveAllBack => return permits::giving_back(permits::ALL_BUT),
        };
        let fencing = fencing && mode == Mode::Exclusive;
        let suffix = suffix(mode);
        let mint = if fencing { format!(", {MINT}") } else { String::new() };
        let first = if kind == Kind::WaitWithin { 2 } else { 1 };
        let key = if pair { format!("${first}, ${}", first + 1) } else { format!("${first}") };
        let tried = format!("pg_catalog.pg_try_advisory_lock{suffix}({key})");
        match kind {
            Kind::Try if fencing => format!("select case when {tried} then {MINT} end"),
            Kind::Try => format!("select {tried}"),
            Kind::Wait => format!("select pg_catalog.pg_advisory_lock{suffix}({key}){mint}"),
            Kind::WaitWithin => format!(
                "select pg_catalog.set_config('lock_timeout', $1, true), \
                 pg_catalog.pg_advisory_lock{suffix}({key}){mint}"
            ),
            Kind::Unlock => format!("select pg_catalog.pg_advisory_unlock{suffix}({key})"),
        }
    }
}

/// Whether a lock that this session is not inside could be shared, now.
pub(super) async fn probed(client: &Client, key: AdvisoryKey) -> Result<bool, Error> {
    let text = format!("select pg_catalog.pg_try_advisory_xact_lock_shared({})", arguments(key));
    let messages = client.simple_query(&text).await?;
    Ok(messages.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => false,
    }))
}

/// A key, as the functions of the server take it. In quotes: without them the smallest number is
/// one with a minus before it that is too great for its type.
pub(super) fn arguments(key: AdvisoryKey) -> String {
    match key {
        AdvisoryKey::Single(key) => format!("bigint '{key}'"),
        AdvisoryKey::Pair(first, second) => format!("int '{first}', int '{second}'"),
    }
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

/// `lock_timeout`, where 0 is for ever: never less than the limit.
pub(super) fn milliseconds(limit: Option<Duration>) -> u128 {
    limit.map_or(0, |limit| limit.as_nanos().div_ceil(1_000_000).max(1))
}

/// What the functions of a mode are called besides.
pub(super) fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "",
        Mode::Shared => "_shared",
    }
}
