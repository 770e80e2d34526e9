//! Several acquisitions on one lock table, under a schedule made of bytes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lock_proto::memory::{Command, Grant, LockTable, MemoryLock, Notice, Reply, Wish};
use lock_proto::{
    AcquireOptions, Demand, Event, Hub, Instant, LockId, LockName, LossReason, RequestId,
};

use crate::check::{Checkable as _, Stage};
use crate::entropy::Entropy;
use crate::trace::{Happening, Trace};

const LOCKS: usize = 12;
/// No run needs more rounds to come to rest.
const ROUNDS: usize = 5_000;

/// What kind of driver the machines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// One that keeps its side of the contract.
    Honest,
    /// One that never tells a machine that time has passed, nor that its lock was taken away.
    Asleep,
}

#[derive(Debug)]
struct World<'a> {
    driver: Driver,
    entropy: Entropy,
    now: Instant,
    hub: Hub<MemoryLock, Client>,
    table: LockTable,
    answers: Vec<(LockId, RequestId, Reply)>,
    notices: VecDeque<Notice>,
    unanswered: BTreeMap<(LockId, RequestId), Command>,
    demands: Vec<Demand>,
    started: usize,
    fences: BTreeMap<u64, LockId>,
    trace: &'a mut Trace,
}

/// The caller of one lock.
#[derive(Debug)]
struct Client {
    demand: Demand,
    waits_for_ever: bool,
    stage: Stage,
    released: bool,
    /// The table took its lock away, and word of that is on its way.
    revoked: bool,
    valid_until: Option<Instant>,
}

/// Runs one world to its end.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(driver: Driver, entropy: Entropy, trace: &mut Trace) {
    let mut world = World::new(driver, entropy, trace);
    while let Some(choice) = world.entropy.choose(32) {
        world.step(choice);
        if !world.entropy.happens(48) {
            world.listen();
        }
    }
    world.finish();
}

impl<'a> World<'a> {
    fn new(driver: Driver, mut entropy: Entropy, trace: &'a mut Trace) -> Self {
        let permits = |count| Demand::permits(count, 3).expect("within the limit");
        let demands = match entropy.pick(3) {
            0 => vec![Demand::Exclusive],
            1 => vec![Demand::Exclusive, Demand::Shared, Demand::Shared],
            _ => vec![permits(1), permits(2), permits(3)],
        };
        Self {
            driver,
            entropy,
            now: Instant::ZERO,
            hub: Hub::new(),
            table: LockTable::new(),
            answers: Vec::new(),
            notices: VecDeque::new(),
            unanswered: BTreeMap::new(),
            demands,
            started: 0,
            fences: BTreeMap::new(),
            trace,
        }
    }

    fn step(&mut self, choice: usize) {
        match choice {
            0..=12 => self.deliver_any(),
            13..=15 => self.notify(),
            16..=19 => self.let_time_pass(),
            20..=24 => self.start(),
            25..=27 => self.on_any_lock(Self::release),
            28 => self.on_any_lock(|world, lock| {
                world.trace.event();
                world.hub.extend(lock, Duration::from_millis(400), world.now);
            }),
            29 => self.on_any_lock(|world, lock| {
                world.trace.event();
                world.hub.nudge(lock, world.now);
            }),
            30 => self.revoke(),
            _ => {
                let delay = Duration::from_millis(40) * u32::from(self.entropy.pick(2) == 0);
                let at = self.since_the_beginning();
                self.trace.fault(at, || format!("the table answers after {delay:?}"));
                self.table.delay_requests(delay);
            }
        }
    }

    fn since_the_beginning(&self) -> Duration {
        self.now.since(Instant::ZERO)
    }

    fn start(&mut self) {
        if self.started == LOCKS {
            return;
        }
        self.started += 1;
        let demand = self.demands[self.entropy.pick(self.demands.len())];
        let timeout = match self.entropy.pick(4) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(300)),
            _ => None,
        };
        let mut options = AcquireOptions::new().with_timeout(timeout);
        if self.entropy.pick(2) == 0 {
            options = options.with_ttl(Duration::from_millis(150));
        }
        if self.entropy.pick(4) == 0 {
            options = options.with_max_hold(Duration::from_millis(450));
        }
        let wish = Wish::new(demand, &options).expect("sensible options");
        let lock = self.hub.next_id();
        let taken = (self.entropy.pick(2) == 0)
            .then(|| wish.take(&mut self.table, lock, &name(), self.now))
            .flatten();
        let client = Client {
            demand,
            waits_for_ever: timeout.is_none(),
            stage: Stage::Waiting,
            released: false,
            revoked: false,
            valid_until: None,
        };
        let machine = match taken {
            Some(grant) => wish.held(grant, self.now),
            None => wish.asking(self.now),
        };
        assert_eq!(self.hub.start(machine, client, self.now), lock);
        self.trace.note(|| format!("{lock:?} wants {demand:?}, {options:?}"));
        let at = self.since_the_beginning();
        let side = demand.into();
        self.trace.happened(at, || Happening::Asked { client: 0, lock, name: "orders", side });
        if let Some(Grant { fence, valid_until, .. }) = taken {
            self.trace.saw("a lock was taken at once");
            self.tell(lock, &Event::Acquired { valid_until, fence: Some(fence) });
        }
        self.collect();
    }

    fn deliver_any(&mut self) {
        if !self.answers.is_empty() {
            let chosen = self.entropy.pick(self.answers.len());
            self.deliver(chosen);
        }
    }

    fn deliver(&mut self, chosen: usize) {
        let (lock, id, reply) = self.answers.remove(chosen);
        self.trace.event();
        self.trace.note(|| format!("{lock:?} hears {reply:?}"));
        self.unanswered.remove(&(lock, id));
        let late = self.hub.attachment(lock).is_some_and(|client| client.released);
        if late && matches!(reply, Reply::Granted { .. }) {
            self.trace.saw("a late grant is given back");
        }
        self.hub.handle_reply(lock, id, Ok(reply), self.now);
    }

    fn notify(&mut self) {
        let Some(Notice { lock, reason, .. }) = self.notices.pop_front() else {
            return;
        };
        self.trace.note(|| format!("{lock:?} is told: {reason:?}"));
        self.trace.event();
        if self.driver == Driver::Honest {
            self.hub.disconnect(lock, reason, self.now);
        }
    }

    fn revoke(&mut self) {
        let revoked = self.table.revoke(&name(), &LossReason::Revoked, self.now);
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("{revoked} locks are revoked"));
        self.collect();
    }

    fn release(&mut self, lock: LockId) {
        self.trace.note(|| format!("release of {lock:?}"));
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::LetGo { client: 0, lock });
        if let Some(client) = self.hub.attachment(lock) {
            client.released = true;
            if client.stage == Stage::Waiting {
                self.trace.saw("a cancel in the queue");
            }
        }
        if self.entropy.pick(2) == 0 && self.give_back_at_once(lock) {
            self.trace.saw("a lock was given back at once");
        } else {
            self.hub.release(lock, self.now);
        }
    }

    fn give_back_at_once(&mut self, lock: LockId) -> bool {
        let table = &mut self.table;
        let given = self.hub.forget_if(lock, self.now, |machine, client, now| {
            client.stage == Stage::Held && machine.give_back_at_once(table, lock, &name(), now)
        });
        if given {
            let at = self.since_the_beginning();
            let closed = Event::Closed { clean: true };
            self.trace.told(at, 0, lock, &closed, |until| until.since(Instant::ZERO));
        }
        self.collect();
        given
    }

    fn on_any_lock(&mut self, act: impl Fn(&mut Self, LockId)) {
        let locks: Vec<LockId> = self.hub.locks().collect();
        if !locks.is_empty() {
            let lock = locks[self.entropy.pick(locks.len())];
            act(self, lock);
        }
    }

    /// Half the time the table hears of it first.
    fn let_time_pass(&mut self) {
        let next = [self.hub.poll_timeout(), self.table.poll_timeout()];
        let Some(next) = next.into_iter().flatten().min() else {
            return;
        };
        self.now = self.now.max(next);
        let now = self.now;
        self.trace.note(|| format!("{now:?}"));
        self.trace.event();
        let table_first = self.entropy.pick(2) == 0;
        if table_first {
            self.table.handle_timeout(now);
        }
        if self.driver == Driver::Honest {
            while self.hub.poll_due(now).is_some() {
                self.trace.event();
            }
            let after = self.hub.poll_timeout();
            assert!(after.is_none_or(|after| after > now), "M2: {after:?} is not after {now:?}");
            self.listen();
        }
        self.table.handle_timeout(now);
        self.collect();
    }

    /// Takes what the table has to say, to be told later.
    fn collect(&mut self) {
        self.answers.extend(std::iter::from_fn(|| self.table.poll_reply()));
        while let Some(notice) = self.table.poll_notice() {
            if notice.reason == LossReason::Expired {
                self.trace.saw("a lease ran out");
            } else {
                self.trace.saw("a lock was revoked");
            }
            if let Some(client) = self.hub.attachment(notice.lock) {
                client.revoked |= notice.reason == LossReason::Revoked;
            }
            self.notices.push_back(notice);
        }
        for info in self.table.list(self.now) {
            let stuck = !info.locked && info.waiters != Some(0);
            assert!(!stuck, "liveness: {info:?} is free, and somebody waits");
        }
    }

    fn listen(&mut self) {
        for lock in self.hub.locks().collect::<Vec<_>>() {
            while let Some(event) = self.hub.poll_event(lock) {
                self.tell(lock, &event);
            }
            while let Some(request) = self.hub.poll_request(lock) {
                self.trace.note(|| format!("    {lock:?} asks {:?}", request.command));
                let client = self.hub.attachment(lock).expect("it just asked");
                assert!(
                    !client.released || !MemoryLock::takes(&request.command),
                    "M6: {:?}",
                    request.command
                );
                let id = request.id;
                let cancel = MemoryLock::is_cancel(&request.command);
                let mut others = self.unanswered.iter().filter(|((other, _), _)| *other == lock);
                let busy = others.any(|(_, command)| !MemoryLock::is_cancel(command));
                assert!(!busy || cancel, "M3: {:?}", request.command);
                self.unanswered.insert((lock, id), request.command.clone());
                self.trace.event();
                let reply = self.table.execute(lock, &name(), request, self.now);
                self.answers.extend(reply.map(|reply| (lock, id, reply)));
                self.collect();
            }
            let client = self.hub.attachment(lock).expect("it was not forgotten");
            if client.stage == Stage::Closed {
                self.hub.forget(lock);
            }
        }
    }

    fn tell(&mut self, lock: LockId, event: &Event) {
        self.trace.note(|| format!("    {lock:?} [{event:?}]"));
        let at = self.since_the_beginning();
        self.trace.told(at, 0, lock, event, |until| until.since(Instant::ZERO));
        self.hear(lock, event);
    }

    fn hear(&mut self, lock: LockId, event: &Event) {
        let client = self.hub.attachment(lock).expect("it just spoke");
        client.stage = match (client.stage, event) {
            (Stage::Waiting, Event::Acquired { valid_until, fence }) => {
                client.valid_until = *valid_until;
                let taken = self.fences.insert(fence.expect("the table mints one"), lock);
                assert!(taken.is_none(), "fence: {fence:?} is given twice");
                Stage::Held
            }
            (Stage::Held, Event::Warned { .. }) => Stage::Held,
            (Stage::Held, Event::Extended { valid_until }) => {
                let shortened = *valid_until < client.valid_until;
                assert!(
                    !shortened,
                    "lease: shortened from {:?} to {valid_until:?}",
                    client.valid_until
                );
                client.valid_until = *valid_until;
                Stage::Held
            }
            (Stage::Held, Event::Lost(_)) => Stage::Over,
            (Stage::Waiting, Event::Failed(error)) => {
                assert!(!client.waits_for_ever, "liveness: {lock:?} failed for no reason: {error}");
                Stage::Over
            }
            (Stage::Waiting | Stage::Held | Stage::Over, Event::Closed { clean }) => {
                assert!(client.released || client.stage == Stage::Over, "M4: nobody let go");
                assert!(clean, "M7: nothing failed, and {lock:?} is not clean");
                Stage::Closed
            }
            (stage, event) => panic!("M4: {event:?} while {stage:?}"),
        };
        self.check_exclusion(lock);
    }

    /// A hold counts until its caller is told of its end or its lease is over; a lock that was
    /// revoked is another's before its holder can know.
    fn check_exclusion(&mut self, lock: LockId) {
        let mut holders: Vec<(LockId, Demand)> = Vec::new();
        for other in self.hub.locks().collect::<Vec<_>>() {
            let client = self.hub.attachment(other).expect("it is there");
            let told = client.stage != Stage::Held || client.released;
            let over = self.driver == Driver::Honest
                && client.valid_until.is_some_and(|end| self.now >= end);
            if !told && !over && !client.revoked {
                holders.push((other, client.demand));
            }
        }
        let exclusive = holders.iter().any(|(_, demand)| *demand == Demand::Exclusive);
        assert!(!exclusive || holders.len() == 1, "exclusion: {holders:?} after {lock:?}");
        let weights = holders
            .iter()
            .map(|(_, demand)| if let Demand::Permits { count, .. } = demand { *count } else { 0 });
        let out: u32 = weights.sum();
        assert!(out <= 3, "exclusion: {out} of 3 permits are out, {holders:?}");
        if holders.len() > 1 {
            self.trace.saw("a lock was shared");
        }
    }

    /// Every holder lets go: everybody who waits must get the lock, and nothing is left.
    fn finish(&mut self) {
        self.table.delay_requests(Duration::ZERO);
        for _ in 0..ROUNDS {
            self.listen();
            for lock in self.hub.locks().collect::<Vec<_>>() {
                let client = self.hub.attachment(lock).expect("it is there");
                if client.stage == Stage::Held && !client.released {
                    self.release(lock);
                }
            }
            self.listen();
            if self.hub.locks().next().is_none() {
                let left = self.table.list(self.now);
                assert!(left.is_empty(), "leak: all is closed, and the table knows of {left:?}");
                return;
            }
            if !self.answers.is_empty() {
                self.deliver(0);
            } else if !self.notices.is_empty() {
                self.notify();
            } else {
                let before = self.now;
                self.let_time_pass();
                assert!(self.now > before, "liveness: nothing will ever happen again");
            }
        }
        panic!("liveness: not at rest after {ROUNDS} rounds");
    }
}

fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}
