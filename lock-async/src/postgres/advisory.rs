//! Locks on a connection that is the caller's own.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::postgres::heard;
use lock_proto::postgres::{AdvisoryKey, Answer, Ground, Mode, Own, Turn};
use lock_proto::{LockError, LockName};
use tokio_postgres::{Client, Transaction};

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
/// # use lock_async as lock_tokio;
/// use lock_tokio::{LockError, PostgresAdvisoryLock};
///
/// # async fn example(client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let lock = PostgresAdvisoryLock::new("orders")?;
/// let mut transaction = client.transaction().await?;
/// lock.acquire_in(&mut transaction, None).await?;
/// transaction.batch_execute("update orders set sent = true").await?;
/// // Makes the work visible and frees the lock at the same moment.
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
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
    /// `lock_timeout` and `statement_timeout` are what they were. A free lock takes one round trip.
    /// Rolling back to a savepoint that was set before frees the lock, too.
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
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the lock up: the transaction goes on as if nothing had been asked.
    /// No connection takes back what was sent, however; the next statement waits behind the wait,
    /// until the lock is free or `timeout` is over. To wait no longer, end it with the client's
    /// [`cancel_token`](Client::cancel_token).
    pub async fn acquire_in(
        &self,
        transaction: &mut Transaction<'_>,
        timeout: Option<Duration>,
    ) -> Result<(), LockError> {
        self.acquire(transaction.client(), Ground::Transaction, timeout).await
    }

    /// Acquires the lock until the transaction ends, if nobody has it.
    ///
    /// # Errors
    ///
    /// If it could not be asked for. That somebody has it is no error, but `false`.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_in`](Self::acquire_in).
    pub async fn try_acquire_in(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<bool, LockError> {
        tried(self.acquire(transaction.client(), Ground::Transaction, Some(Duration::ZERO)).await)
    }

    /// Acquires the lock until it is [released](Self::release_on) or the connection ends, and waits
    /// at most `timeout` for it, or for ever.
    ///
    /// Transactions on the connection, also one that is open meanwhile, have no say in it. Tasks
    /// that share the client are one holder; two of them may not acquire the same lock at the same
    /// time. Behind a pooler that gives each transaction another connection, take the lock in a
    /// transaction instead.
    ///
    /// # Errors
    ///
    /// As [`acquire_in`](Self::acquire_in).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_in`](Self::acquire_in): if the lock is granted later, it is given back at once.
    pub async fn acquire_on(
        &self,
        client: &Client,
        timeout: Option<Duration>,
    ) -> Result<(), LockError> {
        self.acquire(client, Ground::Session, timeout).await
    }

    /// Acquires the lock until it is [released](Self::release_on) or the connection ends, if nobody
    /// has it.
    ///
    /// # Errors
    ///
    /// If it could not be asked for. That somebody has it is no error, but `false`.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_on`](Self::acquire_on).
    pub async fn try_acquire_on(&self, client: &Client) -> Result<bool, LockError> {
        tried(self.acquire(client, Ground::Session, Some(Duration::ZERO)).await)
    }

    /// Releases the lock that was acquired [on](Self::acquire_on) the same client.
    ///
    /// # Errors
    ///
    /// [`LockError::Backend`] if the session does not hold it, or not in this mode, or only in a
    /// transaction; any other error if the connection is lost, and the lock with it.
    ///
    /// # Cancel safety
    ///
    /// The lock is released also when the future is dropped, once it was polled.
    pub async fn release_on(&self, client: &Client) -> Result<(), LockError> {
        let answer = client.simple_query(&Own::give_back(self.key, self.mode)).await;
        Own::given_back(heard(answer))
    }

    async fn acquire(
        &self,
        client: &Client,
        ground: Ground,
        timeout: Option<Duration>,
    ) -> Result<(), LockError> {
        let own = Own::new(self.key, self.mode, ground, timeout);
        Conversation { client, own }.carried_on().await
    }
}

/// An acquisition under way.
struct Conversation<'a> {
    client: &'a Client,
    own: Own,
}

impl Conversation<'_> {
    async fn carried_on(mut self) -> Result<(), LockError> {
        let mut turn = self.own.begin();
        loop {
            turn = match turn {
                Turn::Ask(text) => {
                    let answer = self.client.simple_query(&text).await;
                    self.own.answered(heard(answer))
                }
                Turn::Rest(rest) => {
                    Timers::started().map_err(LockError::Backend)?.sleep(rest).await;
                    self.own.rested()
                }
                Turn::Over { result, last } => {
                    let refused = last.and_then(|text| sent(self.client, &text).err());
                    return refused.map_or(result, Err);
                }
            };
        }
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        if let Some(text) = self.own.abandoned() {
            // A connection that is gone has nothing left to undo.
            let _ = sent(self.client, &text);
        }
    }
}

/// Sends a text whose answer nobody waits for: the first poll does that.
fn sent(client: &Client, text: &str) -> Result<(), LockError> {
    let mut answer = pin!(client.simple_query(text));
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => match heard(Err(error)) {
            Answer::Failed(error) => Err(error),
            Answer::Done(_) | Answer::Expired | Answer::Deadlock(_) => Ok(()),
        },
        Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
    }
}

fn tried(result: Result<(), LockError>) -> Result<bool, LockError> {
    match result {
        Ok(()) => Ok(true),
        Err(LockError::Timeout(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
