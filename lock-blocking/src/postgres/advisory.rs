//! Locks on a connection that is the caller's own.

use std::thread;
use std::time::Duration;

use lock_engine::postgres::heard;
use lock_proto::postgres::{AdvisoryKey, Answer, Ground, Mode, Own, Turn};
use lock_proto::{LockError, LockName};
use postgres::{Client, Transaction};

/// A lock on PostgreSQL that is taken on a connection of your own, or in a transaction on it.
///
/// It excludes, and is excluded by, the lock of its name of any
/// [`PostgresLockProvider`](crate::PostgresLockProvider), and whoever calls `pg_advisory_lock` with
/// its [`key`](Self::key). There is no handle: a lock [in a transaction](Self::acquire_in) ends with
/// the transaction and not before; a lock [on a session](Self::acquire_on) is yours to
/// [release](Self::release_on), and ends with the connection. When you notice that the connection is
/// lost, the lock is.
///
/// To the server, one connection is one holder, and would be let in again. A lock that the
/// connection holds already is therefore refused: at once, if it is tried; after the time-out,
/// which can't help; with [`LockError::Deadlock`], if the wait were for ever.
///
/// ```no_run
/// use lock_blocking::{LockError, PostgresAdvisoryLock};
///
/// # fn example(client: &mut postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let lock = PostgresAdvisoryLock::new("orders")?;
/// let mut transaction = client.transaction()?;
/// lock.acquire_in(&mut transaction, None)?;
/// transaction.batch_execute("update orders set sent = true")?;
/// // Makes the work visible and frees the lock at the same moment.
/// transaction.commit()?;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// Nothing here panics but the `postgres` crate itself, which has a runtime in each client: on a
/// thread of a tokio runtime, use it in `spawn_blocking` or `block_in_place` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PostgresAdvisoryLock {
    key: AdvisoryKey,
    mode: Mode,
}

impl PostgresAdvisoryLock {
    /// The lock that providers call `name`.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if nothing can be called so.
    pub fn new(name: &str) -> Result<Self, LockError> {
        let name = LockName::new(name)?;
        Ok(Self::from_key(AdvisoryKey::from_name(name.as_str())))
    }

    /// The lock that the server knows by `key`.
    #[must_use]
    pub fn from_key(key: AdvisoryKey) -> Self {
        Self { key, mode: Mode::Exclusive }
    }

    /// The same lock as a reader has it: together with other readers, and with no writer.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { mode: Mode::Shared, ..self }
    }

    /// What the server knows it by.
    #[must_use]
    pub fn key(&self) -> AdvisoryKey {
        self.key
    }

    /// Acquires the lock until the transaction ends, and waits at most `timeout` for it, or for
    /// ever.
    ///
    /// Whatever comes of it, the transaction goes on: a time-out does not abort it, and its
    /// `lock_timeout` and `statement_timeout` are what they were. A free lock takes two round
    /// trips. Rolling back to a savepoint that was set before frees the lock, too.
    ///
    /// A transaction that reads everything as of one moment (`repeatable read`, `serializable`)
    /// does so as of the first statement, and this is one: what the holder before wrote may be
    /// later, and unseen. Take such a lock on the session, before the transaction begins.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`] if somebody else had it all the time; [`LockError::Deadlock`] if a
    /// holder waits for this transaction, which should then be rolled back; any other error if it
    /// could not be asked for.
    pub fn acquire_in(
        &self,
        transaction: &mut Transaction<'_>,
        timeout: Option<Duration>,
    ) -> Result<(), LockError> {
        self.acquire(Ground::Transaction, timeout, |text| heard(transaction.simple_query(text)))
    }

    /// Acquires the lock until the transaction ends, if nobody has it.
    ///
    /// # Errors
    ///
    /// If it could not be asked for. That somebody has it is no error, but `false`.
    pub fn try_acquire_in(&self, transaction: &mut Transaction<'_>) -> Result<bool, LockError> {
        tried(self.acquire_in(transaction, Some(Duration::ZERO)))
    }

    /// Acquires the lock until it is [released](Self::release_on) or the connection ends, and waits
    /// at most `timeout` for it, or for ever.
    ///
    /// Transactions on the connection, also one that is open meanwhile, have no say in it. Behind a
    /// pooler that gives each transaction another connection, take the lock in a transaction
    /// instead.
    ///
    /// # Errors
    ///
    /// As [`acquire_in`](Self::acquire_in).
    pub fn acquire_on(
        &self,
        client: &mut Client,
        timeout: Option<Duration>,
    ) -> Result<(), LockError> {
        self.acquire(Ground::Session, timeout, |text| heard(client.simple_query(text)))
    }

    /// Acquires the lock until it is [released](Self::release_on) or the connection ends, if nobody
    /// has it.
    ///
    /// # Errors
    ///
    /// If it could not be asked for. That somebody has it is no error, but `false`.
    pub fn try_acquire_on(&self, client: &mut Client) -> Result<bool, LockError> {
        tried(self.acquire_on(client, Some(Duration::ZERO)))
    }

    /// Releases the lock that was acquired [on](Self::acquire_on) the same client.
    ///
    /// # Errors
    ///
    /// [`LockError::Backend`] if the session does not hold it, or not in this mode, or only in a
    /// transaction; any other error if the connection is lost, and the lock with it.
    pub fn release_on(&self, client: &mut Client) -> Result<(), LockError> {
        Own::given_back(heard(client.simple_query(&Own::give_back(self.key, self.mode))))
    }

    fn acquire(
        &self,
        ground: Ground,
        timeout: Option<Duration>,
        mut ask: impl FnMut(&str) -> Answer,
    ) -> Result<(), LockError> {
        let mut own = Own::new(self.key, self.mode, ground, timeout);
        let mut turn = own.begin();
        loop {
            turn = match turn {
                Turn::Ask(text) => own.answered(ask(&text)),
                Turn::Rest(rest) => {
                    thread::sleep(rest);
                    own.rested()
                }
                Turn::Over { result, last } => {
                    // It has no runtime in which it could be sent and left alone.
                    return match last.map(|text| ask(&text)) {
                        Some(Answer::Failed(error)) => Err(error),
                        Some(Answer::Done(_) | Answer::Expired | Answer::Deadlock(_)) | None => {
                            result
                        }
                    };
                }
            };
        }
    }
}

fn tried(result: Result<(), LockError>) -> Result<bool, LockError> {
    match result {
        Ok(()) => Ok(true),
        Err(LockError::Timeout(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
