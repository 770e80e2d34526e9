//! What one session knows: how often it has taken which lock, and for whom.

use std::collections::BTreeMap;

use lock_proto::Instant;
use lock_proto::postgres::{AdvisoryKey, Mode};

use super::{Failure, Scope};

/// A lock as a session counts it: the two modes are counted apart.
pub(super) type Lock = (AdvisoryKey, Mode);

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Session {
    /// How often each lock was taken for whom; no count is zero.
    counts: BTreeMap<(Lock, Owner), u32>,
    pub(super) transaction: Transaction,
    /// What the statement that is not yet answered waits for, or waited for.
    pub(super) wait: Option<Wait>,
}

/// For whom a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    Session,
    /// The transaction is level 0, what follows its first savepoint is level 1.
    Level(u32),
}

/// Where a session is in its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Transaction {
    #[default]
    None,
    Open {
        level: u32,
    },
    /// A statement failed at this level, whose locks are gone.
    Failed {
        level: u32,
    },
}

/// A wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Wait {
    pub(super) lock: Lock,
    pub(super) owner: Owner,
    pub(super) deadline: Option<Instant>,
    /// Whether it is over, and the session has not said so.
    pub(super) granted: bool,
}

impl Session {
    /// For whom a lock of this scope is taken.
    pub(super) fn owner(&self, scope: Scope) -> Owner {
        match (scope, self.transaction) {
            (Scope::Session, _) => Owner::Session,
            (Scope::Transaction, Transaction::None) => Owner::Level(0),
            (Scope::Transaction, Transaction::Open { level } | Transaction::Failed { level }) => {
                Owner::Level(level)
            }
        }
    }

    /// The number of the savepoint that it has passed last.
    pub(super) fn level(&self) -> u32 {
        match self.transaction {
            Transaction::None => 0,
            Transaction::Open { level } | Transaction::Failed { level } => level,
        }
    }

    /// Takes a lock once more that the session holds for anyone; whether it does.
    pub(super) fn again(&mut self, lock: Lock, owner: Owner) -> bool {
        self.holds(lock) && self.count(lock, owner)
    }

    /// Counts a lock that was granted: `true`.
    pub(super) fn count(&mut self, lock: Lock, owner: Owner) -> bool {
        *self.counts.entry((lock, owner)).or_insert(0) += 1;
        true
    }

    /// Counts a lock of session scope down; whether there was one.
    pub(super) fn count_down(&mut self, lock: Lock) -> bool {
        let place = (lock, Owner::Session);
        let Some(count) = self.counts.get_mut(&place) else { return false };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&place);
        }
        true
    }

    /// Whether the session holds a lock for anyone.
    pub(super) fn holds(&self, lock: Lock) -> bool {
        self.counts.keys().any(|(held, _)| *held == lock)
    }

    /// How often the session has taken a lock, for anyone.
    pub(super) fn count_of(&self, lock: Lock) -> u32 {
        self.counts.iter().filter(|((held, _), _)| *held == lock).map(|(_, count)| count).sum()
    }

    /// Everything it holds.
    pub(super) fn held(&self) -> Vec<Lock> {
        let mut held: Vec<Lock> = self.counts.keys().map(|(lock, _)| *lock).collect();
        held.dedup();
        held
    }

    /// Forgets what is held for some, and says which locks are not held for anyone else.
    pub(super) fn forget(&mut self, gone: impl Fn(Owner) -> bool) -> Vec<Lock> {
        let mut before = self.held();
        self.counts.retain(|(_, owner), _| !gone(*owner));
        before.retain(|lock| !self.holds(*lock));
        before
    }

    pub(super) fn begin(&mut self) -> Vec<Lock> {
        // Within a transaction there is but a warning.
        if self.transaction == Transaction::None {
            self.transaction = Transaction::Open { level: 0 };
        }
        Vec::new()
    }

    pub(super) fn end(&mut self) -> Vec<Lock> {
        self.transaction = Transaction::None;
        self.forget(|owner| owner != Owner::Session)
    }

    pub(super) fn savepoint(&mut self) -> Result<(), Failure> {
        match &mut self.transaction {
            Transaction::Open { level } => {
                *level += 1;
                Ok(())
            }
            Transaction::None => Err(Failure::NoTransaction),
            Transaction::Failed { .. } => Err(Failure::TransactionFailed),
        }
    }

    pub(super) fn rollback_to(&mut self, number: u32) -> Result<Vec<Lock>, Failure> {
        match self.transaction {
            Transaction::None => Err(Failure::NoTransaction),
            Transaction::Open { level } | Transaction::Failed { level }
                if (1..=level).contains(&number) =>
            {
                self.transaction = Transaction::Open { level: number };
                Ok(self.forget(|owner| owner >= Owner::Level(number)))
            }
            Transaction::Open { .. } | Transaction::Failed { .. } => Err(Failure::NoSavepoint),
        }
    }

    pub(super) fn release_savepoint(&mut self, number: u32) -> Result<(), Failure> {
        match self.transaction {
            Transaction::None => Err(Failure::NoTransaction),
            Transaction::Open { level } if (1..=level).contains(&number) => {
                let outer = number - 1;
                self.transaction = Transaction::Open { level: outer };
                for ((lock, owner), count) in std::mem::take(&mut self.counts) {
                    let owner =
                        if owner > Owner::Level(outer) { Owner::Level(outer) } else { owner };
                    *self.counts.entry((lock, owner)).or_insert(0) += count;
                }
                Ok(())
            }
            Transaction::Open { .. } => Err(Failure::NoSavepoint),
            Transaction::Failed { .. } => Err(Failure::TransactionFailed),
        }
    }

    /// Ends a statement that succeeded.
    pub(super) fn end_statement(&mut self) -> Vec<Lock> {
        match self.transaction {
            Transaction::None => self.forget(|owner| owner != Owner::Session),
            Transaction::Open { .. } | Transaction::Failed { .. } => Vec::new(),
        }
    }

    /// Ends a statement that failed.
    pub(super) fn abort(&mut self) -> Vec<Lock> {
        let level = match self.transaction {
            Transaction::None => 0,
            Transaction::Open { level } | Transaction::Failed { level } => {
                self.transaction = Transaction::Failed { level };
                level
            }
        };
        self.forget(|owner| owner >= Owner::Level(level))
    }

    /// Which lock it has a place in the queue of.
    pub(super) fn waits_for(&self) -> Option<AdvisoryKey> {
        self.wait.filter(|wait| !wait.granted).map(|wait| wait.lock.0)
    }

    /// When its wait ends by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wait.filter(|wait| !wait.granted)?.deadline
    }

    /// Grants what it waits for.
    pub(super) fn wake(&mut self) {
        let mut wait = self.wait.take().expect("only who waits is granted a lock");
        wait.granted = true;
        self.wait = Some(wait);
        self.count(wait.lock, wait.owner);
    }
}
