//! Which lock a message of a server is for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_proto::LockId;
use lock_proto::redis::Token;

/// The locks that a server may have something to say to: those that have stood in its queue.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Most locks never wait, and need not look.
    any: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    locks: BTreeMap<Token, LockId>,
    tokens: BTreeMap<LockId, Vec<Token>>,
}

impl Listeners {
    /// What comes for `token` is for `lock`.
    pub(super) fn listen(&self, lock: LockId, token: &Token) {
        let mut table = self.table();
        let tokens = table.tokens.entry(lock).or_default();
        if !tokens.contains(token) {
            tokens.push(token.clone());
            table.locks.insert(token.clone(), lock);
            self.any.store(true, Ordering::Release);
        }
    }

    /// What comes for `before` is for `lock` from now on.
    pub(super) fn redirect(&self, before: LockId, lock: LockId) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut table = self.table();
        let Some(tokens) = table.tokens.remove(&before) else { return };
        for token in &tokens {
            table.locks.insert(token.clone(), lock);
        }
        table.tokens.entry(lock).or_default().extend(tokens);
    }

    /// Nothing is for `lock` any more.
    pub(super) fn forget(&self, lock: LockId) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut table = self.table();
        for token in table.tokens.remove(&lock).unwrap_or_default() {
            table.locks.remove(token.as_str());
        }
        self.any.store(!table.tokens.is_empty(), Ordering::Release);
    }

    /// The lock that is meant by `token`.
    pub(super) fn meant_by(&self, token: &str) -> Option<LockId> {
        self.table().locks.get(token).copied()
    }

    /// All of them.
    pub(super) fn locks(&self) -> Vec<LockId> {
        self.table().locks.values().copied().collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
