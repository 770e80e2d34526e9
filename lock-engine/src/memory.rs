//! Locks inside this process, and what a test can do to them.

use std::sync::atomic::{AtomicBool, Ordering};
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
        let link = MemoryLink { table, answers: AtomicBool::new(false) };
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
        let revoked = self.engine.link().table().revoke(&name, reason, self.engine.clock().now());
        self.engine.link().answers.store(true, Ordering::SeqCst);
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
        let mut table = self.table();
        let reply = table.execute(lock, request, now);
        if table.has_answers() {
            self.answers.store(true, Ordering::SeqCst);
        }
        reply.map(Ok)
    }

    fn poll_answer(&self) -> Option<(LockId, Answer<Reply>)> {
        if !self.answers.load(Ordering::SeqCst) {
            return None;
        }
        let mut table = self.table();
        if let Some((lock, id, reply)) = table.poll_reply() {
            return Some((lock, Answer::Reply(id, Ok(reply))));
        }
        if let Some(notice) = table.poll_notice() {
            return Some((notice.lock, Answer::Loss(notice.reason)));
        }
        self.answers.store(false, Ordering::SeqCst);
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.table().poll_timeout()
    }

    fn handle_timeout(&self, now: Instant) {
        self.table().handle_timeout(now);
        self.answers.store(true, Ordering::SeqCst);
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
