//! The advisory locks of a PostgreSQL server as plain data: its sessions, what they hold, and who
//! waits for whom.
//!
//! The functions say what `lock.c` and `proc.c` of PostgreSQL 12 to 16 do; a differential test holds
//! them to a real server. A [`Server`] is a value: cloned, compared and hashed, so that a search can
//! meet it twice. It has no clock and decides nothing: who moves next is up to the world it is in.
//!
//! ```text
//! idle ── ask ──> waiting ── granted by a release ──> woken ── resume ──> idle
//!   └─ answered ─┐   └── cancel, time-out, deadlock ────┴── the same ──> idle
//!                └──> idle
//! ```
//!
//! A session that was granted its lock is _woken_ before it says so. Whatever ends its statement at
//! this moment makes it fail although it has the lock, and a lock of session scope is kept then.

mod session;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::Instant;
use lock_proto::postgres::{AdvisoryKey, Mode};

use session::{Owner, Session, Transaction, Wait};
use table::{Admission, Table};

/// The sessions of one database of one server, and their advisory locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    sessions: BTreeMap<SessionId, Session>,
    table: Table,
    next: u64,
}

/// A session; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// How long a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the server has two")]
pub enum Scope {
    /// Until it is given back as often as it was taken, or the session ends.
    Session,
    /// Until the transaction ends, or goes back to a savepoint before.
    Transaction,
}

/// One statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever sends them must know every case")]
pub enum Statement {
    /// `pg_advisory_lock` and its like.
    Lock {
        /// Which lock.
        key: AdvisoryKey,
        /// How much of it.
        mode: Mode,
        /// For how long.
        scope: Scope,
        /// The `lock_timeout`.
        limit: Option<Duration>,
    },
    /// `pg_try_advisory_lock` and its like.
    TryLock {
        /// Which lock.
        key: AdvisoryKey,
        /// How much of it.
        mode: Mode,
        /// For how long.
        scope: Scope,
    },
    /// `pg_advisory_unlock` and its like.
    Unlock {
        /// Which lock.
        key: AdvisoryKey,
        /// How much of it.
        mode: Mode,
    },
    /// `pg_advisory_unlock_all`.
    UnlockAll,
    /// `BEGIN`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `SAVEPOINT`; they are counted from 1.
    Savepoint,
    /// `ROLLBACK TO` a savepoint, which remains.
    RollbackTo(u32),
    /// `RELEASE` of a savepoint and of all after it.
    ReleaseSavepoint(u32),
}

/// What a statement is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are no others")]
pub enum Answer {
    /// It is done; a lock is granted.
    Done,
    /// Whether a lock was free, or was given back.
    Told(bool),
    /// It failed.
    Failed(Failure),
}

/// Why a statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are no others")]
pub enum Failure {
    /// Its `lock_timeout` came.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// It waits for somebody who waits for it.
    Deadlock,
    /// The transaction has failed before.
    TransactionFailed,
    /// There is no transaction.
    NoTransaction,
    /// There is no such savepoint.
    NoSavepoint,
}

/// A lock that a session holds or waits for, as `pg_locks` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Row {
    /// Which lock.
    pub key: AdvisoryKey,
    /// Whose.
    pub session: SessionId,
    /// How much of it.
    pub mode: Mode,
    /// Whether it is held, and not waited for.
    pub granted: bool,
}

impl Server {
    /// A server without sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a session.
    pub fn connect(&mut self) -> SessionId {
        let id = SessionId(self.next);
        self.next += 1;
        self.sessions.insert(id, Session::default());
        id
    }

    /// Ends a session, whatever it is about; nothing happens if it has ended. A client that is gone
    /// ends its session when the server takes note of that, and no sooner.
    pub fn disconnect(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            let waits_for = session.waits_for();
            let held = session.held();
            self.give_up_place(id, waits_for);
            self.release(id, held);
        }
    }

    /// Ends all sessions.
    pub fn restart(&mut self) {
        self.sessions.clear();
        self.table = Table::default();
    }

    /// Begins a statement. `None` means that it waits for a lock.
    ///
    /// # Panics
    ///
    /// If there is no such session, or it has not answered the statement before.
    pub fn ask(&mut self, id: SessionId, statement: &Statement, now: Instant) -> Option<Answer> {
        let session = self.session(id);
        assert!(session.wait.is_none(), "{id:?} is busy and is asked {statement:?}");
        if let Transaction::Failed { .. } = session.transaction
            && !matches!(
                statement,
                Statement::Commit | Statement::Rollback | Statement::RollbackTo(_)
            )
        {
            return Some(Answer::Failed(Failure::TransactionFailed));
        }
        match *statement {
            Statement::Lock { key, mode, scope, limit } => {
                let deadline = limit.map(|limit| now + limit);
                self.lock(id, (key, mode), scope, deadline)
            }
            Statement::TryLock { key, mode, scope } => {
                let owner = session.owner(scope);
                let taken = session.again((key, mode), owner)
                    || self.table.try_acquire(id, (key, mode))
                        && self.session(id).count((key, mode), owner);
                self.end_statement(id);
                Some(Answer::Told(taken))
            }
            Statement::Unlock { key, mode } => {
                let was_held = session.count_down((key, mode));
                let last = was_held && !session.holds((key, mode));
                self.release(id, last.then_some((key, mode)));
                Some(Answer::Told(was_held))
            }
            Statement::UnlockAll => {
                let gone = session.forget(|owner| owner == Owner::Session);
                self.release(id, gone);
                Some(Answer::Done)
            }
            Statement::Begin
            | Statement::Commit
            | Statement::Rollback
            | Statement::Savepoint
            | Statement::RollbackTo(_)
            | Statement::ReleaseSavepoint(_) => Some(self.transact(id, statement)),
        }
    }

    /// The sessions that were granted what they waited for, and have not said so.
    pub fn woken(&self) -> impl Iterator<Item = SessionId> {
        let woken = |session: &Session| session.wait.is_some_and(|wait| wait.granted);
        self.sessions.iter().filter(move |(_, session)| woken(session)).map(|(id, _)| *id)
    }

    /// The sessions that wait for a lock.
    pub fn waiting(&self) -> impl Iterator<Item = SessionId> {
        let waits = |session: &Session| session.wait.is_some_and(|wait| !wait.granted);
        self.sessions.iter().filter(move |(_, session)| waits(session)).map(|(id, _)| *id)
    }

    /// Lets a woken session say that it has its lock.
    ///
    /// # Panics
    ///
    /// If it is not woken.
    pub fn resume(&mut self, id: SessionId) -> Answer {
        let wait = self.session(id).wait.take();
        assert!(wait.is_some_and(|wait| wait.granted), "{id:?} is not woken: {wait:?}");
        self.end_statement(id);
        Answer::Done
    }

    /// Ends the statement of a session that waits or is woken, because somebody cancelled it or
    /// because its time-out or a check for deadlocks fell due. `None` if it does neither: what comes
    /// too late ends nothing.
    pub fn interrupt(&mut self, id: SessionId, failure: Failure) -> Option<Answer> {
        let wait = self.sessions.get_mut(&id)?.wait.take()?;
        self.give_up_place(id, (!wait.granted).then_some(wait.lock.0));
        Some(self.fail(id, failure))
    }

    /// When the next wait ends by itself.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sessions.values().filter_map(Session::deadline).min()
    }

    /// Ends the waits whose time is up, one after the other, and says whose they were.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(SessionId, Answer)> {
        let mut ended = Vec::new();
        loop {
            let due = self.sessions.iter().filter_map(|(id, session)| {
                session.deadline().filter(|deadline| *deadline <= now).map(|at| (at, *id))
            });
            let Some((_, id)) = due.min() else { return ended };
            let answer = self.interrupt(id, Failure::TimedOut);
            ended.push((id, answer.expect("it waits")));
        }
    }

    /// Whether a session waits for somebody who, directly or not, waits for what it holds: whoever
    /// looks first is told so by the server, after its `deadlock_timeout`.
    #[must_use]
    pub fn is_deadlocked(&self, id: SessionId) -> bool {
        let mut reached = vec![id];
        let mut next = 0;
        while let Some(session) = reached.get(next) {
            next += 1;
            for blocker in self.table.blockers(*session) {
                if blocker == id {
                    return true;
                }
                if !reached.contains(&blocker) {
                    reached.push(blocker);
                }
            }
        }
        false
    }

    /// How many savepoints a session can go back to.
    #[must_use]
    pub fn savepoints(&self, id: SessionId) -> u32 {
        self.sessions.get(&id).map_or(0, Session::level)
    }

    /// Whether a session is in a transaction, also in one that has failed.
    #[must_use]
    pub fn is_in_transaction(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|it| it.transaction != Transaction::None)
    }

    /// How often a session has taken a lock.
    #[must_use]
    pub fn count(&self, id: SessionId, lock: (AdvisoryKey, Mode)) -> u32 {
        self.sessions.get(&id).map_or(0, |session| session.count_of(lock))
    }

    /// What `pg_locks` shows, in the order of the keys.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.table.rows();
        rows.sort_unstable();
        rows
    }

    fn lock(
        &mut self,
        id: SessionId,
        lock: (AdvisoryKey, Mode),
        scope: Scope,
        deadline: Option<Instant>,
    ) -> Option<Answer> {
        let owner = self.session(id).owner(scope);
        if self.session(id).again(lock, owner) {
            self.end_statement(id);
            return Some(Answer::Done);
        }
        match self.table.acquire(id, lock) {
            Admission::Granted => {
                self.session(id).count(lock, owner);
                self.end_statement(id);
                Some(Answer::Done)
            }
            Admission::Queued => {
                self.session(id).wait = Some(Wait { lock, owner, deadline, granted: false });
                None
            }
            Admission::Deadlock => Some(self.fail(id, Failure::Deadlock)),
        }
    }

    fn transact(&mut self, id: SessionId, statement: &Statement) -> Answer {
        let session = self.session(id);
        let (gone, answer) = match *statement {
            Statement::Begin => (session.begin(), Answer::Done),
            Statement::Commit | Statement::Rollback => (session.end(), Answer::Done),
            Statement::Savepoint => match session.savepoint() {
                Ok(()) => (Vec::new(), Answer::Done),
                Err(failure) => return self.fail(id, failure),
            },
            Statement::RollbackTo(number) => match session.rollback_to(number) {
                Ok(gone) => (gone, Answer::Done),
                Err(failure) => return self.fail(id, failure),
            },
            Statement::ReleaseSavepoint(number) => match session.release_savepoint(number) {
                Ok(()) => (Vec::new(), Answer::Done),
                Err(failure) => return self.fail(id, failure),
            },
            Statement::Lock { .. }
            | Statement::TryLock { .. }
            | Statement::Unlock { .. }
            | Statement::UnlockAll => unreachable!("these have to do with locks"),
        };
        self.release(id, gone);
        answer
    }

    /// A statement that is no part of a transaction is one of its own.
    fn end_statement(&mut self, id: SessionId) {
        let gone = self.session(id).end_statement();
        self.release(id, gone);
    }

    fn fail(&mut self, id: SessionId, failure: Failure) -> Answer {
        let gone = self.session(id).abort();
        self.release(id, gone);
        Answer::Failed(failure)
    }

    fn give_up_place(&mut self, id: SessionId, key: Option<AdvisoryKey>) {
        if let Some(key) = key {
            let woken = self.table.withdraw(id, key);
            self.wake(woken);
        }
    }

    fn release(&mut self, id: SessionId, locks: impl IntoIterator<Item = (AdvisoryKey, Mode)>) {
        for lock in locks {
            let woken = self.table.release(id, lock);
            self.wake(woken);
        }
    }

    fn wake(&mut self, woken: Vec<SessionId>) {
        for id in woken {
            self.session(id).wake();
        }
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).unwrap_or_else(|| panic!("{id:?} has ended"))
    }
}
