//! Which lock stands on which session of a pool.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::call::Verb;
use super::key::AdvisoryKey;
use crate::Instant;

/// The sessions of one provider, and the locks on each.
///
/// - A wait has a session on which nothing else is held or asked, since whatever came after it
///   would wait as well. It is others' as soon as the wait is over and in no doubt.
/// - No session holds one key twice: advisory locks count how often their session has taken them,
///   so that a second taker would be let in beside the first.
/// - As long as there may be two sessions, one is left for those that need not wait.
#[derive(Debug)]
pub struct Sessions {
    limits: PoolLimits,
    entries: BTreeMap<SessionId, Entry>,
    next: u64,
    next_seat: u64,
}

/// What bounds a pool of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolLimits {
    /// The most sessions; at least one.
    pub most: usize,
    /// Whether locks that are free share a session.
    pub multiplexed: bool,
    /// A session of no use for so long is closed.
    pub idle: Duration,
    /// How often something is said on a session that holds locks.
    pub keepalive: Option<Duration>,
}

/// One session of the pool; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// One acquisition, as the pool knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(u64);

/// Where a question is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Place {
    /// On this session.
    On(SessionId),
    /// On this session, which is yet to be opened.
    New(SessionId),
    /// Nowhere, for now.
    Full,
}

/// What a session needs at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Upkeep {
    /// It has been idle: close it. It is forgotten already.
    Close(SessionId),
    /// It has been silent: say something.
    Speak(SessionId),
}

#[derive(Debug)]
struct Entry {
    seats: BTreeMap<AdvisoryKey, SeatId>,
    /// Whose wait has it to itself.
    waiting: Option<SeatId>,
    /// When it is closed, or spoken on.
    due: Instant,
}

impl PoolLimits {
    /// At most `most` sessions that are shared, closed after a minute, and not spoken on.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, multiplexed: true, idle: Duration::from_secs(60), keepalive: None }
    }
}

impl Sessions {
    /// No sessions yet.
    #[must_use]
    pub fn new(limits: PoolLimits) -> Self {
        Self { limits, entries: BTreeMap::new(), next: 0, next_seat: 0 }
    }

    /// A seat for one acquisition, which stands on no session yet.
    pub fn seat(&mut self) -> SeatId {
        self.next_seat += 1;
        SeatId(self.next_seat)
    }

    /// Where `seat` may ask for `key`: with [`Verb::Wait`] alone, and with anything else beside
    /// others.
    pub fn place(&mut self, seat: SeatId, key: AdvisoryKey, verb: Verb, now: Instant) -> Place {
        let waits = matches!(verb, Verb::Wait { .. });
        let alone = waits || !self.limits.multiplexed;
        // Waits take the newest, so that the oldest is left to be shared.
        let found = if alone {
            self.entries.iter().rev().find(|(_, entry)| entry.is_idle()).map(|(id, _)| *id)
        } else {
            self.entries.iter().find(|(_, entry)| entry.has_room_for(&key)).map(|(id, _)| *id)
        };
        if waits && self.leaves_none() {
            return Place::Full;
        }
        let place = match found {
            Some(session) => Place::On(session),
            None if self.entries.len() < self.limits.most => Place::New(self.open(now)),
            None => return Place::Full,
        };
        if let Place::On(session) | Place::New(session) = place
            && let Some(entry) = self.entries.get_mut(&session)
        {
            entry.seats.insert(key, seat);
            entry.waiting = waits.then_some(seat);
            self.plan(session, now);
        }
        place
    }

    /// Where a question about no lock in particular may be asked.
    pub fn any(&mut self, now: Instant) -> Place {
        let found = self.entries.iter().find(|(_, entry)| entry.waiting.is_none());
        match found.map(|(id, _)| *id) {
            Some(session) => Place::On(session),
            None if self.entries.len() < self.limits.most => {
                let session = self.open(now);
                self.plan(session, now);
                Place::New(session)
            }
            None => Place::Full,
        }
    }

    /// The wait of `seat` was granted: others may share its session.
    pub fn granted(&mut self, session: SessionId, seat: SeatId) {
        if let Some(entry) = self.entries.get_mut(&session) {
            entry.waiting.take_if(|waiting| *waiting == seat);
        }
    }

    /// Nothing of `seat` is left on its session.
    pub fn left(&mut self, session: SessionId, seat: SeatId, key: AdvisoryKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        if entry.seats.get(&key) == Some(&seat) {
            entry.seats.remove(&key);
        }
        entry.waiting.take_if(|waiting| *waiting == seat);
        if entry.seats.is_empty() {
            self.plan(session, now);
        }
    }

    /// A session is gone; who stood on it.
    pub fn lost(&mut self, session: SessionId) -> Vec<SeatId> {
        let entry = self.entries.remove(&session);
        entry.map_or_else(Vec::new, |entry| entry.seats.into_values().collect())
    }

    /// Every session there is.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.entries.keys().copied()
    }

    /// When time next matters to a session.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.due).min().filter(|due| *due < Instant::FAR_FUTURE)
    }

    /// What is due at `now`. Call until `None`.
    pub fn poll_upkeep(&mut self, now: Instant) -> Option<Upkeep> {
        let (&session, entry) = self.entries.iter().find(|(_, entry)| entry.due <= now)?;
        if entry.is_idle() {
            self.entries.remove(&session);
            return Some(Upkeep::Close(session));
        }
        self.plan(session, now);
        Some(Upkeep::Speak(session))
    }

    fn open(&mut self, now: Instant) -> SessionId {
        let session = SessionId(self.next);
        self.next += 1;
        let entry = Entry { seats: BTreeMap::new(), waiting: None, due: now };
        self.entries.insert(session, entry);
        session
    }

    /// Whether one more wait would leave no session for those that need not wait.
    fn leaves_none(&self) -> bool {
        let waiting = self.entries.values().filter(|entry| entry.waiting.is_some()).count();
        self.limits.multiplexed && waiting + 1 >= self.limits.most
    }

    fn plan(&mut self, session: SessionId, now: Instant) {
        let PoolLimits { idle, keepalive, .. } = self.limits;
        if let Some(entry) = self.entries.get_mut(&session) {
            let pause = if entry.is_idle() { Some(idle) } else { keepalive };
            entry.due = pause.map_or(Instant::FAR_FUTURE, |pause| now + pause);
        }
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.seats.is_empty()
    }

    fn has_room_for(&self, key: &AdvisoryKey) -> bool {
        self.waiting.is_none() && !self.seats.contains_key(key)
    }
}
