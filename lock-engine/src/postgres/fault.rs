//! What is known of a statement, by the error that came instead of its answer.

use std::error::Error as _;
use std::io;

use lock_proto::Fault;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// The code of what the server answered, if it did.
pub(crate) fn sql_state(error: &Error) -> Option<&SqlState> {
    error.code()
}

/// Sorts an error that a statement ended with.
///
/// Its text is what the server or the operating system said, and the crate's own fixed words; what
/// was sent, passwords among it, is never in it.
pub(crate) fn fault_of(error: Error) -> Fault {
    match error.as_db_error() {
        Some(answer) => {
            let ended = matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
            let fault = if ended {
                Fault::unknown(format!("the PostgreSQL session was ended: {}", advice(answer)))
            } else {
                Fault::refused(advice(answer))
            };
            with_cause(fault, error)
        }
        None => with_cause(
            Fault::unknown("the connection to PostgreSQL was lost before it answered"),
            error,
        ),
    }
}

/// Sorts an error that a connection did not come about with: nothing was asked on it.
pub(super) fn not_connected(error: Error) -> Fault {
    let Some(answer) = error.as_db_error() else {
        let fault = match error.to_string().as_str() {
            // The crate shows its kinds of errors by their text alone.
            "error performing TLS handshake" => Fault::refused(
                "no TLS with the server: check sslmode, sslrootcert and the server's certificate",
            ),
            "invalid configuration" => {
                Fault::refused("the server wants a password, and the connection string has none")
            }
            "authentication error" => Fault::refused(
                "the server wants a login that is not known here, or fails to prove itself",
            ),
            _ => Fault::not_sent(
                "the server closed the connection, or is no PostgreSQL: check host and port, and \
                 the server's log",
            ),
        };
        return with_cause(fault, error);
    };
    let fault = if is_passing(answer.code()) { Fault::not_sent } else { Fault::refused };
    with_cause(fault(advice(answer).to_owned()), error)
}

/// Whether the server may let somebody in a moment later.
fn is_passing(code: &SqlState) -> bool {
    [
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::OUT_OF_MEMORY,
    ]
    .contains(code)
}

/// What to do about it.
fn advice(answer: &DbError) -> &'static str {
    let code = answer.code();
    let found = ADVICE.iter().find(|(known, _)| *known == code.code());
    match found {
        Some((_, advice)) => advice,
        None if answer.message().contains("startup parameter") => {
            "the pooler doesn't let options through: take them out of the connection string, or \
             see ignore_startup_parameters of PgBouncer"
        }
        None => "the PostgreSQL server refused the statement",
    }
}

const LOGIN: &str = "the PostgreSQL server lets nobody in with these credentials: check user and \
                     password, and pg_hba.conf of the server";
const ENDED: &str = "the server ended it: it shuts down, or an administrator asked it to";

/// [What the codes mean](https://www.postgresql.org/docs/current/errcodes-appendix.html).
const ADVICE: [(&str, &str); 15] = [
    ("28P01", LOGIN),
    ("28000", LOGIN),
    ("3D000", "there is no such database: check the name after the slash, or dbname"),
    (
        "53300",
        "the PostgreSQL server has no connection left: see its max_connections, and the limits of \
         the role and the database",
    ),
    (
        "53200",
        "the PostgreSQL server has no room for another lock: raise its max_locks_per_transaction, \
         or hold fewer locks at a time",
    ),
    (
        "57P03",
        "the PostgreSQL server starts up, shuts down or recovers: it takes no statements yet",
    ),
    ("57P01", ENDED),
    ("57P02", "the PostgreSQL server restarts because a process of its crashed"),
    ("57P05", "it was idle for longer than idle_session_timeout allows: see keepalive_cadence"),
    ("25P03", "its transaction was idle for longer than idle_in_transaction_session_timeout"),
    ("57014", "the statement was cancelled: by an administrator, or by a statement_timeout"),
    ("25P02", "an earlier error has aborted the transaction: roll it back"),
    ("42501", "the PostgreSQL role may not do this: see GRANT"),
    ("25006", "the PostgreSQL server is read-only: name the primary"),
    ("40P01", "the wait would never have ended, and the server ended it"),
];

/// The server's own words tell more than the crate's around them.
fn with_cause(fault: Fault, error: Error) -> Fault {
    if error.source().is_none() {
        return fault.with_cause(error);
    }
    match error.into_source().map(|cause| cause.downcast::<DbError>()) {
        Some(Ok(answer)) => fault.with_cause(*answer),
        Some(Err(cause)) => fault.with_cause(io::Error::other(cause)),
        None => fault,
    }
}
