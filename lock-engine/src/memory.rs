//! Locks inside this process, and what a test can do to them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lock_proto::memory::{Command, LockTable, MemoryLock, Reply};
use lock_proto::{
    AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LockName, LossReason,
    Request,
};

use crate::engine::{Answer, Engine, Link};
use crate::{Address, Client, Clock, Pending};

/// Carries commands to a lock table.
struct MemoryLink {
    table: Mutex<LockTable>,
    /// Whether the table may have something to tell, so that nobody locks it to find out.
    answers: AtomicBool,
    /// When time next matters to the table, in nanoseconds; `u64::MAX` is never. Whoever brings it
    /// forward drives afterwards.
    due: AtomicU64,
}

/// The locks of one in-memory provider; every clone is the same.
#[derive(Clone)]
pub struct Memory {
    engine: Arc<Engine<MemoryLink>>,
}

impl Memory {
    /// Locks on `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let table = Mutex::new(LockTable::new());
        let due = AtomicU64::new(u64::MAX);
        let link = MemoryLink { table, answers: AtomicBool::new(false), due };
        Self { engine: Engine::with(clock, |_| link) }
    }

    /// The locks, for the adapters.
    #[must_use]
    pub fn client(&self) -> Arc<dyn Client> {
        Arc::clone(&self.engine) as Arc<dyn Client>
    }

    /// Takes `name` away from everybody who holds it; says from how many.
    pub fn revoke(&self, name: &str, reason: &LossReason) -> usize {
        let Ok(name) = LockName::new(name) else { return 0 };
        let now = self.engine.clock().now();
        let revoked = self.engine.link().change(|table| table.revoke(&name, reason, now));
        // Nothing is armed by a loss.
        let _ = self.engine.deliver();
        revoked
    }

    /// From now on carries every request out this much later.
    pub fn delay_requests(&self, delay: Duration) {
        self.engine.link().table().delay_requests(delay);
    }
}

impl MemoryLink {
    fn table(&self) -> MutexGuard<'_, LockTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut LockTable) -> T) -> T {
        let mut table = self.table();
        let changed = change(&mut table);
        if table.has_answers() {
            self.answers.store(true, Ordering::Release);
        }
        let due = table.poll_timeout().unwrap_or(Instant::FAR_FUTURE);
        self.due.store(due.as_nanos(), Ordering::Release);
        changed
    }
}

impl Link for MemoryLink {
    type Machine = MemoryLock;
    type Site = ();

    const PURE: bool = true;

    fn locate(&self, name: &str) -> Address {
        Address::named(name)
    }

    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<(MemoryLock, ()), LockError> {
        let name = LockName::new(Arc::clone(&address.name))?;
        Ok((MemoryLock::new(name, demand, options, now)?, ()))
    }

    fn carry_out(
        &self,
        lock: LockId,
        (): &(),
        request: Request<Command>,
        now: Instant,
    ) -> Option<Result<Reply, Fault>> {
        self.change(|table| table.execute(lock, request, now)).map(Ok)
    }

    fn poll_answer(&self) -> Option<(LockId, Answer<Reply>)> {
        if !self.answers.load(Ordering::Acquire) {
            return None;
        }
        let mut table = self.table();
        if let Some((lock, id, reply)) = table.poll_reply() {
            return Some((lock, Answer::Reply(id, Ok(reply))));
        }
        if let Some(notice) = table.poll_notice() {
            return Some((notice.lock, Answer::Loss(notice.reason)));
        }
        self.answers.store(false, Ordering::Release);
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(Instant::from_nanos(self.due.load(Ordering::Acquire)))
            .filter(|due| *due < Instant::FAR_FUTURE)
    }

    fn handle_timeout(&self, now: Instant) {
        self.change(|table| table.handle_timeout(now));
    }

    fn info(
        &self,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>> {
        let name = LockName::new(Arc::clone(&address.name));
        Pending::ready(name.map(|name| self.table().info(&name, demand, now)))
    }

    fn list(&self, now: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
        Pending::ready(Ok(self.table().list(now)))
    }
}
