//! Two clients of Redis servers.

mod amnesia;
mod client;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use lock_proto::redis::{Command, Keys, Message, Reply, Side, Verb};
use lock_proto::{Event, Fault, Instant, LockError, Machine, RequestId};

pub use self::amnesia::Premise;
use self::client::{Client, Stage};
use super::World;
use crate::redis_model::{Draw, Omission, Store, Value};

/// The server's clock at the beginning, in milliseconds since 1970.
const EPOCH: u64 = 1_700_000_000_000;
/// A request that has not arrived by then, in milliseconds, never does.
const ARRIVES_WITHIN: u64 = 10_000;
/// Longer than anything of ours may stay, in milliseconds.
const AFTERWARDS: u64 = 120_000;

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every one")]
pub enum RedisFlaw {
    /// A script leaves something out.
    Script(Omission),
    /// R18: a server gives its vote only to ballots above all that it has seen.
    FallingBallots,
}

/// Clients that each want the same lock once, and the servers that they ask.
///
/// Their clocks go alike, in whole milliseconds: that is how finely a moment is shown, and so how
/// finely states are told apart. Whoever is due is woken before time goes on, and time goes on
/// when nothing is under way: a delay is a fault.
#[derive(Clone, Debug)]
pub struct RedisWorld<M> {
    /// Milliseconds since the beginning.
    now: u64,
    servers: Vec<Store>,
    clients: Vec<Client<M>>,
    /// Requests of connections that are gone: each may still arrive.
    ghosts: Vec<(u64, usize, Command)>,
    /// How many faults may still happen.
    faults: usize,
    /// The greatest fence of a hold.
    fence: u64,
    /// Tokens of which nothing may be left.
    clean: BTreeSet<String>,
    /// Until when a server refuses which client.
    refused: BTreeMap<(usize, usize), u64>,
    keys: Keys,
    /// Whether an answer is heard as soon as it is given.
    is_prompt: bool,
    /// How many servers have been asked anything. The others are all alike, so that nothing is lost
    /// if they come in their order.
    known_servers: usize,
    /// Whether nobody waits for the lock.
    tries: bool,
    /// What is promised although a server forgets, if one may.
    premise: Option<Premise>,
    /// Whether one has forgotten.
    forgot: bool,
    /// Whether the counter of fences may be lost.
    evicts: bool,
    flaw: Option<RedisFlaw>,
}

/// One thing that may happen.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a path names every one")]
pub enum Step {
    /// A server carries out a client's next request.
    Execute(usize, usize),
    /// A client hears a server's next answer.
    Hear(usize, usize),
    /// A client is told one of the messages for it.
    Tell(usize, usize),
    /// A client is woken.
    Wake(usize),
    /// A client lets go.
    Release(usize),
    /// Nothing is under way, and time goes on to the next moment that matters.
    Pass,
    /// A request arrives whose connection is gone.
    Arrive(usize),
    /// Fault: time goes on likewise before what is under way has come.
    Delay,
    /// Fault: a connection breaks; what was sent may still arrive, and nothing more is heard.
    Cut(usize, usize),
    /// Fault: a message is lost.
    Mislay(usize, usize),
    /// Fault: a client is gone.
    Crash(usize),
    /// A server has nothing any more, and what was asked of it arrives.
    Forget(usize),
    /// Fault: a server loses the counter of fences, which takes it a millisecond.
    Evict(usize),
}

impl<M> RedisWorld<M>
where
    M: Machine<Command = Command, Reply = Reply, Message = Message>,
{
    fn instant(&self) -> Instant {
        Instant::ZERO + Duration::from_millis(self.now)
    }

    fn set_clocks(&mut self) {
        for server in &mut self.servers {
            server.set_clock((EPOCH + self.now) * 1_000);
        }
    }

    /// Whether time has come to the machine's deadline.
    fn is_due(&self, client: &Client<M>) -> bool {
        client.is_there() && client.deadline().is_some_and(|at| at <= self.now)
    }

    /// The next moment that matters to a client or to the lock on a server.
    fn next_moment(&self) -> Option<u64> {
        let deadlines = self.clients.iter().filter(|client| client.is_there());
        let deadlines = deadlines.filter_map(Client::deadline);
        let ends = self.servers.iter().filter_map(|server| {
            let ends = server.entries().get(self.keys.lock())?.expires?;
            u64::try_from(ends + 1).ok()?.checked_sub(EPOCH)
        });
        deadlines.chain(ends).min()
    }

    /// A server carries out a command; what it publishes is on its way then.
    fn execute(&mut self, number: usize, command: &Command) -> Result<Reply, Fault> {
        let server = &mut self.servers[command.server];
        let client = &mut self.clients[number];
        if let Verb::Vote { .. } = command.verb
            && self.flaw == Some(RedisFlaw::FallingBallots)
        {
            server.delete(self.keys.fence());
        }
        let reply = if let Verb::Take { .. } = command.verb {
            let draw = if client.drawn { Draw::Increment } else { Draw::Mint };
            let reply = server.take(command, draw);
            client.drawn |= reply[1] > 0;
            Ok(reply)
        } else {
            server.execute(command, &number.to_string())
        };
        self.note_refusal(number, command, &reply);
        self.note_ballot(command, &reply);
        let server = &mut self.servers[command.server];
        for (inbox, text) in server.take_messages() {
            let (token, message) = Message::parse(&text).expect("our own form");
            let client = &mut self.clients[inbox.parse::<usize>().expect("inboxes are numbers")];
            if client.is_there() && client.token == token {
                client.inbox.push(message);
            }
        }
        reply.map_err(Fault::refused)
    }

    /// R14: what is overtaken by the word that it is wanted no more comes to nothing.
    fn note_refusal(&mut self, number: usize, command: &Command, reply: &Result<Reply, String>) {
        let place = (command.server, number);
        match command.verb {
            Verb::Leave { refuse_for: Some(time), .. }
            | Verb::Quit { refuse_for: Some(time), .. } => {
                let until = self.now + u64::try_from(time.as_millis()).expect("a short time");
                self.refused.insert(place, until);
            }
            Verb::Enter { .. } | Verb::Vote { .. } => {
                let refused = self.refused.get(&place).is_some_and(|until| self.now < *until);
                let granted = reply.as_ref().is_ok_and(|reply| reply[0] == 1);
                assert!(!refused || !granted, "refusal: {number} was given up, and is let in");
            }
            Verb::Take { .. }
            | Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. }
            | Verb::Quit { .. }
            | Verb::Keep { .. }
            | Verb::StepBack { .. } => {}
        }
    }

    /// Whether a server knows that a client has the lock.
    fn is_known(&self, server: &Store, client: &Client<M>) -> bool {
        let moment = i64::try_from(EPOCH + self.now).expect("it is not that late");
        let entries = server.entries();
        [self.keys.lock(), self.keys.readers()].into_iter().any(|key| {
            let entry = entries.get(key).filter(|it| it.expires.is_none_or(|end| moment <= end));
            entry.is_some_and(|entry| match &entry.value {
                Value::Text(text) => **text == *client.token,
                Value::Sorted(members) => members.contains_key(client.token.as_str()),
                Value::Hash(_) => false,
            })
        })
    }

    /// A client hears the next answer of a server.
    fn hear(&mut self, number: usize, server: usize) {
        let now = self.instant();
        let client = &mut self.clients[number];
        let (id, answer) = client.links[server].answers.pop_front().expect("it was said");
        client.machine.handle_reply(id, answer, now);
        self.settle(number);
    }

    /// Nothing more is heard of a connection, and what was sent may still arrive.
    fn cut(&mut self, number: usize, server: usize) -> Vec<RequestId> {
        let link = &mut self.clients[number].links[server];
        let mut lost: Vec<RequestId> = link.answers.drain(..).map(|(id, _)| id).collect();
        for (id, command) in link.sent.drain(..) {
            lost.push(id);
            self.ghosts.push((self.now + ARRIVES_WITHIN, number, command));
        }
        lost
    }

    /// A client hears that a connection broke.
    fn cut_off(&mut self, number: usize, server: usize) {
        let now = self.instant();
        self.clients[number].drawn = false;
        for id in self.cut(number, server) {
            let lost = Err(Fault::unknown("the connection broke"));
            self.clients[number].machine.handle_reply(id, lost, now);
        }
        self.settle(number);
    }

    /// A client is gone, and what it sent may still arrive.
    fn depart(&mut self, number: usize, stage: Stage) {
        for server in 0..self.servers.len() {
            self.cut(number, server);
        }
        self.clients[number].inbox.clear();
        self.clients[number].stage = stage;
    }

    /// Takes what a machine says.
    fn settle(&mut self, number: usize) {
        while let Some(event) = self.clients[number].machine.poll_event() {
            self.believe(number, &event);
        }
        let client = &mut self.clients[number];
        while let Some(request) = client.machine.poll_request() {
            let link = &mut client.links[request.command.server];
            link.sent.push_back((request.id, request.command));
        }
        if client.stage == Stage::Closed {
            self.depart(number, Stage::Closed);
        }
    }

    fn believe(&mut self, number: usize, event: &Event) {
        let lasts = matches!(event, Event::Acquired { fence: Some(ballot), .. }
            if self.lasts(number, *ballot));
        let client = &mut self.clients[number];
        client.stage = match (client.stage, event) {
            (Stage::Waiting, Event::Acquired { valid_until: Some(until), fence: Some(fence) }) => {
                assert!(*fence > self.fence, "fence: {fence} after {}", self.fence);
                if lasts {
                    self.fence = *fence;
                }
                Stage::Held { until: *until, lasts }
            }
            (Stage::Held { until, lasts }, Event::Extended { valid_until: Some(then) }) => {
                assert!(*then >= until, "lease: shortened from {until:?} to {then:?}");
                Stage::Held { until: *then, lasts }
            }
            (stage @ Stage::Held { .. }, Event::Warned { .. }) => stage,
            (Stage::Held { .. }, Event::Lost(_)) => Stage::Over,
            (Stage::Waiting, Event::Failed(error)) => {
                let excused = matches!(error, LockError::Connection(_)) || self.tries;
                assert!(excused, "liveness: it waits for ever, and fails: {error}");
                Stage::Over
            }
            (stage, Event::Released) => stage,
            (_, Event::Closed { clean }) => {
                if *clean && !self.forgot {
                    self.clean.insert(client.token.clone());
                }
                Stage::Closed
            }
            (stage, event) => panic!("M4: {event:?} while {stage:?}"),
        };
    }

    fn check(&self) {
        let now = self.instant();
        let holds = |client: &&Client<M>| {
            !client.released && matches!(client.stage, Stage::Held { until, .. } if now < until)
        };
        for client in self.clients.iter().filter(holds).filter(|_| !self.forgot) {
            let known = self.servers.iter().filter(|server| self.is_known(server, client)).count();
            let count = self.servers.len();
            assert!(known > count / 2, "truth: {known} of {count} know of {}'s hold", client.token);
        }
        let holders: Vec<&Client<M>> = self.clients.iter().filter(holds).collect();
        let shared = holders.iter().all(|client| client.side == Side::Shared);
        let excused = shared || self.is_excused(&holders);
        assert!(holders.len() < 2 || excused, "exclusion: {} at {now:?}", holders.len());
        for server in &self.servers {
            for (key, entry) in server.entries() {
                let left = self.clean.iter().find(|token| match &entry.value {
                    Value::Text(text) => **text == ***token,
                    Value::Hash(fields) => fields.contains_key(token.as_str()),
                    Value::Sorted(members) => members.contains_key(token.as_str()),
                });
                assert!(left.is_none(), "cleanness: {left:?} is left at {key}: {entry:?}");
            }
        }
    }
}

impl<M> World for RedisWorld<M>
where
    M: Machine<Command = Command, Reply = Reply, Message = Message> + Clone + fmt::Debug,
{
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let may_fail = self.faults > 0;
        let there = |(_, client): &(usize, &Client<M>)| client.is_there();
        for (number, client) in self.clients.iter().enumerate().filter(there) {
            for (server, link) in client.links.iter().enumerate().take(self.known_servers + 1) {
                if !link.sent.is_empty() {
                    steps.push(Step::Execute(number, server));
                }
                if !link.answers.is_empty() {
                    steps.push(Step::Hear(number, server));
                }
                if may_fail && !(link.sent.is_empty() && link.answers.is_empty()) {
                    steps.push(Step::Cut(number, server));
                }
            }
            for message in 0..client.inbox.len() {
                steps.push(Step::Tell(number, message));
                if may_fail {
                    steps.push(Step::Mislay(number, message));
                }
            }
            if self.is_due(client) {
                steps.push(Step::Wake(number));
            }
            if !client.released {
                steps.push(Step::Release(number));
            }
            if may_fail {
                steps.push(Step::Crash(number));
            }
        }
        steps.extend((0..self.ghosts.len()).map(Step::Arrive));
        if may_fail && self.evicts {
            steps.extend((0..self.known_servers).map(Step::Evict));
        }
        if self.may_forget() {
            // One that knows nothing has nothing to forget.
            steps.extend((0..self.known_servers).map(Step::Forget));
        }
        if !self.clients.iter().any(|client| self.is_due(client)) && self.next_moment().is_some() {
            let is_quiet = self.clients.iter().all(Client::is_quiet);
            steps.extend(if is_quiet { Some(Step::Pass) } else { may_fail.then_some(Step::Delay) });
        }
        steps
    }

    fn take(&mut self, step: Step) {
        let now = self.instant();
        match step {
            Step::Execute(number, server) => {
                self.known_servers = self.known_servers.max(server + 1);
                let sent = self.clients[number].links[server].sent.pop_front();
                let (id, command) = sent.expect("it was sent");
                let answer = self.execute(number, &command);
                self.clients[number].links[server].answers.push_back((id, answer));
                if self.is_prompt {
                    self.hear(number, server);
                }
            }
            Step::Hear(number, server) => self.hear(number, server),
            Step::Tell(number, message) => {
                let client = &mut self.clients[number];
                let message = client.inbox.remove(message);
                client.machine.handle_message(message, now);
                self.settle(number);
            }
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
            Step::Pass | Step::Delay => {
                self.faults -= usize::from(matches!(step, Step::Delay));
                self.now = self.next_moment().expect("there is one");
                self.set_clocks();
                self.ghosts.retain(|(until, ..)| self.now < *until);
                self.refused.retain(|_, until| self.now < *until);
            }
            Step::Arrive(ghost) => {
                let (_, number, command) = self.ghosts.remove(ghost);
                // Nobody hears the answer.
                drop(self.execute(number, &command));
            }
            Step::Cut(number, server) => {
                self.known_servers = self.known_servers.max(server + 1);
                self.faults -= 1;
                self.cut_off(number, server);
            }
            Step::Mislay(number, message) => {
                self.faults -= 1;
                self.clients[number].inbox.remove(message);
            }
            Step::Crash(number) => {
                self.faults -= 1;
                self.depart(number, Stage::Crashed);
            }
            Step::Forget(server) => self.forget(server),
            Step::Evict(server) => {
                self.faults -= 1;
                self.evict(server);
            }
        }
        self.check();
    }

    fn is_over(&self) -> bool {
        let faulty = |step: &Step| {
            matches!(
                step,
                Step::Arrive(_)
                    | Step::Delay
                    | Step::Cut(..)
                    | Step::Mislay(..)
                    | Step::Crash(_)
                    | Step::Forget(_)
                    | Step::Evict(_)
            )
        };
        let is_idle = |client: &Client<M>| !client.is_there() || client.deadline().is_none();
        // What is left of the leases then ends by itself.
        self.clients.iter().all(is_idle)
            && self.steps().iter().all(|step| faulty(step) || matches!(step, Step::Pass))
    }

    fn end(&mut self) {
        for client in &self.clients {
            assert!(!client.is_there(), "liveness: nothing will happen, and {client:?} waits");
        }
        self.now += AFTERWARDS;
        self.set_clocks();
        for server in &self.servers {
            let left: Vec<_> = server.entries().keys().collect();
            let fence = self.keys.fence();
            assert!(left.iter().all(|key| ***key == *fence), "leak: {left:?} is left behind");
        }
    }
}
