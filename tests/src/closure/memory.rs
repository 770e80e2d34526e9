//! Two acquisitions on one lock table.

use std::collections::VecDeque;
use std::time::Duration;

use lock_proto::memory::{LockTable, MemoryLock, Notice, Reply};
use lock_proto::{
    AcquireOptions, Demand, Event, Hub, Instant, LockId, LockName, LossReason, Machine as _,
    Renewal, RequestId,
};

use super::World;

const LEASE: Duration = Duration::from_millis(300);

/// Two acquisitions of one lock in one process, which end after a lease at the latest.
///
/// A fault is that the lock is revoked, or that time passes before everything is heard.
#[derive(Clone, Debug)]
pub struct MemoryWorld {
    now: Instant,
    table: LockTable,
    clients: Vec<Client>,
    notices: VecDeque<Notice>,
    faults: usize,
    fence: u64,
    /// Whether nobody says to the machines that time has passed.
    is_asleep: bool,
}

#[derive(Clone, Debug)]
struct Client {
    lock: LockId,
    demand: Demand,
    machine: MemoryLock,
    answers: VecDeque<(RequestId, Reply)>,
    stage: Stage,
    released: bool,
    /// The table took its lock away, and word of that is on its way.
    revoked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Held { until: Instant },
    Over,
    Closed,
}

/// One thing that may happen.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a path names every one")]
pub enum Step {
    /// A client hears an answer of the table.
    Hear(usize),
    /// Whoever lost its lock is told.
    Notify,
    /// A client is woken.
    Wake(usize),
    /// The table is woken.
    WakeTable,
    /// A client lets go.
    Release(usize),
    /// Nothing is under way, and time goes on to the next moment that matters.
    Pass,
    /// Fault: time goes on likewise before what is under way has come.
    Delay,
    /// Fault: the lock is taken away from whoever has it.
    Revoke,
}

impl MemoryWorld {
    /// Two acquisitions of these kinds; `is_asleep` breaks the rule that a machine is told that
    /// time has passed, and a holder then goes by what it was told.
    #[must_use]
    pub fn new(demands: [Demand; 2], faults: usize, is_asleep: bool) -> Self {
        let mut numbers = Hub::new();
        let options = AcquireOptions::new().with_ttl(LEASE).with_renewal(Renewal::Off);
        let machine =
            |demand| MemoryLock::new(demand, &options, Instant::ZERO).expect("sensible options");
        let mut client = |demand| Client {
            lock: numbers.start(machine(demand), (), Instant::ZERO),
            demand,
            machine: machine(demand),
            answers: VecDeque::new(),
            stage: Stage::Waiting,
            released: false,
            revoked: false,
        };
        let clients = demands.map(&mut client).into();
        let mut world = Self {
            now: Instant::ZERO,
            table: LockTable::new(),
            clients,
            notices: VecDeque::new(),
            faults,
            fence: 0,
            is_asleep,
        };
        world.settle(0);
        world.settle(1);
        world
    }

    fn is_due(&self, client: &Client) -> bool {
        let deadline = client.machine.poll_timeout();
        !self.is_asleep && deadline.is_some_and(|deadline| deadline.at <= self.now)
    }

    fn next_moment(&self) -> Option<Instant> {
        let deadlines = self.clients.iter().filter_map(|client| client.machine.poll_timeout());
        let deadlines = deadlines.map(|deadline| deadline.at).chain(self.table.poll_timeout());
        deadlines.filter(|at| *at > self.now).min()
    }

    fn is_quiet(&self) -> bool {
        self.notices.is_empty() && self.clients.iter().all(|client| client.answers.is_empty())
    }

    /// Takes what a machine says, and lets the table carry out what it asks for.
    fn settle(&mut self, number: usize) {
        while let Some(event) = self.clients[number].machine.poll_event() {
            self.believe(number, &event);
        }
        while let Some(request) = self.clients[number].machine.poll_request() {
            let id = request.id;
            let lock = self.clients[number].lock;
            let reply = self.table.execute(lock, &name(), request, self.now);
            self.clients[number].answers.extend(reply.map(|reply| (id, reply)));
            self.collect();
        }
    }

    fn collect(&mut self) {
        while let Some((lock, id, reply)) = self.table.poll_reply() {
            let mut clients = self.clients.iter_mut();
            let client = clients.find(|client| client.lock == lock).expect("one of them asked");
            client.answers.push_back((id, reply));
        }
        while let Some(notice) = self.table.poll_notice() {
            for client in self.clients.iter_mut().filter(|client| client.lock == notice.lock) {
                client.revoked |= notice.reason == LossReason::Revoked;
            }
            self.notices.push_back(notice);
        }
    }

    fn believe(&mut self, number: usize, event: &Event) {
        let client = &mut self.clients[number];
        client.stage = match (client.stage, event) {
            (Stage::Waiting, Event::Acquired { valid_until: Some(until), fence: Some(fence) }) => {
                // Two that share may hear of it in either order, and so may one that has lost it
                // meanwhile.
                let over = client.revoked || *until <= self.now;
                let ordered = client.demand != Demand::Shared && !over;
                assert!(*fence > self.fence || !ordered, "fence: {fence} after {}", self.fence);
                self.fence = self.fence.max(*fence);
                Stage::Held { until: *until }
            }
            (stage @ Stage::Held { .. }, Event::Warned { .. }) => stage,
            (Stage::Held { .. }, Event::Lost(_)) => Stage::Over,
            (_, Event::Closed { clean }) => {
                assert!(clean, "M7: nothing failed, and it is not clean");
                Stage::Closed
            }
            (stage, event) => panic!("M4: {event:?} while {stage:?}"),
        };
    }

    fn check(&self) {
        let holds = |client: &&Client| {
            let held = |until| self.is_asleep || self.now < until;
            !client.released
                && !client.revoked
                && matches!(client.stage, Stage::Held { until } if held(until))
        };
        let holders: Vec<Demand> =
            self.clients.iter().filter(holds).map(|client| client.demand).collect();
        let shared = holders.iter().all(|demand| *demand == Demand::Shared);
        assert!(holders.len() < 2 || shared, "exclusion: {holders:?} at {:?}", self.now);
        for info in self.table.list(self.now) {
            let stuck = !info.locked && info.waiters != Some(0);
            assert!(!stuck, "liveness: {info:?} is free, and somebody waits");
        }
    }
}

impl World for MemoryWorld {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if !client.answers.is_empty() {
                steps.push(Step::Hear(number));
            }
            if self.is_due(client) {
                steps.push(Step::Wake(number));
            }
            if !client.released && client.stage != Stage::Closed {
                steps.push(Step::Release(number));
            }
        }
        if !self.notices.is_empty() {
            steps.push(Step::Notify);
        }
        let is_table_due = self.table.poll_timeout().is_some_and(|at| at <= self.now);
        if is_table_due {
            steps.push(Step::WakeTable);
        }
        let is_due = is_table_due || self.clients.iter().any(|client| self.is_due(client));
        if !is_due && self.next_moment().is_some() {
            let may_wait = !self.is_quiet();
            let delay = (self.faults > 0).then_some(Step::Delay);
            steps.extend(if may_wait { delay } else { Some(Step::Pass) });
        }
        if self.faults > 0 {
            steps.push(Step::Revoke);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Hear(number) => {
                let client = &mut self.clients[number];
                let (id, reply) = client.answers.pop_front().expect("it was said");
                client.machine.handle_reply(id, Ok(reply), self.now);
                self.settle(number);
            }
            Step::Notify => {
                let notice = self.notices.pop_front().expect("it was said");
                for number in 0..self.clients.len() {
                    if self.clients[number].lock == notice.lock {
                        let reason = notice.reason.clone();
                        self.clients[number].machine.handle_disconnect(reason, self.now);
                        self.settle(number);
                    }
                }
            }
            Step::Wake(number) => {
                self.clients[number].machine.handle_timeout(self.now);
                self.settle(number);
            }
            Step::WakeTable => self.table.handle_timeout(self.now),
            Step::Release(number) => {
                self.clients[number].released = true;
                self.clients[number].machine.release(self.now);
                self.settle(number);
            }
            Step::Pass | Step::Delay => {
                self.faults -= usize::from(matches!(step, Step::Delay));
                self.now = self.next_moment().expect("there is one");
            }
            Step::Revoke => {
                self.faults -= 1;
                self.table.revoke(&name(), &LossReason::Revoked, self.now);
            }
        }
        self.collect();
        self.check();
    }

    fn is_over(&self) -> bool {
        self.steps().iter().all(|step| matches!(step, Step::Delay | Step::Revoke))
    }

    fn end(&mut self) {
        for client in &self.clients {
            let is_closed = client.stage == Stage::Closed;
            assert!(is_closed, "liveness: nothing will happen, and {client:?} waits");
        }
        let left = self.table.list(self.now);
        assert!(left.is_empty(), "leak: all is closed, and the table knows of {left:?}");
    }
}

fn name() -> LockName {
    LockName::new("orders").expect("a short name")
}
