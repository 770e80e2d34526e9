//! The statements about locks of a transaction's scope.
//!
//! In plain text, and with nothing that a pooler between us and the server would have to remember.

use lock_proto::postgres::{AdvisoryKey, Mode, Reply, Verb};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::statement::{arguments, milliseconds, suffix};

/// Nothing but the lock's own time-out may end the transaction. Servers before 17 don't know all
/// that could.
pub(super) const BEGIN: &str = "begin; \
    select pg_catalog.set_config('transaction_timeout', '0', true) \
    where pg_catalog.current_setting('transaction_timeout', true) is not null; \
    set local statement_timeout = 0; \
    set local idle_in_transaction_session_timeout = 0; set local lock_timeout = ";

/// Asks for one command that is a statement.
pub(super) async fn ask(
    client: &Client,
    key: AdvisoryKey,
    mode: Mode,
    verb: Verb,
) -> Result<Reply, Error> {
    let (suffix, key) = (suffix(mode), arguments(key));
    let text = match verb {
        Verb::Try => {
            format!("{BEGIN}0; select pg_catalog.pg_try_advisory_xact_lock{suffix}({key})")
        }
        Verb::Wait { limit } => format!(
            "{BEGIN}{}; select pg_catalog.pg_advisory_xact_lock{suffix}({key}); select true",
            milliseconds(limit)
        ),
        Verb::Unlock | Verb::Cancel | Verb::Close => {
            client.batch_execute("rollback").await?;
            return Ok(Reply::Unlocked(true));
        }
    };
    let messages = client.simple_query(&text).await?;
    // The last row counts: that of the wait says nothing.
    let last = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    });
    if last.is_some_and(|row| row.get(0) == Some("t")) {
        return Ok(Reply::Granted { fence: None });
    }
    client.batch_execute("rollback").await?;
    Ok(Reply::Busy)
}
