//! Two clients of a PostgreSQL server.

mod server;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use lock_proto::postgres::{AdvisoryKey, AdvisoryLock, Mode, Reply, Verb};
use lock_proto::{
    AcquireOptions, Event, Fault, Instant, LockError, LossReason, Machine as _, RequestId, Seed,
};

use super::World;
use crate::advisory_model::{Failure, Server, SessionId as Backend};

/// A rule that the driver breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every one")]
pub enum PostgresFlaw {
    /// An error is taken for the proof that nothing is held.
    ForgetsToRecheck,
    /// Who holds a lock on a session that is gone does not hear of it.
    TellsNoLoss,
    /// The session goes on before a cancel has come to its end.
    WaitsForNoCancel,
}

/// Clients that each want the same lock once, on a session of their own, and their server.
///
/// Their clocks go alike, in whole milliseconds. Who is due is woken before time goes on, and time
/// goes on when nothing is under way: a delay is a fault.
#[derive(Clone, Debug)]
pub struct PostgresWorld {
    /// Milliseconds since the beginning.
    now: u64,
    server: Server,
    lines: BTreeMap<usize, Line>,
    cancels: Vec<Cancel>,
    clients: Vec<Client>,
    /// How many connections were made.
    connections: usize,
    /// How many faults may still happen.
    faults: usize,
    /// The last fence that was minted, and the greatest of a hold.
    fences: (u64, u64),
    /// Whether an administrator has cancelled a wait.
    is_meddled: bool,
    flaw: Option<PostgresFlaw>,
}

#[derive(Clone)]
struct Client {
    machine: AdvisoryLock,
    mode: Mode,
    stage: Stage,
    released: bool,
    /// The session on which it asks.
    line: Option<usize>,
    /// Whether the driver knows that the session holds the lock.
    held: bool,
    /// All sessions that it had.
    had: Vec<Backend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Held,
    Over,
    Closed,
    Crashed,
}

/// A connection, and the backend at its end.
#[derive(Clone, Debug)]
struct Line {
    /// `None` when it has ended.
    backend: Option<Backend>,
    /// `None` when nobody is at the other end.
    owner: Option<usize>,
    /// Whose lock it is about.
    mode: Mode,
    sent: VecDeque<(RequestId, Verb)>,
    /// The wait that is carried out, and when its time is up.
    wait: Option<(RequestId, Option<u64>)>,
    said: VecDeque<(RequestId, Reply)>,
}

/// A request to cancel, on a connection of its own.
#[derive(Clone, Copy, Debug)]
struct Cancel {
    line: usize,
    /// Who waits for its end.
    awaited: Option<RequestId>,
    arrived: bool,
}

/// One thing that may happen.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a path names every one")]
pub enum Step {
    /// A session carries out its next statement.
    Execute(usize),
    /// A session says that it was granted what it waited for.
    Grant(usize),
    /// The time of a wait is up, whether or not it was granted meanwhile.
    Expire(usize),
    /// A client hears the next answer of a session, or that it has ended.
    Hear(usize),
    /// A cancel comes to the server.
    Cancel(usize),
    /// Whoever cancelled hears that it is through.
    Through(usize),
    /// A session finds that nobody is there.
    Vanish(usize),
    /// A client is woken.
    Wake(usize),
    /// A client lets go.
    Release(usize),
    /// Nothing is under way, and time goes on to the next moment that matters.
    Pass,
    /// Fault: time goes on likewise before what is under way has come.
    Delay,
    /// Fault: a session is killed.
    Kill(usize),
    /// Fault: a connection breaks; what was sent may still be carried out.
    Cut(usize),
    /// Fault: a cancel fails, as far as its client knows, and may still arrive.
    Mislay(usize),
    /// Fault: an administrator cancels a wait.
    Meddle(usize),
    /// Fault: a client is gone.
    Crash(usize),
}

impl PostgresWorld {
    /// Two clients that want the lock in these modes and wait so long for it, or for ever.
    #[must_use]
    pub fn new(
        wants: [(Mode, Option<Duration>); 2],
        faults: usize,
        flaw: Option<PostgresFlaw>,
    ) -> Self {
        let client = |((mode, timeout), number)| {
            let options = AcquireOptions::new().with_timeout(timeout);
            let seed = Seed::from_bytes([number; 32]);
            let key = AdvisoryKey::from_name("orders");
            let machine = AdvisoryLock::new(key, mode, &options, &seed, Instant::ZERO);
            Client {
                machine: machine.expect("sensible options"),
                mode,
                stage: Stage::Waiting,
                released: false,
                line: None,
                held: false,
                had: Vec::new(),
            }
        };
        let mut world = Self {
            now: 0,
            server: Server::new(),
            lines: BTreeMap::new(),
            cancels: Vec::new(),
            clients: wants.into_iter().zip(1..).map(client).collect(),
            connections: 0,
            faults,
            fences: (0, 0),
            is_meddled: false,
            flaw,
        };
        for client in 0..world.clients.len() {
            world.settle(client);
        }
        world
    }

    fn instant(&self) -> Instant {
        Instant::ZERO + Duration::from_millis(self.now)
    }

    fn is_due(&self, client: &Client) -> bool {
        client.deadline().is_some_and(|at| at <= self.now)
    }

    fn is_woken(&self, line: &Line) -> bool {
        line.wait.is_some() && self.server.woken().any(|woken| Some(woken) == line.backend)
    }

    /// The next moment that matters to a client or to a wait.
    fn next_moment(&self) -> Option<u64> {
        let deadlines = self.clients.iter().filter_map(Client::deadline);
        let expiries = self.lines.values().filter_map(|line| line.wait?.1);
        deadlines.chain(expiries).filter(|moment| *moment > self.now).min()
    }

    /// What happens by itself, before time goes on.
    fn moves(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, line) in &self.lines {
            if line.wait.is_none() && line.backend.is_some() && !line.sent.is_empty() {
                steps.push(Step::Execute(*number));
            }
            if self.is_woken(line) {
                steps.push(Step::Grant(*number));
            }
            if line.wait.is_some_and(|(_, due)| due.is_some_and(|due| due <= self.now)) {
                steps.push(Step::Expire(*number));
            }
            if line.owner.is_some() && (!line.said.is_empty() || line.backend.is_none()) {
                steps.push(Step::Hear(*number));
            }
        }
        for (number, cancel) in self.cancels.iter().enumerate() {
            steps.push(if cancel.arrived { Step::Through } else { Step::Cancel }(number));
        }
        let due = self.clients.iter().enumerate().filter(|(_, client)| self.is_due(client));
        steps.extend(due.map(|(number, _)| Step::Wake(number)));
        steps
    }

    fn disturbances(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, line) in &self.lines {
            let is_used = line.owner.is_some_and(|owner| self.clients[owner].is_there());
            if line.backend.is_some() && (is_used || line.wait.is_some()) {
                steps.push(Step::Kill(*number));
            }
            if is_used {
                steps.push(Step::Cut(*number));
            }
            if line.wait.is_some() {
                steps.push(Step::Meddle(*number));
            }
        }
        let awaited = |(_, cancel): &(usize, &Cancel)| cancel.awaited.is_some();
        let awaited = self.cancels.iter().enumerate().filter(awaited);
        steps.extend(awaited.map(|(number, _)| Step::Mislay(number)));
        let there = self.clients.iter().enumerate().filter(|(_, client)| client.is_there());
        steps.extend(there.map(|(number, _)| Step::Crash(number)));
        steps
    }

    /// Takes what a machine says, and does what it asks for.
    fn settle(&mut self, number: usize) {
        let now = self.instant();
        loop {
            while let Some(event) = self.clients[number].machine.poll_event() {
                self.believe(number, &event);
            }
            let Some(request) = self.clients[number].machine.poll_request() else { return };
            let (id, verb) = (request.id, request.command.verb);
            let answer = if now > request.not_after {
                Some(Err(Fault::not_sent("it was too late to ask")))
            } else {
                self.ask(number, id, verb)
            };
            if let Some(answer) = answer {
                self.clients[number].machine.handle_reply(id, answer, now);
            }
        }
    }

    /// Sends what a machine asks for, or says at once what comes of it.
    fn ask(&mut self, number: usize, id: RequestId, verb: Verb) -> Option<Result<Reply, Fault>> {
        let takes = matches!(verb, Verb::Try | Verb::Wait { .. });
        if takes && self.clients[number].line.is_none() {
            self.connect(number);
        }
        let client = &mut self.clients[number];
        let Some(line) = client.line else { return Some(Err(gone())) };
        let held = client.held;
        match verb {
            Verb::Cancel if self.flaw == Some(PostgresFlaw::WaitsForNoCancel) => {
                self.cancels.push(Cancel { line, awaited: None, arrived: false });
                return Some(Ok(Reply::Done));
            }
            Verb::Cancel => {
                self.cancels.push(Cancel { line, awaited: Some(id), arrived: false });
            }
            Verb::Close => {
                self.end_line(line);
                return Some(Err(gone()));
            }
            Verb::Unlock if !held && self.flaw == Some(PostgresFlaw::ForgetsToRecheck) => {
                return Some(Ok(Reply::Unlocked(false)));
            }
            Verb::Try | Verb::Wait { .. } | Verb::Unlock => {
                client.held &= takes;
                let line = self.lines.get_mut(&line).expect("it is its client's");
                line.sent.push_back((id, verb));
            }
        }
        None
    }

    fn connect(&mut self, number: usize) {
        let backend = self.server.connect();
        let client = &mut self.clients[number];
        client.had.push(backend);
        client.line = Some(self.connections);
        let line = Line {
            backend: Some(backend),
            owner: Some(number),
            mode: client.mode,
            sent: VecDeque::new(),
            wait: None,
            said: VecDeque::new(),
        };
        self.lines.insert(self.connections, line);
        self.connections += 1;
    }

    /// A session is over for its client: everything that has no answer is told, and a loss.
    fn end_line(&mut self, number: usize) {
        let now = self.instant();
        let line = self.lines.get_mut(&number).expect("it is its client's");
        let owner = line.owner.take().expect("its client is there");
        let said = line.said.drain(..).map(|(id, _)| id);
        let sent = line.sent.iter().map(|(id, _)| *id);
        let mut asked: Vec<RequestId> =
            said.chain(line.wait.map(|(id, _)| id)).chain(sent).collect();
        if line.backend.is_none() {
            self.lines.remove(&number);
        }
        for cancel in self.cancels.iter_mut().filter(|cancel| cancel.line == number) {
            asked.extend(cancel.awaited.take());
        }
        self.drop_cancels();
        let client = &mut self.clients[owner];
        client.line = None;
        for id in asked {
            client.machine.handle_reply(id, Err(gone()), now);
        }
        let held = std::mem::take(&mut client.held);
        if held && self.flaw != Some(PostgresFlaw::TellsNoLoss) {
            client.machine.handle_disconnect(LossReason::Disconnected, now);
        }
    }

    fn drop_cancels(&mut self) {
        self.cancels.retain(|cancel| cancel.awaited.is_some() || !cancel.arrived);
    }
}

/// What is believed, and what is so.
impl PostgresWorld {
    fn believe(&mut self, number: usize, event: &Event) {
        let lives = self.backend_of(number).is_some();
        let client = &mut self.clients[number];
        client.stage = match (client.stage, event) {
            (Stage::Waiting, Event::Acquired { fence: Some(fence), .. }) => {
                // Who was killed meanwhile comes late, and holds nothing.
                assert!(!lives || *fence > self.fences.1, "fence: {fence} after {:?}", self.fences);
                self.fences.1 = self.fences.1.max(*fence);
                Stage::Held
            }
            (Stage::Waiting, Event::Failed(error)) => {
                let ours = matches!(error, LockError::Backend(_) | LockError::Deadlock(_));
                assert!(self.is_meddled || !ours, "spurious: {error}");
                Stage::Over
            }
            (Stage::Held, Event::Lost(_)) => Stage::Over,
            (stage, Event::Released) => stage,
            (_, Event::Closed { clean }) => {
                let left =
                    self.server.rows().into_iter().find(|row| client.had.contains(&row.session));
                assert!(!clean || left.is_none(), "cleanness: {left:?} is left");
                Stage::Closed
            }
            (stage, event) => panic!("M4: {event:?} while {stage:?}"),
        };
    }

    /// The session of a client, as long as it lives.
    fn backend_of(&self, number: usize) -> Option<Backend> {
        self.lines.get(&self.clients[number].line?)?.backend
    }

    fn check(&self) {
        let mut holders = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if client.stage != Stage::Held || client.released {
                continue;
            }
            assert!(client.line.is_some(), "loss: client {number} does not hear of it");
            let Some(backend) = self.backend_of(number) else { continue };
            let lock = (AdvisoryKey::from_name("orders"), client.mode);
            assert!(self.server.count(backend, lock) == 1, "truth: client {number} holds nothing");
            holders.push(client.mode);
        }
        let shared = holders.iter().all(|mode| *mode == Mode::Shared);
        assert!(holders.len() < 2 || shared, "exclusion: {holders:?}");
    }
}

impl World for PostgresWorld {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = self.moves();
        let is_quiet = steps.is_empty();
        let is_due = self.clients.iter().any(|client| self.is_due(client));
        if !is_due && self.next_moment().is_some() {
            let delay = (self.faults > 0).then_some(Step::Delay);
            steps.extend(if is_quiet { Some(Step::Pass) } else { delay });
        }
        for (number, client) in self.clients.iter().enumerate() {
            if client.is_there() && !client.released {
                steps.push(Step::Release(number));
            }
        }
        for (number, line) in &self.lines {
            if line.owner.is_none() && line.wait.is_none() {
                steps.push(Step::Vanish(*number));
            }
        }
        if self.faults > 0 {
            steps.extend(self.disturbances());
        }
        steps
    }

    fn take(&mut self, step: Step) {
        let now = self.instant();
        self.faults -= usize::from(is_fault(step));
        match step {
            Step::Execute(line) => self.execute(line),
            Step::Grant(number) => {
                let line = self.lines.get_mut(&number).expect("it waits");
                let (id, _) = line.wait.take().expect("it waits");
                self.server.resume(line.backend.expect("it waits"));
                self.say_granted(number, id);
            }
            Step::Expire(line) => self.end_wait(line, Failure::TimedOut, Reply::Expired),
            Step::Hear(line) => self.hear(line),
            Step::Cancel(cancel) => self.cancel(cancel),
            Step::Through(cancel) => self.cancelled(cancel, true),
            Step::Mislay(cancel) => self.cancelled(cancel, false),
            Step::Vanish(line) | Step::Kill(line) => self.end_backend(line),
            Step::Wake(number) => {
                self.clients[number].machine.handle_timeout(now);
                self.settle(number);
                let next = self.clients[number].machine.poll_timeout();
                assert!(next.is_none_or(|next| next.at > now), "M2: {next:?} at {now:?}");
            }
            Step::Release(number) => {
                self.clients[number].released = true;
                self.clients[number].machine.release(now);
                self.settle(number);
            }
            Step::Pass | Step::Delay => self.now = self.next_moment().expect("there is one"),
            Step::Cut(line) => {
                let owner = self.lines[&line].owner.expect("it is its client's");
                self.end_line(line);
                self.settle(owner);
            }
            Step::Meddle(line) => {
                self.is_meddled = true;
                self.end_wait(line, Failure::Cancelled, Reply::Cancelled);
            }
            Step::Crash(client) => self.crash(client),
        }
        self.check();
    }

    fn is_over(&self) -> bool {
        let is_idle = |client: &Client| client.deadline().is_none();
        self.clients.iter().all(is_idle) && self.steps().into_iter().all(is_fault)
    }

    fn end(&mut self) {
        for client in &self.clients {
            assert!(!client.is_there(), "liveness: nothing will happen, and {client:?} waits");
        }
        assert_eq!(self.server.rows(), [], "leak: nobody wants it");
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_there() {
            return f.write_str("Gone");
        }
        f.debug_struct("Client")
            .field("machine", &self.machine)
            .field("stage", &self.stage)
            .field("released", &self.released)
            .field("line", &self.line)
            .field("held", &self.held)
            .field("had", &self.had)
            .finish_non_exhaustive()
    }
}

impl Client {
    fn is_there(&self) -> bool {
        !matches!(self.stage, Stage::Closed | Stage::Crashed)
    }

    /// In which millisecond it is to be woken.
    fn deadline(&self) -> Option<u64> {
        let due = self.machine.poll_timeout().filter(|_| self.is_there());
        due.map(|due| millis(due.at))
    }
}

fn is_fault(step: Step) -> bool {
    match step {
        Step::Delay
        | Step::Kill(_)
        | Step::Cut(_)
        | Step::Mislay(_)
        | Step::Meddle(_)
        | Step::Crash(_) => true,
        Step::Execute(_)
        | Step::Grant(_)
        | Step::Expire(_)
        | Step::Hear(_)
        | Step::Cancel(_)
        | Step::Through(_)
        | Step::Vanish(_)
        | Step::Wake(_)
        | Step::Release(_)
        | Step::Pass => false,
    }
}

fn gone() -> Fault {
    Fault::unknown("the connection to the server is gone")
}

fn millis(at: Instant) -> u64 {
    at.as_nanos().div_ceil(1_000_000)
}
