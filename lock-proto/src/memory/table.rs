//! The lock table: one weighted queue per name.

use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Command, Reply};
use crate::info::{Holder, LockInfo};
use crate::{Demand, Instant, LockId, LockName, LossReason, Request, RequestId};

/// Room for waiters that may be kept for later.
const SPARE_WAITERS: usize = 64;

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
    /// Boxed, so that a name that comes and goes moves little of the map.
    queues: BTreeMap<Key, Box<Queue>>,
    /// The queue that was last unused, for the next name.
    spare: Option<Box<Queue>>,
    replies: VecDeque<(LockId, RequestId, Reply)>,
    notices: VecDeque<Notice>,
    expiries: BTreeMap<(Instant, LockId), Key>,
    last_fence: u64,
    delay: Duration,
    delayed: VecDeque<(Instant, LockId, Request<Command>)>,
}

/// A holder that has lost its lock without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Whose lock it was.
    pub lock: LockId,
    /// Why it is gone.
    pub reason: LossReason,
}

/// Semaphores have a name space of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: LockName,
    counted: bool,
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
}

#[derive(Clone, Debug)]
struct Tenure {
    weight: u32,
    fence: u64,
    since: Instant,
    valid_until: Option<Instant>,
    owner: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Waiter {
    lock: LockId,
    request: RequestId,
    demand: Demand,
    ttl: Option<Duration>,
    owner: Option<Arc<str>>,
}

impl LockTable {
    /// A table on which nothing is locked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one request of `lock`, after all that is due; `None` if its answer comes later.
    #[inline]
    pub fn execute(
        &mut self,
        lock: LockId,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Reply> {
        self.handle_timeout(now);
        if self.delay.is_zero() && self.delayed.is_empty() {
            return self.carry_out(lock, request, now);
        }
        let due = self.delayed.back().map_or(now, |(due, ..)| *due).max(now + self.delay);
        self.delayed.push_back((due, lock, request));
        None
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

    /// When time next matters to the table.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.expiries.first_key_value().map(|((at, _), _)| *at);
        let delayed = self.delayed.front().map(|(due, ..)| *due);
        [expiry, delayed].into_iter().flatten().min()
    }

    /// Ends the leases that have run out, and carries out the requests that were delayed.
    #[inline]
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.delayed.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, lock, request)) = self.delayed.pop_front() else {
                break;
            };
            let id = request.id;
            if let Some(reply) = self.carry_out(lock, request, now) {
                self.replies.push_back((lock, id, reply));
            }
        }
        while let Some(first) = self.expiries.first_entry() {
            if first.key().0 > now {
                break;
            }
            let ((_, lock), key) = first.remove_entry();
            self.take_away(key, lock, LossReason::Expired, now);
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
                .queues
                .get(&key)
                .map_or_else(Vec::new, |queue| queue.holders().map(|(lock, _)| lock).collect());
            revoked += holders.len();
            for lock in holders {
                self.take_away(key.clone(), lock, reason.clone(), now);
            }
        }
        revoked
    }

    /// Who holds and who waits for `name`, as lock or as semaphore.
    #[must_use]
    pub fn info(&self, name: &LockName, demand: Demand, now: Instant) -> LockInfo {
        let key = Key::of(name.clone(), demand);
        self.queues.get(&key).map_or_else(
            || LockInfo { name: Some(name.as_str().into()), waiters: Some(0), ..LockInfo::free() },
            |queue| queue.info(&key, now),
        )
    }

    /// Everything that is held or waited for.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<LockInfo> {
        self.queues.iter().map(|(key, queue)| queue.info(key, now)).collect()
    }

    #[inline]
    fn carry_out(
        &mut self,
        lock: LockId,
        request: Request<Command>,
        now: Instant,
    ) -> Option<Reply> {
        match request.command {
            Command::Enter { name, demand, wait, ttl, owner } => {
                let waiter = Waiter { lock, request: request.id, demand, ttl, owner };
                self.enter(Key::of(name, demand), waiter, wait, now)
            }
            Command::Extend { name, demand, ttl } => {
                Some(self.extend(&Key::of(name, demand), lock, ttl, now))
            }
            Command::Leave { name, demand } => {
                self.leave(Key::of(name, demand), lock, now);
                Some(Reply::Left)
            }
        }
    }

    #[inline]
    fn enter(&mut self, key: Key, waiter: Waiter, wait: bool, now: Instant) -> Option<Reply> {
        let lease = waiter.ttl.map(|ttl| (key.clone(), now + ttl));
        let spare = &mut self.spare;
        let queue = self.queues.entry(key).or_insert_with(|| spare.take().unwrap_or_default());
        if queue.admits_newcomer(waiter.demand) {
            self.last_fence += 1;
            if let Some((key, end)) = lease {
                self.expiries.insert((end, waiter.lock), key);
            }
            return Some(queue.seat(waiter, self.last_fence, now));
        }
        if !wait {
            return Some(Reply::Busy);
        }
        queue.exclusive_waiters += usize::from(waiter.demand == Demand::Exclusive);
        queue.waiters.push_back(waiter);
        None
    }

    fn extend(&mut self, key: &Key, lock: LockId, ttl: Duration, now: Instant) -> Reply {
        let tenure = self.queues.get_mut(key).and_then(|queue| queue.holder_mut(lock));
        let Some(tenure) = tenure else {
            return Reply::NotHeld;
        };
        let Some(old) = tenure.valid_until else {
            return Reply::Extended { valid_until: None };
        };
        let new = old.max(now + ttl);
        tenure.valid_until = Some(new);
        self.expiries.remove(&(old, lock));
        self.expiries.insert((new, lock), key.clone());
        Reply::Extended { valid_until: Some(new) }
    }

    /// Unseats `lock`, lets in whoever's turn it is then, and forgets a queue that nobody uses.
    #[inline]
    fn leave(&mut self, key: Key, lock: LockId, now: Instant) {
        let Entry::Occupied(mut entry) = self.queues.entry(key) else {
            return;
        };
        let queue = entry.get_mut();
        if let Some(tenure) = queue.unseat(lock) {
            if let Some(at) = tenure.valid_until {
                self.expiries.remove(&(at, lock));
            }
        } else if let Some(waiter) = queue.withdraw(lock) {
            self.replies.push_back((lock, waiter.request, Reply::Withdrawn));
        }
        while let Some(waiter) = entry.get_mut().next_to_admit() {
            let (lock, request) = (waiter.lock, waiter.request);
            if let Some(ttl) = waiter.ttl {
                self.expiries.insert((now + ttl, lock), entry.key().clone());
            }
            self.last_fence += 1;
            let reply = entry.get_mut().seat(waiter, self.last_fence, now);
            self.replies.push_back((lock, request, reply));
        }
        if entry.get().is_unused() {
            self.spare = Some(entry.remove()).filter(|queue| queue.is_small());
        }
    }

    fn take_away(&mut self, key: Key, lock: LockId, reason: LossReason, now: Instant) {
        self.leave(key, lock, now);
        self.notices.push_back(Notice { lock, reason });
    }
}

impl Key {
    fn of(name: LockName, demand: Demand) -> Self {
        Self { name, counted: matches!(demand, Demand::Permits { .. }) }
    }
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
        let position = match self.waiters.front()?.demand {
            Demand::Permits { count, limit } => self.fits(count, limit).then_some(0),
            Demand::Exclusive | Demand::Shared => self.next_reader_or_writer(),
        }?;
        let waiter = self.waiters.remove(position)?;
        self.exclusive_waiters -= usize::from(waiter.demand == Demand::Exclusive);
        Some(waiter)
    }

    /// The readers that waited out a writer go first; then, when all have left, a writer.
    fn next_reader_or_writer(&mut self) -> Option<usize> {
        if self.exclusive_waiters == 0 || self.readers_due > 0 {
            self.readers_due = self.readers_due.saturating_sub(1);
            return self.waiters.iter().position(|waiter| waiter.demand == Demand::Shared);
        }
        if self.used > 0 {
            return None;
        }
        self.waiters.iter().position(|waiter| waiter.demand == Demand::Exclusive)
    }

    #[inline]
    fn seat(&mut self, waiter: Waiter, fence: u64, now: Instant) -> Reply {
        let Waiter { lock, demand, ttl, owner, .. } = waiter;
        let (weight, valid_until) = (weight(demand), ttl.map(|ttl| now + ttl));
        let tenure = Tenure { weight, fence, since: now, valid_until, owner };
        self.used += u64::from(weight);
        self.held_exclusively = demand == Demand::Exclusive;
        if self.first.is_none() {
            self.first = Some((lock, tenure));
        } else {
            self.others.insert(lock, tenure);
        }
        Reply::Granted { fence, valid_until }
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
        let position = self.waiters.iter().position(|waiter| waiter.lock == lock)?;
        let waiter = self.waiters.remove(position)?;
        self.exclusive_waiters -= usize::from(waiter.demand == Demand::Exclusive);
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

    /// Whether it takes little room when it is unused.
    fn is_small(&self) -> bool {
        self.waiters.capacity() <= SPARE_WAITERS
    }

    fn info(&self, key: &Key, now: Instant) -> LockInfo {
        let holders = self.holders().map(|(_, tenure)| Holder {
            owner: tenure.owner.as_deref().map(Into::into),
            held_for: Some(now.since(tenure.since)),
            remaining: tenure.valid_until.map(|at| at.since(now)),
            fence: Some(tenure.fence),
            ..Holder::default()
        });
        LockInfo {
            name: Some(key.name.as_str().into()),
            // A queue that nobody holds is forgotten.
            locked: true,
            holders: holders.collect(),
            waiters: Some(self.waiters.len()),
        }
    }
}
