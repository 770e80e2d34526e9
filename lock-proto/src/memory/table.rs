//! The lock table: one weighted queue per name.

use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Command, Grant, Reply};
use crate::info::{Holder, LockInfo};
use crate::time::earlier;
use crate::{Demand, Instant, LockId, LockName, LossReason, Request, RequestId};

/// Queues that nobody uses and that are kept for the next who wants their names.
const KEPT_QUEUES: usize = 32;
/// Room for waiters that such a queue may keep.
const KEPT_WAITERS: usize = 64;

/// Mutexes, reader-writer locks and semaphores, each a weighted queue.
///
/// A mutex is the write side of the reader-writer lock of the same name; a semaphore of that name
/// is another lock.
///
/// - Writers, and takers of permits, are served in the order they came. A taker of many permits is
///   not overtaken by takers of few.
/// - Readers and writers alternate ([phase-fair]): while a writer waits no reader joins those that
///   hold, and when a writer leaves every reader that waits goes before the next writer. So neither
///   side starves.
/// - Each taker of permits is held to the limit that it brings itself.
/// - Fencing tokens rise over the whole table.
///
/// Requests are carried out in order. An answer that comes later is taken with
/// [`LockTable::poll_reply`], a loss that nobody asked about with [`LockTable::poll_notice`].
///
/// [phase-fair]: https://www.cs.unc.edu/~anderson/papers/ecrts09b.pdf
#[derive(Clone, Debug, Default)]
pub struct LockTable {
    locks: Queues,
    /// They have a name space of their own.
    semaphores: Queues,
    /// Queues that nobody used at some time, each of them once, oldest first.
    kept: VecDeque<Key>,
    replies: VecDeque<(LockId, RequestId, Reply)>,
    notices: VecDeque<Notice>,
    expiries: BTreeMap<(Instant, LockId), Key>,
    last_fence: u64,
    waiting: usize,
    delay: Duration,
    delayed: VecDeque<Delayed>,
}

/// Boxed, so that a name that comes or goes moves little of the map.
type Queues = BTreeMap<LockName, Box<Queue>>;

/// A holder that has lost its lock without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Whose lock it was.
    pub lock: LockId,
    /// Why it is gone.
    pub reason: LossReason,
}

#[derive(Clone, Debug)]
struct Key {
    name: LockName,
    counted: bool,
}

#[derive(Clone, Debug)]
struct Delayed {
    due: Instant,
    lock: LockId,
    name: LockName,
    request: Request<Command>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// The first holder stands apart, so that an uncontended lock allocates nothing.
    first: Option<(LockId, Tenure)>,
    others: BTreeMap<LockId, Tenure>,
    /// Permits, or shares, that are out.
    used: u64,
    held_exclusively: bool,
    waiters: VecDeque<Waiter>,
    exclusive_waiters: usize,
    /// Readers that waited when the last writer left, and are to go before the next.
    readers_due: usize,
    /// Whether it stands in `kept`.
    kept: bool,
}

#[derive(Clone, Debug)]
struct Tenure {
    weight: u32,
    fence: u64,
    since: Instant,
    valid_until: Option<Instant>,
    owner: Option<Arc<str>>,
}

/// Somebody who wants a lock.
#[derive(Clone, Debug)]
struct Newcomer {
    lock: LockId,
    demand: Demand,
    ttl: Option<Duration>,
    owner: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Waiter {
    request: RequestId,
    newcomer: Newcomer,
}

impl LockTable {
    /// A table on which nothing is locked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one request of `lock` about the lock `name`, after all that is due; `None` if its
    /// answer comes later.
    #[inline]
    pub fn execute(
        &mut self,
        lock: LockId,
        name: &LockName,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Reply> {
        self.handle_timeout(now);
        if !self.is_slow() {
            return self.carry_out(lock, name, request, now);
        }
        let due = self.delayed.back().map_or(now, |last| last.due).max(now + self.delay);
        self.delayed.push_back(Delayed { due, lock, name: name.clone(), request });
        None
    }

    /// Lets a newcomer in if nobody is in the way and the table is not slow; otherwise nothing has
    /// happened.
    #[inline]
    pub(super) fn take_at_once(
        &mut self,
        lock: LockId,
        name: &LockName,
        demand: Demand,
        ttl: Option<Duration>,
        owner: Option<&Arc<str>>,
        now: Instant,
    ) -> Option<Grant> {
        self.handle_timeout(now);
        if self.is_slow() {
            return None;
        }
        let newcomer = Newcomer { lock, demand, ttl, owner: owner.cloned() };
        self.admit(name, newcomer, now).ok()
    }

    /// As [`Command::Leave`] of a table that is not slow.
    #[inline]
    pub(super) fn leave_at_once(
        &mut self,
        name: &LockName,
        lock: LockId,
        demand: Demand,
        now: Instant,
    ) {
        self.handle_timeout(now);
        self.leave(name, is_counted(demand), lock, now);
    }

    /// Takes an answer to an earlier request.
    pub fn poll_reply(&mut self) -> Option<(LockId, RequestId, Reply)> {
        self.replies.pop_front()
    }

    /// Takes the news of a loss.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether [`LockTable::poll_reply`] or [`LockTable::poll_notice`] has something to tell.
    #[must_use]
    #[inline]
    pub fn has_answers(&self) -> bool {
        !self.replies.is_empty() || !self.notices.is_empty()
    }

    /// Whether nothing that the table has in hand depends on what time it is: nobody waits, and what
    /// is held has no lease.
    #[must_use]
    #[inline]
    pub fn is_timeless(&self) -> bool {
        self.waiting == 0 && self.expiries.is_empty() && self.delayed.is_empty()
    }

    /// When time next matters to the table.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.expiries.is_empty() && self.delayed.is_empty() {
            return None;
        }
        let expiry = self.expiries.first_key_value().map(|((at, _), _)| *at);
        let delayed = self.delayed.front().map(|next| next.due);
        earlier(expiry, delayed)
    }

    /// Ends the leases that have run out, and carries out the requests that were delayed.
    #[inline]
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.delayed.is_empty() || !self.expiries.is_empty() {
            self.catch_up(now);
        }
    }

    fn catch_up(&mut self, now: Instant) {
        while self.delayed.front().is_some_and(|next| next.due <= now) {
            let Some(Delayed { lock, name, request, .. }) = self.delayed.pop_front() else {
                break;
            };
            let id = request.id;
            if let Some(reply) = self.carry_out(lock, &name, request, now) {
                self.replies.push_back((lock, id, reply));
            }
        }
        while let Some(first) = self.expiries.first_entry() {
            if first.key().0 > now {
                break;
            }
            let ((_, lock), key) = first.remove_entry();
            self.take_away(&key, lock, LossReason::Expired, now);
        }
    }

    /// From now on carries each request out this much after it was asked, in order.
    pub fn delay_requests(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// Takes `name` away from everybody who holds it, as lock and as semaphore; says from how
    /// many.
    pub fn revoke(&mut self, name: &LockName, reason: &LossReason, now: Instant) -> usize {
        let mut revoked = 0;
        for counted in [false, true] {
            let key = Key { name: name.clone(), counted };
            let holders: Vec<LockId> = self
                .queues(counted)
                .get(name)
                .map_or_else(Vec::new, |queue| queue.holders().map(|(lock, _)| lock).collect());
            revoked += holders.len();
            for lock in holders {
                self.take_away(&key, lock, reason.clone(), now);
            }
        }
        revoked
    }

    /// Who holds and who waits for `name`, as lock or as semaphore.
    #[must_use]
    pub fn info(&self, name: &LockName, demand: Demand, now: Instant) -> LockInfo {
        let queues = if is_counted(demand) { &self.semaphores } else { &self.locks };
        queues.get(name).map_or_else(
            || LockInfo { name: Some(name.as_str().into()), waiters: Some(0), ..LockInfo::free() },
            |queue| queue.info(name, now),
        )
    }

    /// Everything that is held or waited for.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<LockInfo> {
        let queues = self.locks.iter().chain(&self.semaphores);
        let mut used: Vec<_> = queues.filter(|(_, queue)| !queue.is_unused()).collect();
        used.sort_by_key(|(name, _)| *name);
        used.into_iter().map(|(name, queue)| queue.info(name, now)).collect()
    }

    #[inline]
    fn carry_out(
        &mut self,
        lock: LockId,
        name: &LockName,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Reply> {
        match request.command {
            Command::Enter { demand, wait, ttl, owner } => {
                let newcomer = Newcomer { lock, demand, ttl, owner };
                self.enter(name, request.id, newcomer, wait, now)
            }
            Command::Extend { demand, ttl } => Some(self.extend(name, demand, lock, ttl, now)),
            Command::Leave { demand } => {
                self.leave(name, is_counted(demand), lock, now);
                Some(Reply::Left)
            }
        }
    }

    fn enter(
        &mut self,
        name: &LockName,
        request: RequestId,
        newcomer: Newcomer,
        wait: bool,
        now: Instant,
    ) -> Option<Reply> {
        let newcomer = match self.admit(name, newcomer, now) {
            Ok(grant) => return Some(grant.into()),
            Err(newcomer) if wait => newcomer,
            Err(_) => return Some(Reply::Busy),
        };
        let queue = self.queues(is_counted(newcomer.demand)).get_mut(name);
        let queue = queue.expect("whoever was not let in met a queue");
        queue.exclusive_waiters += usize::from(newcomer.demand == Demand::Exclusive);
        queue.waiters.push_back(Waiter { request, newcomer });
        self.waiting += 1;
        None
    }

    /// Lets a newcomer in, unless somebody is in the way.
    #[inline]
    fn admit(
        &mut self,
        name: &LockName,
        newcomer: Newcomer,
        now: Instant,
    ) -> Result<Grant, Newcomer> {
        let counted = is_counted(newcomer.demand);
        let (lock, ttl, fence) = (newcomer.lock, newcomer.ttl, self.last_fence + 1);
        let queues = if counted { &mut self.semaphores } else { &mut self.locks };
        let queue = match queues.get_mut(name) {
            Some(queue) => queue,
            None => queues.entry(name.clone()).or_default(),
        };
        if !queue.admits_newcomer(newcomer.demand) {
            return Err(newcomer);
        }
        let grant = queue.seat(newcomer, fence, now);
        self.last_fence = fence;
        if let Some(ttl) = ttl {
            self.expiries.insert((now + ttl, lock), Key { name: name.clone(), counted });
        }
        Ok(grant)
    }

    fn extend(
        &mut self,
        name: &LockName,
        demand: Demand,
        lock: LockId,
        ttl: Duration,
        now: Instant,
    ) -> Reply {
        let counted = is_counted(demand);
        let queue = self.queues(counted).get_mut(name);
        let Some(tenure) = queue.and_then(|queue| queue.holder_mut(lock)) else {
            return Reply::NotHeld;
        };
        let Some(old) = tenure.valid_until else {
            return Reply::Extended { valid_until: None };
        };
        let new = old.max(now + ttl);
        tenure.valid_until = Some(new);
        self.expiries.remove(&(old, lock));
        self.expiries.insert((new, lock), Key { name: name.clone(), counted });
        Reply::Extended { valid_until: Some(new) }
    }

    /// Unseats `lock`, lets in whoever's turn it is then, and keeps a queue that nobody uses for a
    /// while.
    #[inline]
    fn leave(&mut self, name: &LockName, counted: bool, lock: LockId, now: Instant) {
        let queues = if counted { &mut self.semaphores } else { &mut self.locks };
        let Some(queue) = queues.get_mut(name) else {
            return;
        };
        if let Some(tenure) = queue.unseat(lock) {
            if let Some(at) = tenure.valid_until {
                self.expiries.remove(&(at, lock));
            }
        } else if let Some(waiter) = queue.withdraw(lock) {
            self.waiting -= 1;
            self.replies.push_back((lock, waiter.request, Reply::Withdrawn));
        }
        while !queue.waiters.is_empty()
            && let Some(waiter) = queue.next_to_admit()
        {
            self.waiting -= 1;
            let Waiter { request, newcomer } = waiter;
            let lock = newcomer.lock;
            if let Some(ttl) = newcomer.ttl {
                self.expiries.insert((now + ttl, lock), Key { name: name.clone(), counted });
            }
            self.last_fence += 1;
            let grant = queue.seat(newcomer, self.last_fence, now);
            self.replies.push_back((lock, request, grant.into()));
        }
        if queue.is_unused() && queue.is_new_to_rest() {
            self.keep(Key { name: name.clone(), counted });
        }
    }

    /// Keeps a queue that nobody uses, and forgets the one that was kept for longest, if nobody has
    /// come back to it.
    fn keep(&mut self, key: Key) {
        self.kept.push_back(key);
        if self.kept.len() <= KEPT_QUEUES {
            return;
        }
        let Some(Key { name, counted }) = self.kept.pop_front() else {
            return;
        };
        if let Entry::Occupied(mut entry) = self.queues(counted).entry(name) {
            entry.get_mut().kept = false;
            if entry.get().is_unused() {
                entry.remove();
            }
        }
    }

    fn take_away(&mut self, key: &Key, lock: LockId, reason: LossReason, now: Instant) {
        self.leave(&key.name, key.counted, lock, now);
        self.notices.push_back(Notice { lock, reason });
    }

    /// Whether requests are carried out later than they are asked.
    pub(super) fn is_slow(&self) -> bool {
        !self.delay.is_zero() || !self.delayed.is_empty()
    }

    fn queues(&mut self, counted: bool) -> &mut Queues {
        if counted { &mut self.semaphores } else { &mut self.locks }
    }
}

fn is_counted(demand: Demand) -> bool {
    matches!(demand, Demand::Permits { .. })
}

fn weight(demand: Demand) -> u32 {
    match demand {
        Demand::Exclusive | Demand::Shared => 1,
        Demand::Permits { count, .. } => count,
    }
}

impl Queue {
    fn admits_newcomer(&self, demand: Demand) -> bool {
        match demand {
            Demand::Exclusive => self.is_unused(),
            Demand::Shared => !self.held_exclusively && self.exclusive_waiters == 0,
            Demand::Permits { count, limit } => self.waiters.is_empty() && self.fits(count, limit),
        }
    }

    fn fits(&self, count: u32, limit: u32) -> bool {
        self.used + u64::from(count) <= u64::from(limit)
    }

    /// Takes the next waiter whose turn it is out of the queue.
    fn next_to_admit(&mut self) -> Option<Waiter> {
        if self.held_exclusively {
            return None;
        }
        let position = match self.waiters.front()?.newcomer.demand {
            Demand::Permits { count, limit } => self.fits(count, limit).then_some(0),
            Demand::Exclusive | Demand::Shared => self.next_reader_or_writer(),
        }?;
        let waiter = self.waiters.remove(position)?;
        self.exclusive_waiters -= usize::from(waiter.newcomer.demand == Demand::Exclusive);
        Some(waiter)
    }

    /// The readers that waited out a writer go first; then, when all have left, a writer.
    fn next_reader_or_writer(&mut self) -> Option<usize> {
        if self.exclusive_waiters == 0 || self.readers_due > 0 {
            self.readers_due = self.readers_due.saturating_sub(1);
            return self.waiters.iter().position(|waiter| waiter.newcomer.demand == Demand::Shared);
        }
        if self.used > 0 {
            return None;
        }
        self.waiters.iter().position(|waiter| waiter.newcomer.demand == Demand::Exclusive)
    }

    #[inline]
    fn seat(&mut self, newcomer: Newcomer, fence: u64, now: Instant) -> Grant {
        let Newcomer { lock, demand, ttl, owner } = newcomer;
        let (weight, valid_until) = (weight(demand), ttl.map(|ttl| now + ttl));
        let tenure = Tenure { weight, fence, since: now, valid_until, owner };
        self.used += u64::from(weight);
        self.held_exclusively = demand == Demand::Exclusive;
        if self.first.is_none() {
            self.first = Some((lock, tenure));
        } else {
            self.others.insert(lock, tenure);
        }
        Grant { fence, valid_until }
    }

    #[inline]
    fn unseat(&mut self, lock: LockId) -> Option<Tenure> {
        let is_first = self.first.as_ref().is_some_and(|(first, _)| *first == lock);
        let tenure = if is_first {
            self.first.take().map(|(_, tenure)| tenure)
        } else {
            self.others.remove(&lock)
        }?;
        self.used -= u64::from(tenure.weight);
        if self.held_exclusively {
            self.held_exclusively = false;
            self.readers_due = self.waiters.len() - self.exclusive_waiters;
        }
        Some(tenure)
    }

    fn withdraw(&mut self, lock: LockId) -> Option<Waiter> {
        let position = self.waiters.iter().position(|waiter| waiter.newcomer.lock == lock)?;
        let waiter = self.waiters.remove(position)?;
        self.exclusive_waiters -= usize::from(waiter.newcomer.demand == Demand::Exclusive);
        Some(waiter)
    }

    fn holder_mut(&mut self, lock: LockId) -> Option<&mut Tenure> {
        match &mut self.first {
            Some((first, tenure)) if *first == lock => Some(tenure),
            Some(_) | None => self.others.get_mut(&lock),
        }
    }

    fn holders(&self) -> impl Iterator<Item = (LockId, &Tenure)> {
        let first = self.first.iter().map(|(lock, tenure)| (*lock, tenure));
        first.chain(self.others.iter().map(|(lock, tenure)| (*lock, tenure)))
    }

    fn is_unused(&self) -> bool {
        self.used == 0 && self.waiters.is_empty()
    }

    /// Prepares a queue that nobody uses for a rest; whether it is yet to be kept.
    fn is_new_to_rest(&mut self) -> bool {
        if self.waiters.capacity() > KEPT_WAITERS {
            self.waiters.shrink_to(KEPT_WAITERS);
        }
        !core::mem::replace(&mut self.kept, true)
    }

    fn info(&self, name: &LockName, now: Instant) -> LockInfo {
        let holders = self.holders().map(|(_, tenure)| Holder {
            owner: tenure.owner.as_deref().map(Into::into),
            held_for: Some(now.since(tenure.since)),
            remaining: tenure.valid_until.map(|at| at.since(now)),
            fence: Some(tenure.fence),
            ..Holder::default()
        });
        LockInfo {
            name: Some(name.as_str().into()),
            locked: self.used > 0,
            holders: holders.collect(),
            waiters: Some(self.waiters.len()),
        }
    }
}
