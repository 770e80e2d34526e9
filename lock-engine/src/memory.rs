//! Locks inside this process, and what a test can do to them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use lock_proto::memory::{Command, Grant, LockTable, MemoryLock, Reply, Wish};
use lock_proto::{
    AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LockName, LossReason,
    Request,
};

use crate::engine::{Answer, Engine, Link, Step};
use crate::link::Opened;
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

/// An acquisition that is yet to ask the table.
struct MemoryOpened {
    name: LockName,
    wish: Wish,
}

impl Opened<MemoryLink> for MemoryOpened {
    #[inline]
    fn take(&self, table: &mut LockTable, lock: LockId, now: Instant) -> Option<Grant> {
        self.wish.take(table, lock, &self.name, now)
    }

    #[inline]
    fn held(self, grant: Grant, now: Instant) -> (MemoryLock, LockName) {
        (self.wish.held(grant, now), self.name)
    }

    fn asking(self, now: Instant) -> (MemoryLock, LockName) {
        (self.wish.asking(now), self.name)
    }
}

impl Link for MemoryLink {
    type Machine = MemoryLock;
    type Opened = MemoryOpened;
    type Site = LockName;
    type Table = LockTable;
    type Errand = Infallible;
    type Letter = Infallible;

    fn locate(&self, name: &str) -> Address {
        Address::named(name)
    }

    #[inline(always)]
    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        _: Instant,
    ) -> Result<MemoryOpened, LockError> {
        let name = LockName::new(Arc::clone(&address.name))?;
        Ok(MemoryOpened { name, wish: Wish::new(demand, options)? })
    }

    #[inline]
    fn give_back_at_once(
        &self,
        table: &mut LockTable,
        lock: LockId,
        name: &LockName,
        machine: &mut MemoryLock,
        now: Instant,
    ) -> bool {
        machine.give_back_at_once(table, lock, name, now)
    }

    #[inline]
    fn compute(
        &self,
        table: &mut LockTable,
        lock: LockId,
        name: &LockName,
        request: Request<Command>,
        now: Instant,
    ) -> Step<Self> {
        let reply = table.execute(lock, name, request, now);
        reply.map_or(Step::Later, |reply| Step::Answered(Ok(reply)))
    }

    fn carry_out(
        &self,
        _: LockId,
        _: &LockName,
        errand: Infallible,
        _: Instant,
    ) -> Option<Result<Reply, Fault>> {
        match errand {}
    }

    fn send(&self, _: LockId, letter: Infallible, _: Instant) {
        match letter {}
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

    #[inline]
    fn is_at_rest(&self, table: &LockTable) -> bool {
        table.is_timeless() && !table.has_answers()
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
