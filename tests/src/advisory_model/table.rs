//! Who holds each lock, and who waits for it in which order.

use std::collections::{BTreeMap, BTreeSet};

use lock_proto::postgres::{AdvisoryKey, Mode};

use super::session::Lock;
use super::{Row, SessionId};

/// The locks that are held or waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Table {
    entries: BTreeMap<AdvisoryKey, Entry>,
}

/// One lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    holders: BTreeSet<Claim>,
    queue: Vec<Claim>,
}

type Claim = (SessionId, Mode);

/// What comes of the wish for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    Queued,
    /// Each would have to wait for the other.
    Deadlock,
}

impl Table {
    /// Takes a lock that the session does not hold in this mode, unless somebody holds or waits for
    /// what conflicts with it.
    pub(super) fn try_acquire(&mut self, session: SessionId, (key, mode): Lock) -> bool {
        let free = self.entries.get(&key).is_none_or(|entry| entry.is_free((session, mode)));
        if free {
            self.entries.entry(key).or_default().holders.insert((session, mode));
        }
        free
    }

    /// Takes a lock that the session does not hold in this mode, or queues for it.
    pub(super) fn acquire(&mut self, session: SessionId, (key, mode): Lock) -> Admission {
        let entry = self.entries.entry(key).or_default();
        let admission = entry.admit((session, mode));
        self.tidy(key);
        admission
    }

    /// Gives a lock back that the session holds, and says who has it then.
    pub(super) fn release(&mut self, session: SessionId, (key, mode): Lock) -> Vec<SessionId> {
        let entry = self.entries.get_mut(&key).expect("it is held");
        assert!(entry.holders.remove(&(session, mode)), "{session:?} holds {key:?} {mode:?}");
        let woken = entry.wake();
        self.tidy(key);
        woken
    }

    /// Leaves the queue of a lock, and says who has it then.
    pub(super) fn withdraw(&mut self, session: SessionId, key: AdvisoryKey) -> Vec<SessionId> {
        let entry = self.entries.get_mut(&key).expect("somebody waits for it");
        entry.queue.retain(|(waiter, _)| *waiter != session);
        let woken = entry.wake();
        self.tidy(key);
        woken
    }

    /// Those who hold what a session waits for.
    pub(super) fn blockers(&self, session: SessionId) -> impl Iterator<Item = SessionId> {
        self.entries.values().flat_map(move |entry| {
            let claim = entry.queue.iter().find(|(waiter, _)| *waiter == session);
            claim.into_iter().flat_map(|claim| entry.in_the_way(*claim))
        })
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |key: &AdvisoryKey, claim: &Claim, granted: bool| {
            let (session, mode) = *claim;
            Row { key: *key, session, mode, granted }
        };
        let rows = self.entries.iter().flat_map(|(key, entry)| {
            let held = entry.holders.iter().map(|claim| row(key, claim, true));
            held.chain(entry.queue.iter().map(|claim| row(key, claim, false)))
        });
        rows.collect()
    }

    fn tidy(&mut self, key: AdvisoryKey) {
        if self.entries.get(&key).is_some_and(|entry| *entry == Entry::default()) {
            self.entries.remove(&key);
        }
    }
}

impl Entry {
    /// Whether nobody holds, and nobody waits for, what conflicts with a claim. What the session
    /// itself holds in the other mode is not in its way, but whoever waits is.
    fn is_free(&self, claim: Claim) -> bool {
        let waited_for = self.queue.iter().any(|(_, mode)| conflicts(*mode, claim.1));
        !waited_for && self.in_the_way(claim).next().is_none()
    }

    fn in_the_way(&self, (session, mode): Claim) -> impl Iterator<Item = SessionId> {
        let conflicting = move |holder: &&Claim| holder.0 != session && conflicts(holder.1, mode);
        self.holders.iter().filter(conflicting).map(|(holder, _)| *holder)
    }

    /// Whoever holds the lock in the other mode goes before those who have to wait for that, since
    /// both would wait for each other otherwise.
    fn admit(&mut self, claim: Claim) -> Admission {
        if self.is_free(claim) {
            self.holders.insert(claim);
            return Admission::Granted;
        }
        let held = self.modes_of(claim.0);
        let must_wait_for_us = |waiter: &Claim| held.iter().any(|mode| conflicts(*mode, waiter.1));
        let place = self.queue.iter().position(must_wait_for_us);
        let Some(place) = place else {
            self.queue.push(claim);
            return Admission::Queued;
        };
        let (waiter, _) = self.queue[place];
        if self.modes_of(waiter).iter().any(|mode| conflicts(*mode, claim.1)) {
            return Admission::Deadlock;
        }
        let ahead = self.queue[..place].iter().any(|(_, mode)| conflicts(*mode, claim.1));
        if !ahead && self.in_the_way(claim).next().is_none() {
            self.holders.insert(claim);
            return Admission::Granted;
        }
        self.queue.insert(place, claim);
        Admission::Queued
    }

    fn modes_of(&self, session: SessionId) -> Vec<Mode> {
        let own = self.holders.iter().filter(|(holder, _)| *holder == session);
        own.map(|(_, mode)| *mode).collect()
    }

    /// Grants the lock to those whose turn it is.
    fn wake(&mut self) -> Vec<SessionId> {
        let (mut woken, mut still) = (Vec::new(), Vec::<Claim>::new());
        for claim in std::mem::take(&mut self.queue) {
            let ahead = still.iter().any(|(_, mode)| conflicts(*mode, claim.1));
            if ahead || self.in_the_way(claim).next().is_some() {
                still.push(claim);
            } else {
                self.holders.insert(claim);
                woken.push(claim.0);
            }
        }
        self.queue = still;
        woken
    }
}

fn conflicts(one: Mode, other: Mode) -> bool {
    one == Mode::Exclusive || other == Mode::Exclusive
}
