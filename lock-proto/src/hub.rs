//! Many machines driven as one.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::cohorts::{Cohorts, Seat};
use crate::{Event, Fault, Instant, LossReason, Machine, Request, RequestId};

/// The slots grow by this part of what they are: by doubling, as a vector does, up to half of the
/// memory of many locks would be room for others.
const GROWTH: usize = 8;
/// But by no fewer than this.
const FIRST_SLOTS: usize = 8;

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

/// How far a driver got with a request at once.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver must say which it is")]
pub enum Progress<R, E> {
    /// It was carried out, or can't be.
    Answered(Result<R, Fault>),
    /// Its answer comes later.
    Later,
    /// This is left to be done, and can't be done here.
    Outside(E),
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
    #[inline(always)]
    pub fn start(&mut self, machine: M, attachment: A, now: Instant) -> LockId {
        self.clamp(now);
        let cohort = machine.cohort();
        let tenant = Tenant { machine, attachment, deadline: None, seat: Seat::Alone };
        let index = self.vacant.pop().unwrap_or_else(|| self.add_slot());
        let slot = &mut self.slots[index as usize];
        let id = LockId { generation: slot.generation, index };
        slot.tenant.insert(tenant).index_deadline(id, &mut self.deadlines);
        if let Some(cohort) = cohort {
            self.seat(id, cohort);
            self.index_deadline(id);
        }
        id
    }

    /// The id that the next lock to be started will have.
    #[must_use]
    #[inline]
    pub fn next_id(&self) -> LockId {
        let new = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let index = self.vacant.last().copied().unwrap_or(new);
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        LockId { generation, index }
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

    /// Takes one lock's requests, as long as `carry_out` gets them done and no lock takes the place
    /// of another by that, and its events, each of which is `note`d. What is left of a request that
    /// has to be done elsewhere, with that request's name.
    #[inline]
    pub fn attend<E>(
        &mut self,
        lock: LockId,
        now: Instant,
        mut carry_out: impl FnMut(&mut A, Request<M::Command>, Instant) -> Progress<M::Reply, E>,
        mut note: impl FnMut(&mut A, Event),
    ) -> Option<(RequestId, E)> {
        let now = self.clamp(now);
        let mut outside = None;
        while outside.is_none() && self.successions.is_empty() {
            let tenant = tenant_of(&mut self.slots, lock)?;
            let Some(request) = tenant.machine.poll_request() else { break };
            let id = request.id;
            match carry_out(&mut tenant.attachment, request, now) {
                Progress::Answered(reply) => {
                    tenant.machine.handle_reply(id, reply, now);
                    if tenant.seat != Seat::Alone {
                        self.move_up(lock);
                    }
                }
                Progress::Later => {}
                Progress::Outside(errand) => outside = Some((id, errand)),
            }
        }
        let tenant = tenant_of(&mut self.slots, lock)?;
        while let Some(event) = tenant.machine.poll_event() {
            note(&mut tenant.attachment, event);
        }
        tenant.index_deadline(lock, &mut self.deadlines);
        outside
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

    /// Whether [`Hub::poll_succession`] has something to tell.
    #[must_use]
    pub fn has_successions(&self) -> bool {
        !self.successions.is_empty()
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

    /// The latest time that it has heard of.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether nothing that it has in hand depends on what time it is.
    #[must_use]
    #[inline]
    pub fn is_timeless(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// Forgets one lock if `over` says so, which then has to have seen to all that its machine would
    /// have asked for; says whether it did.
    #[inline]
    pub fn forget_if(
        &mut self,
        lock: LockId,
        now: Instant,
        over: impl FnOnce(&mut M, &mut A, Instant) -> bool,
    ) -> bool {
        let now = self.clamp(now);
        let Some(tenant) = tenant_of(&mut self.slots, lock) else { return false };
        if !over(&mut tenant.machine, &mut tenant.attachment, now) {
            return false;
        }
        if tenant.seat != Seat::Alone {
            return self.forget(lock);
        }
        self.vacate(lock);
        true
    }

    /// Forgets one lock and what was kept beside it; says whether it was known.
    pub fn forget(&mut self, lock: LockId) -> bool {
        if let Some(next) = self.next_after(lock, true) {
            self.follow(lock, next);
            self.move_up(next);
        }
        self.vacate(lock)
    }

    /// Every lock that was started and not forgotten.
    pub fn locks(&self) -> impl Iterator<Item = LockId> {
        self.slots
            .iter()
            .zip(0..)
            .filter(|(slot, _)| slot.tenant.is_some())
            .map(|(slot, index)| LockId { generation: slot.generation, index })
    }

    #[inline]
    fn vacate(&mut self, lock: LockId) -> bool {
        let slot = self.slots.get_mut(lock.index as usize);
        let Some(slot) = slot.filter(|slot| slot.generation == lock.generation) else {
            return false;
        };
        let Some(tenant) = &slot.tenant else { return false };
        if let Some(at) = tenant.deadline {
            self.deadlines.remove(&(at, lock));
        }
        slot.tenant = None;
        // A slot whose ids are used up is left empty for good.
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            self.vacant.push(lock.index);
        }
        true
    }

    #[cold]
    fn add_slot(&mut self) -> u32 {
        let index = u32::try_from(self.slots.len()).expect("2^32 locks don't fit in memory");
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact((self.slots.len() / GROWTH).max(FIRST_SLOTS));
        }
        self.slots.push(Slot { generation: 0, tenant: None });
        index
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

    #[inline]
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
