//! What a server says on a connection that is the caller's own.

use lock_proto::postgres::{Answer, Reply};
use lock_proto::{FaultKind, LockError};
use tokio_postgres::{Error, SimpleQueryMessage, SimpleQueryRow};

use super::fault::fault_of;
use super::statement::verdict;

/// What came of a simple query, for [`Own`](lock_proto::postgres::Own).
pub fn heard(answer: Result<Vec<SimpleQueryMessage>, Error>) -> Answer {
    match answer {
        Ok(messages) => {
            let last = messages.iter().rev().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                SimpleQueryMessage::CommandComplete(_)
                | SimpleQueryMessage::RowDescription(_)
                | _ => None,
            });
            Answer::Done(last.map_or_else(Vec::new, texts))
        }
        Err(error) => match verdict(&error) {
            Some(Reply::Expired) => Answer::Expired,
            Some(Reply::Deadlock(detail)) => Answer::Deadlock(detail),
            Some(_) | None => Answer::Failed(failure(error)),
        },
    }
}

fn texts(row: &SimpleQueryRow) -> Vec<Option<String>> {
    (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()
}

fn failure(error: Error) -> LockError {
    let fault = fault_of(error);
    if fault.kind() == FaultKind::Refused {
        LockError::Backend(fault)
    } else {
        LockError::Connection(fault)
    }
}
