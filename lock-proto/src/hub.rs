//! Many machines driven as one.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::cohorts::{Cohorts, Seat};
use crate::{Event, Fault, Instant, LossReason, Machine, Request, RequestId};

/// Every lock of one client: routing, and one ordered set of deadlines.
///
/// The driver keeps an attachment `A` beside each machine (a waker, what the caller was told).
/// After each input, and for each lock that [`Hub::poll_due`] names, take that lock's requests and
/// events; then those of each lock that [`Hub::poll_succession`] names. Ids are never used again, so
/// an answer that comes after its lock was forgotten finds nobody.
///
/// Of the locks of one [cohort](Machine::cohort) the first asks the backend, and the others stand
/// behind it, in their order. When it leaves, the next takes over what it had.
#[derive(Debug)]
pub struct Hub<M: Machine, A> {
    slots: Vec<Slot<M, A>>,
    vacant: Vec<u32>,
    deadlines: BTreeSet<(Instant, LockId)>,
    cohorts: Cohorts<M::Cohort>,
    successions: VecDeque<Succession>,
    now: Instant,
}

#[derive(Debug)]
struct Slot<M, A> {
    generation: u32,
    tenant: Option<Tenant<M, A>>,
}

#[derive(Debug)]
struct Tenant<M, A> {
    machine: M,
    attachment: A,
    /// As it stands in `deadlines`.
    deadline: Option<Instant>,
    seat: Seat,
}

/// One lock has come to the front of its cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Succession {
    /// The lock that was at the front.
    pub before: LockId,
    /// The lock that is there now.
    pub lock: LockId,
    /// Whether what was the backend's to say to the one before is now for this.
    pub inherits: bool,
}

/// Names one lock's life within its [`Hub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId {
    generation: u32,
    index: u32,
}

impl<M: Machine, A> Hub<M, A> {
    /// A hub of no locks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            deadlines: BTreeSet::new(),
            cohorts: Cohorts::new(),
            successions: VecDeque::new(),
            now: Instant::ZERO,
        }
    }

    /// Takes a new machine in.
    ///
    /// # Panics
    ///
    /// If there are 2³² locks already.
    pub fn start(&mut self, machine: M, attachment: A, now: Instant) -> LockId {
        self.clamp(now);
        let cohort = machine.cohort();
        let tenant = Tenant { machine, attachment, deadline: None, seat: Seat::Alone };
        let id = if let Some(index) = self.vacant.pop() {
            let slot = &mut self.slots[index as usize];
            slot.tenant = Some(tenant);
            LockId { generation: slot.generation, index }
        } else {
            let index = u32::try_from(self.slots.len()).expect("2^32 locks don't fit in memory");
            self.slots.push(Slot { generation: 0, tenant: Some(tenant) });
            LockId { generation: 0, index }
        };
        if let Some(cohort) = cohort {
            self.seat(id, cohort);
        }
        self.index_deadline(id);
        id
    }

    /// Records the one outcome of a request.
    pub fn handle_reply(
        &mut self,
        lock: LockId,
        id: RequestId,
        reply: Result<M::Reply, Fault>,
        now: Instant,
    ) {
        self.input(lock, now, |machine, now| machine.handle_reply(id, reply, now));
    }

    /// Tells one lock to look now.
    pub fn nudge(&mut self, lock: LockId, now: Instant) {
        self.input(lock, now, Machine::handle_nudge);
    }

    /// Tells one lock what the backend says unasked.
    pub fn message(&mut self, lock: LockId, message: M::Message, now: Instant) {
        self.input(lock, now, |machine, now| machine.handle_message(message, now));
    }

    /// Tells one lock that it is no longer ours.
    pub fn disconnect(&mut self, lock: LockId, reason: LossReason, now: Instant) {
        self.input(lock, now, |machine, now| machine.handle_disconnect(reason, now));
    }

    /// Prolongs one lock by hand.
    pub fn extend(&mut self, lock: LockId, ttl: Duration, now: Instant) {
        self.input(lock, now, |machine, now| machine.extend(ttl, now));
    }

    /// Lets one lock go, held or not.
    pub fn release(&mut self, lock: LockId, now: Instant) {
        self.input(lock, now, Machine::release);
    }

    /// Takes the next request of one lock.
    pub fn poll_request(&mut self, lock: LockId) -> Option<Request<M::Command>> {
        self.tenant(lock)?.machine.poll_request()
    }

    /// Takes the next event of one lock.
    pub fn poll_event(&mut self, lock: LockId) -> Option<Event> {
        self.tenant(lock)?.machine.poll_event()
    }

    /// When time next matters to any lock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes the next lock that has come to the front of its cohort, and so may have something to
    /// say.
    pub fn poll_succession(&mut self) -> Option<Succession> {
        self.successions.pop_front()
    }

    /// Each cohort in which locks stand behind another, and how many.
    pub fn crowds(&self) -> impl Iterator<Item = (&M::Cohort, usize)> {
        self.cohorts.crowds()
    }

    /// Lets nobody succeed anybody any more: those that stand behind another stay there until they
    /// are let go.
    pub fn disband(&mut self) {
        for slot in &mut self.slots {
            if let Some(tenant) = &mut slot.tenant {
                tenant.seat = Seat::Alone;
            }
        }
        self.cohorts = Cohorts::new();
    }

    /// Lets time pass for one lock whose deadline has come, and names it. Call until `None`.
    pub fn poll_due(&mut self, now: Instant) -> Option<LockId> {
        self.clamp(now);
        let (at, lock) = *self.deadlines.first()?;
        if at > self.now {
            return None;
        }
        self.input(lock, now, Machine::handle_timeout);
        Some(lock)
    }

    /// What the driver keeps beside one lock.
    pub fn attachment(&mut self, lock: LockId) -> Option<&mut A> {
        self.tenant(lock).map(|tenant| &mut tenant.attachment)
    }

    /// Forgets one lock and what was kept beside it; says whether it was known.
    pub fn forget(&mut self, lock: LockId) -> bool {
        if let Some(next) = self.next_after(lock, true) {
            self.follow(lock, next);
            self.move_up(next);
        }
        let Some(tenant) = self.tenant(lock) else { return false };
        if let Some(at) = tenant.deadline {
            self.deadlines.remove(&(at, lock));
        }
        let slot = &mut self.slots[lock.index as usize];
        slot.tenant = None;
        // A slot whose ids are used up is left empty for good.
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            self.vacant.push(lock.index);
        }
        true
    }

    /// Every lock that was started and not forgotten.
    pub fn locks(&self) -> impl Iterator<Item = LockId> {
        self.slots
            .iter()
            .zip(0..)
            .filter(|(slot, _)| slot.tenant.is_some())
            .map(|(slot, index)| LockId { generation: slot.generation, index })
    }

    fn input(&mut self, lock: LockId, now: Instant, record: impl FnOnce(&mut M, Instant)) {
        let now = self.clamp(now);
        let Some(tenant) = tenant_of(&mut self.slots, lock) else {
            return;
        };
        record(&mut tenant.machine, now);
        tenant.index_deadline(lock, &mut self.deadlines);
        if tenant.seat != Seat::Alone {
            self.move_up(lock);
        }
    }

    /// Gives a new lock its seat in its cohort.
    fn seat(&mut self, lock: LockId, cohort: M::Cohort) {
        let seat = self.cohorts.join(cohort, lock);
        let Some(tenant) = self.tenant(lock) else { return };
        tenant.seat = seat;
        if let Seat::Behind(_) = seat {
            tenant.machine.stand_behind();
        }
    }

    /// Lets the next of its cohort follow a lock that leaves, and the next but one, if that one
    /// leaves as soon as it comes to the front.
    fn move_up(&mut self, mut lock: LockId) {
        while let Some(next) = self.next_after(lock, false) {
            self.follow(lock, next);
            lock = next;
        }
    }

    fn follow(&mut self, lock: LockId, next: LockId) {
        let places = [lock.index as usize, next.index as usize];
        let Ok([Slot { tenant: Some(before), .. }, Slot { tenant: Some(tenant), .. }]) =
            self.slots.get_disjoint_mut(places)
        else {
            return;
        };
        tenant.seat = Seat::Front;
        let inherits = tenant.machine.follow(&mut before.machine, self.now);
        self.successions.push_back(Succession { before: lock, lock: next, inherits });
        self.index_deadline(lock);
        self.index_deadline(next);
    }

    /// Who comes to the front if `lock` leaves it, as it does when it is `forgotten`.
    fn next_after(&mut self, lock: LockId, forgotten: bool) -> Option<LockId> {
        let tenant = self.tenant(lock)?;
        if tenant.seat == Seat::Alone || !(forgotten || tenant.machine.is_leaving()) {
            return None;
        }
        let cohort = tenant.machine.cohort()?;
        let seat = core::mem::replace(&mut tenant.seat, Seat::Alone);
        self.cohorts.leave(&cohort, seat)
    }

    fn index_deadline(&mut self, lock: LockId) {
        if let Some(tenant) = tenant_of(&mut self.slots, lock) {
            tenant.index_deadline(lock, &mut self.deadlines);
        }
    }

    fn tenant(&mut self, lock: LockId) -> Option<&mut Tenant<M, A>> {
        tenant_of(&mut self.slots, lock)
    }

    fn clamp(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }
}

impl<M: Machine, A> Tenant<M, A> {
    /// Keeps `deadlines` true to what the machine says.
    #[inline]
    fn index_deadline(&mut self, lock: LockId, deadlines: &mut BTreeSet<(Instant, LockId)>) {
        let next = self.machine.poll_timeout().map(|deadline| deadline.at);
        let known = core::mem::replace(&mut self.deadline, next);
        if next == known {
            return;
        }
        if let Some(at) = known {
            deadlines.remove(&(at, lock));
        }
        if let Some(at) = next {
            deadlines.insert((at, lock));
        }
    }
}

#[inline]
fn tenant_of<M, A>(slots: &mut [Slot<M, A>], lock: LockId) -> Option<&mut Tenant<M, A>> {
    let slot = slots.get_mut(lock.index as usize)?;
    slot.tenant.as_mut().filter(|_| slot.generation == lock.generation)
}

impl<M: Machine, A> Default for Hub<M, A> {
    fn default() -> Self {
        Self::new()
    }
}
