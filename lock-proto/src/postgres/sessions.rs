//! Which lock stands on which session of a pool.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::call::{Command, Mode, Subject, Verb};
use super::key::AdvisoryKey;
use crate::Instant;

/// A lock is tried for on so many sessions at a time: what holds anything is no place to wait.
const SPREAD: usize = 2;

/// The sessions of one provider, and the locks on each.
///
/// - A wait has a session on which nothing else is held or asked, since whatever came after it
///   would wait as well. It is others' as soon as the wait is over and in no doubt.
/// - A session is let in wherever it is inside already, whoever waits. So no session takes one lock
///   for two, with two exceptions: readers share a session when another session has found that a
///   reader may come in, and takers of permits share one if each leaves out what the others have.
///   For that, one session stays outside.
/// - As long as there may be two sessions, one is left for those that need not wait.
/// - A try that finds no place only because others are about to hear stands by, and is told when
///   one of them has heard.
#[derive(Debug)]
pub struct Sessions {
    limits: PoolLimits,
    entries: BTreeMap<SessionId, Entry>,
    /// Those that found no place only because others were about to hear.
    standby: BTreeSet<(AdvisoryKey, SeatId)>,
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
    /// On `session`, where others of us share the lock, after `probe` was told that it may be had.
    Through {
        /// The session that is not inside, and asks whether it could be.
        probe: SessionId,
        /// Whether that is yet to be opened.
        opened: bool,
        /// The session that shares the lock.
        session: SessionId,
    },
    /// Nowhere until others of us have heard, who are about to.
    Soon,
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
    stands: BTreeMap<(AdvisoryKey, SeatId), Stand>,
    /// Whose wait has it to itself.
    waiting: Option<SeatId>,
    /// Whether it is about to end.
    retired: bool,
    /// When it is closed, or spoken on.
    due: Instant,
}

/// What one acquisition has on its session.
#[derive(Debug)]
struct Stand {
    claim: Claim,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not heard yet.
    Asking,
    /// It is inside the gate, and has its permits yet to take.
    Inside,
    /// It is known to have all that it wants.
    Settled,
}

#[derive(Debug)]
enum Claim {
    Alone,
    Shared,
    Permits { wanted: u32, taken: Vec<u32> },
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
        Self { limits, entries: BTreeMap::new(), standby: BTreeSet::new(), next: 0, next_seat: 0 }
    }

    /// A seat for one acquisition, which stands on no session yet.
    pub fn seat(&mut self) -> SeatId {
        self.next_seat += 1;
        SeatId(self.next_seat)
    }

    /// Where `seat` may ask what `command` says: alone for [`Verb::Wait`], and otherwise beside
    /// others.
    pub fn place(&mut self, seat: SeatId, command: &Command, now: Instant) -> Place {
        let (key, claim) = (command.key(), Claim::of(&command.subject));
        let waits = matches!(command.verb, Verb::Wait { .. });
        self.standby.remove(&(key, seat));
        if waits && self.leaves_none() {
            return Place::Full;
        }
        if !waits && self.is_better_off_later(key, &claim) {
            return Place::Soon;
        }
        let place = if waits || !self.limits.multiplexed {
            // Waits take the newest, so that the oldest is left to be shared.
            self.entries.iter().rev().find(|(_, entry)| entry.is_idle()).map(|(id, _)| *id)
        } else if let Some(place) = self.through(key, &claim, now) {
            self.stand(seat, key, claim, &place, now);
            return place;
        } else {
            self.entries.iter().find(|(_, it)| it.has_room_for(key, &claim)).map(|(id, _)| *id)
        };
        let place = match place {
            Some(session) => Place::On(session),
            None if self.may_open() => Place::New(self.open(now)),
            None if !waits && self.is_heard_soon(key) => return Place::Soon,
            None => return Place::Full,
        };
        self.stand(seat, key, claim, &place, now);
        if let Place::On(session) | Place::New(session) = place
            && let Some(entry) = self.entries.get_mut(&session)
        {
            entry.waiting = waits.then_some(seat);
        }
        place
    }

    /// Whether one of us stands in the way of a try, which need not be asked anywhere then.
    #[must_use]
    pub fn excludes(&self, command: &Command) -> bool {
        let (key, claim) = (command.key(), Claim::of(&command.subject));
        let mut present = self.entries.values().flat_map(|it| it.stands.range(all_of(key)));
        command.verb == Verb::Try && present.any(|(_, stand)| claim.excludes(&stand.claim))
    }

    /// A seat whose place is [`Place::Soon`] is to be told when it may find another.
    pub fn stand_by(&mut self, seat: SeatId, key: AdvisoryKey) {
        self.standby.insert((key, seat));
    }

    /// Who may ask again, now that somebody has heard about `key`: the two oldest that stand by, so
    /// that those who are let in beside each other are twice as many with each answer. Whoever finds
    /// that the other one has its place stands by again.
    pub fn poll_standby(&mut self, key: AdvisoryKey) -> [Option<SeatId>; 2] {
        let multiplexed = self.limits.multiplexed;
        [(); 2].map(|()| {
            let next = if multiplexed {
                self.standby.range(all_of(key)).next().copied()?
            } else {
                self.standby.first().copied()?
            };
            self.standby.remove(&next);
            Some(next.1)
        })
    }

    /// A seat is given up.
    pub fn forget(&mut self, seat: SeatId, key: AdvisoryKey) {
        self.standby.remove(&(key, seat));
    }

    /// The last session that is not inside stays outside, to find for readers whether they may come
    /// in beside others of us. So do all others once a few are inside.
    fn through(&mut self, key: AdvisoryKey, claim: &Claim, now: Instant) -> Option<Place> {
        let Claim::Shared = claim else { return None };
        let session = *self.entries.iter().find(|(_, entry)| entry.shares(key))?.0;
        let mut outside = self.entries.iter().filter(|(_, entry)| entry.has_room_for(key, claim));
        let probe = outside.next().map(|(id, _)| *id);
        match probe {
            Some(_) if outside.next().is_some() && self.spread(key) < SPREAD => None,
            Some(probe) => Some(Place::Through { probe, opened: false, session }),
            None if self.may_open() => {
                let probe = self.open(now);
                self.plan(probe, now);
                Some(Place::Through { probe, opened: true, session })
            }
            None => None,
        }
    }

    /// Whether others of us are about to find out where a reader or a taker of permits may come in,
    /// which would now take one session more, or the last that is outside.
    fn is_better_off_later(&self, key: AdvisoryKey, claim: &Claim) -> bool {
        if !self.limits.multiplexed || !self.is_heard_soon(key) {
            return false;
        }
        let mut there = self.entries.values().filter(|entry| entry.has_any(key));
        let mut outside = self.entries.values().filter(|entry| entry.has_room_for(key, claim));
        match claim {
            Claim::Alone => false,
            Claim::Shared if there.any(|entry| entry.shares(key)) => false,
            Claim::Shared => self.spread(key) >= SPREAD || outside.count() + self.openable() <= 1,
            Claim::Permits { .. } => {
                self.spread(key) >= SPREAD && !outside.any(|entry| entry.has_any(key))
            }
        }
    }

    /// On how many sessions `key` is held or tried for.
    fn spread(&self, key: AdvisoryKey) -> usize {
        self.entries.values().filter(|entry| entry.has_any(key)).count()
    }

    /// Whether an answer is about to come that may make room for others who want `key`.
    fn is_heard_soon(&self, key: AdvisoryKey) -> bool {
        let key = Some(key).filter(|_| self.limits.multiplexed);
        self.entries.values().any(|entry| entry.is_about_to_hear(key))
    }

    fn stand(&mut self, seat: SeatId, key: AdvisoryKey, claim: Claim, place: &Place, now: Instant) {
        let (Place::On(session) | Place::New(session) | Place::Through { session, .. }) = *place
        else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&session) {
            entry.stands.insert((key, seat), Stand { claim, stage: Stage::Asking });
            self.plan(session, now);
        }
    }

    /// Where a question about no lock in particular may be asked: where nothing is held, if that can
    /// be.
    pub fn any(&mut self, now: Instant) -> Place {
        let idle = self.entries.iter().find(|(_, entry)| entry.is_idle());
        let says = |entry: &Entry| entry.waiting.is_none() && !entry.retired;
        let silent = || self.entries.iter().find(|(_, entry)| says(entry));
        let shared = if self.limits.multiplexed { silent() } else { None };
        match idle.or(shared).map(|(id, _)| *id) {
            Some(session) => Place::On(session),
            None if self.may_open() => {
                let session = self.open(now);
                self.plan(session, now);
                Place::New(session)
            }
            None => silent().map_or(Place::Full, |(id, _)| Place::On(*id)),
        }
    }

    /// `seat` was let in: others may share its session.
    pub fn granted(&mut self, session: SessionId, seat: SeatId, key: AdvisoryKey) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        entry.waiting.take_if(|waiting| *waiting == seat);
        if let Some(stand) = entry.stands.get_mut(&(key, seat)) {
            let takes = matches!(stand.claim, Claim::Permits { .. });
            stand.stage = if takes { Stage::Inside } else { Stage::Settled };
        }
    }

    /// `seat` has got permits.
    pub fn took(&mut self, session: SessionId, seat: SeatId, key: AdvisoryKey, permits: &[u32]) {
        let stand = self.entries.get_mut(&session).and_then(|it| it.stands.get_mut(&(key, seat)));
        let Some(Stand { claim: Claim::Permits { wanted, taken }, stage }) = stand else {
            return;
        };
        taken.extend(permits);
        let complete = u32::try_from(taken.len()).is_ok_and(|taken| taken >= *wanted);
        *stage = if complete { Stage::Settled } else { Stage::Inside };
    }

    /// The permits that others have on the session of `seat`.
    #[must_use]
    pub fn beside(&self, session: SessionId, seat: SeatId, key: AdvisoryKey) -> Vec<u32> {
        let others = self.others(session, seat, key);
        let permits = others.flat_map(|stand| match &stand.claim {
            Claim::Permits { taken, .. } => taken.as_slice(),
            Claim::Alone | Claim::Shared => &[],
        });
        permits.copied().collect()
    }

    /// Who stands on a session for a lock.
    #[must_use]
    pub fn seats(&self, session: SessionId, key: AdvisoryKey) -> Vec<SeatId> {
        let entry = self.entries.get(&session).into_iter();
        entry.flat_map(|it| it.stands.range(all_of(key))).map(|((_, seat), _)| *seat).collect()
    }

    /// Whether others share the lock of `seat` on its session.
    #[must_use]
    pub fn is_shared(&self, session: SessionId, seat: SeatId, key: AdvisoryKey) -> bool {
        self.others(session, seat, key).any(|stand| matches!(stand.claim, Claim::Shared))
    }

    /// Nothing of `seat` is left on its session.
    pub fn left(&mut self, session: SessionId, seat: SeatId, key: AdvisoryKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        entry.stands.remove(&(key, seat));
        entry.waiting.take_if(|waiting| *waiting == seat);
        if entry.is_idle() {
            self.plan(session, now);
        }
    }

    /// A session is about to end: nobody new stands there, and another may be opened in its place.
    pub fn retire(&mut self, session: SessionId) {
        if let Some(entry) = self.entries.get_mut(&session) {
            entry.retired = true;
            entry.due = Instant::FAR_FUTURE;
        }
    }

    /// A session is gone; who stood on it.
    pub fn lost(&mut self, session: SessionId) -> Vec<SeatId> {
        let entry = self.entries.remove(&session);
        entry
            .map_or_else(Vec::new, |entry| entry.stands.into_keys().map(|(_, seat)| seat).collect())
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
        let entry = Entry { stands: BTreeMap::new(), waiting: None, retired: false, due: now };
        self.entries.insert(session, entry);
        session
    }

    fn may_open(&self) -> bool {
        self.openable() > 0
    }

    /// How many more sessions there may be.
    fn openable(&self) -> usize {
        let there = self.entries.values().filter(|entry| !entry.retired).count();
        self.limits.most.saturating_sub(there)
    }

    fn others(
        &self,
        session: SessionId,
        seat: SeatId,
        key: AdvisoryKey,
    ) -> impl Iterator<Item = &Stand> {
        let entry = self.entries.get(&session).into_iter();
        let stands = entry.flat_map(move |entry| entry.stands.range(all_of(key)));
        stands.filter(move |((_, other), _)| *other != seat).map(|(_, stand)| stand)
    }

    /// Whether one more wait would leave no session for those that need not wait.
    fn leaves_none(&self) -> bool {
        let waits = |entry: &&Entry| entry.waiting.is_some() && !entry.retired;
        let waiting = self.entries.values().filter(waits).count();
        self.limits.multiplexed && waiting + 1 >= self.limits.most
    }

    fn plan(&mut self, session: SessionId, now: Instant) {
        let PoolLimits { idle, keepalive, .. } = self.limits;
        if let Some(entry) = self.entries.get_mut(&session).filter(|entry| !entry.retired) {
            let pause = if entry.is_idle() { Some(idle) } else { keepalive };
            entry.due = pause.map_or(Instant::FAR_FUTURE, |pause| now + pause);
        }
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.stands.is_empty() && !self.retired
    }

    /// Whether it may ask for a lock in a way that tells whether somebody else has it.
    fn has_room_for(&self, key: AdvisoryKey, claim: &Claim) -> bool {
        let mut present = self.stands.range(all_of(key)).map(|(_, stand)| stand);
        self.waiting.is_none()
            && !self.retired
            && match claim {
                Claim::Alone | Claim::Shared => present.next().is_none(),
                // What somebody is about to take can't be left out yet.
                Claim::Permits { .. } => present.all(|stand| stand.stage == Stage::Settled),
            }
    }

    /// Whether a reader of ours is inside here.
    fn shares(&self, key: AdvisoryKey) -> bool {
        let mut present = self.stands.range(all_of(key)).map(|(_, stand)| stand);
        let inside =
            |stand: &Stand| stand.stage == Stage::Settled && matches!(stand.claim, Claim::Shared);
        !self.retired && present.any(inside)
    }

    /// Whether anybody of ours is here who need not wait for `key`.
    fn has_any(&self, key: AdvisoryKey) -> bool {
        let present = self.stands.range(all_of(key)).next();
        !self.retired && self.waiting.is_none() && present.is_some()
    }

    /// Whether somebody here will soon hear about `key`, or about any.
    fn is_about_to_hear(&self, key: Option<AdvisoryKey>) -> bool {
        let asks = |stand: &Stand| stand.stage == Stage::Asking;
        let about = |key| self.stands.range(all_of(key)).any(|(_, stand)| asks(stand));
        !self.retired
            && self.waiting.is_none()
            && key.map_or_else(|| self.stands.values().any(asks), about)
    }
}

impl Claim {
    /// Whether two can't be had at a time.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Alone, Self::Alone | Self::Shared) | (Self::Shared, Self::Alone) => true,
            (Self::Shared, Self::Shared) => false,
            (Self::Permits { .. }, _) | (_, Self::Permits { .. }) => false,
        }
    }

    fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Lock(_, Mode::Exclusive) => Self::Alone,
            Subject::Lock(_, Mode::Shared) => Self::Shared,
            Subject::Permits(permits) => {
                Self::Permits { wanted: permits.wanted, taken: Vec::new() }
            }
        }
    }
}

fn all_of(key: AdvisoryKey) -> RangeInclusive<(AdvisoryKey, SeatId)> {
    (key, SeatId(0))..=(key, SeatId(u64::MAX))
}
