//! Locks inside this process, and what a test can do to them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use lock_proto::memory::{Command, LockTable, MemoryLock, Reply};
use lock_proto::{
    AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LockName, LossReason,
    Request,
};

use crate::engine::{Answer, Engine, Link, Step};
use crate::{Address, Client, Clock, Pending};

/// Hands commands to a lock table.
struct MemoryLink;

/// The locks of one in-memory provider; every clone is the same.
#[derive(Clone)]
pub struct Memory {
    engine: Arc<Engine<MemoryLink>>,
}

impl Memory {
    /// Locks on `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { engine: Engine::with(clock, |_| MemoryLink) }
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
        let revoked = self.engine.with_table(|table| table.revoke(&name, reason, now));
        // Nothing is armed by a loss.
        let _ = self.engine.deliver();
        revoked
    }

    /// From now on carries every request out this much later.
    pub fn delay_requests(&self, delay: Duration) {
        self.engine.with_table(|table| table.delay_requests(delay));
    }
}

impl Link for MemoryLink {
    type Machine = MemoryLock;
    type Site = ();
    type Table = LockTable;
    type Errand = Infallible;

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

    fn compute(
        &self,
        table: &mut LockTable,
        lock: LockId,
        (): &(),
        request: Request<Command>,
        now: Instant,
    ) -> Step<Self> {
        table.execute(lock, request, now).map_or(Step::Later, |reply| Step::Answered(Ok(reply)))
    }

    fn carry_out(
        &self,
        _: LockId,
        (): &(),
        errand: Infallible,
        _: Instant,
    ) -> Option<Result<Reply, Fault>> {
        match errand {}
    }

    fn poll_answer(&self, table: &mut LockTable, now: Instant) -> Option<(LockId, Answer<Self>)> {
        table.handle_timeout(now);
        if let Some((lock, id, reply)) = table.poll_reply() {
            return Some((lock, Answer::Reply(id, Ok(reply))));
        }
        table.poll_notice().map(|notice| (notice.lock, Answer::Loss(notice.reason)))
    }

    fn poll_timeout(&self, table: &LockTable) -> Option<Instant> {
        table.poll_timeout()
    }

    fn info(
        &self,
        engine: &Engine<Self>,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>> {
        let name = LockName::new(Arc::clone(&address.name));
        let info = name.map(|name| engine.with_table(|table| table.info(&name, demand, now)));
        Pending::ready(info)
    }

    fn list(
        &self,
        engine: &Engine<Self>,
        now: Instant,
    ) -> Pending<Result<Vec<LockInfo>, LockError>> {
        Pending::ready(Ok(engine.with_table(|table| table.list(now))))
    }
}
