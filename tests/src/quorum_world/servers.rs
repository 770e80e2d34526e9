//! The servers of the world, and what travels to them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use lock_proto::redis::{Command, Keys, Verb};
use lock_proto::{Fault, LockId, RequestId};

use super::faults::Trouble;
use super::{EPOCH, INBOXES, Rule, Setting, World};
use crate::redis_model::{Entry, Score, Store, Value};

/// A request that has not arrived by then never does.
const ARRIVES_WITHIN: u64 = 10_000_000;
/// Above every ballot.
const ANY_BALLOT: u64 = 1 << 52;

/// One server, whose clock is its own.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) is_down: bool,
    rate: u64,
    /// What its clock showed at the beginning, or would have, in microseconds since 1970.
    pub(super) began_at: u64,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) client: usize,
    pub(super) lock: LockId,
    pub(super) id: RequestId,
    pub(super) command: Command,
    pub(super) sent_at: u64,
}

impl Server {
    pub(super) fn new(number: usize) -> Self {
        let rate = [998, 1_000, 1_002, 1_001, 999][number % 5];
        let ahead = [0, 1_500_000, 40_000, 7, 900_000][number % 5];
        let began_at = EPOCH + ahead;
        let mut server = Self { store: Store::new(), is_down: false, rate, began_at };
        server.set_clock(0);
        server
    }

    pub(super) fn set_clock(&mut self, now: u64) {
        self.store.set_clock(self.began_at + now * self.rate / 1_000);
    }

    /// For how many microseconds of everybody's time the lock is still that of `token`.
    pub(super) fn lease_of(&self, keys: &Keys, token: &str) -> u64 {
        let entries = self.store.entries();
        let Some(Entry { value, expires }) = entries.get(keys.lock()) else { return 0 };
        let shared = match entries.get(keys.readers()).map(|entry| &entry.value) {
            Some(Value::Sorted(members)) => members.get(token).copied().map(Score::floor),
            Some(Value::Text(_) | Value::Hash(_)) | None => None,
        };
        let own = *value == Value::Text(token.into());
        let ends = if own { *expires } else { shared };
        let Some(ends) = ends else { return 0 };
        let clock = self.store.now_us();
        let left = u64::try_from(ends * 1_000 - clock).unwrap_or(0);
        left * 1_000 / self.rate
    }
}

impl World<'_> {
    /// A server carries out the next request of a client's connection.
    pub(super) fn execute_next(&mut self, client: usize, server: usize) {
        let is_down = self.servers[server].is_down;
        let link = &mut self.clients[client].links[server];
        if self.now < link.requests_from {
            return;
        }
        let Some(flight) = link.sent.pop_front() else { return };
        let answer = if let Some(answer) = self.made_up(&flight, is_down) {
            Ok(answer)
        } else if is_down {
            self.trace.event();
            Err(Fault::not_sent("the server is down"))
        } else if let Some(fault) = self.unwilling() {
            Err(fault)
        } else {
            self.double(&flight);
            self.execute(&flight).map_err(Fault::refused)
        };
        self.trace
            .note(|| format!("{server}: {:?} of {client} -> {answer:?}", flight.command.verb));
        self.clients[client].links[server].answers.push_back((flight.lock, flight.id, answer));
    }

    pub(super) fn ghost_arrives(&mut self) {
        self.forget_ghosts();
        if self.ghosts.is_empty() {
            return;
        }
        let chosen = self.entropy.pick(self.ghosts.len());
        let flight = self.ghosts.swap_remove(chosen);
        if self.servers[flight.command.server].is_down {
            return;
        }
        let reply = self.execute(&flight);
        self.trace.saw("a request arrived after its connection was gone");
        self.trace.note(|| format!("late: {:?} -> {reply:?}", flight.command));
    }

    pub(super) fn forget_ghosts(&mut self) {
        let now = self.now;
        self.ghosts.retain(|flight| now < flight.sent_at + ARRIVES_WITHIN);
    }

    /// A server starts anew with nothing.
    pub(super) fn forget(&mut self, server: usize) {
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("server {server} forgets everything"));
        self.trace.saw("a server forgot");
        self.forgotten = true;
        self.servers[server].store.flush();
        if self.has(Trouble::Proxies) {
            let asked = self.clients.iter().any(|client| !client.links[server].sent.is_empty());
            if asked {
                self.trace.saw("requests outlived the restart of their server");
            }
            return;
        }
        self.ghosts.retain(|flight| flight.command.server != server);
        for client in 0..self.clients.len() {
            self.cut(client, server);
        }
        self.ghosts.retain(|flight| flight.command.server != server);
    }

    fn execute(&mut self, flight: &Flight) -> Result<[i64; 3], String> {
        // Nothing is done in no time.
        self.now += 1;
        self.trace.event();
        let mut server = flight.command.server;
        if self.breaks(Rule::ServersApart) && server == 1 {
            server = 0;
        }
        self.servers[server].set_clock(self.now);
        let command = self.broken(&flight.command);
        let store = &mut self.servers[server].store;
        let mut reply = store.execute(&command, INBOXES[flight.client])?;
        for (inbox, text) in store.take_messages() {
            let client = inbox.parse().expect("inboxes are numbers");
            self.messages.push((client, text.to_string()));
        }
        if let Verb::Vote { ballot, .. } = command.verb {
            self.note_yes(flight, reply);
            if reply[0] == 1 && reply[1] != ballot.cast_signed() {
                self.trace.saw("a yes at another ballot");
            }
            if reply[0] == 1 && (self.breaks(Rule::SameBallot) || self.breaks(Rule::CountedBallot))
            {
                reply[1] = ballot.cast_signed();
            }
        }
        if reply[0] == 1 {
            self.shorten(&command);
        }
        self.check_cleanness(server);
        Ok(reply)
    }

    /// Nothing is left of whoever was told so, but at most the ballot at which it once shared.
    fn check_cleanness(&self, server: usize) {
        if self.clean.is_empty() {
            return;
        }
        for (key, entry) in self.servers[server].store.entries() {
            let left = self.clean.iter().find(|token| match &entry.value {
                Value::Text(text) => **text == ***token,
                Value::Hash(fields) => fields.contains_key(token.as_str()),
                Value::Sorted(members) => members.contains_key(token.as_str()),
            });
            assert!(left.is_none(), "cleanness: {left:?} is left at {key}: {entry:?}");
        }
    }

    /// The command as a server without the rule that is broken understands it.
    fn broken<'a>(&mut self, command: &'a Command) -> Cow<'a, Command> {
        let mut command = Cow::Borrowed(command);
        if let Setting::Broken(rule) = self.setting {
            self.break_rule(rule, command.to_mut());
        }
        command
    }

    fn break_rule(&mut self, rule: Rule, command: &mut Command) {
        let store = &mut self.servers[command.server].store;
        match (rule, &mut command.verb) {
            (Rule::StepBackAtItsBallot, Verb::StepBack { ballot, .. }) => *ballot = ANY_BALLOT,
            (Rule::RisingBallots, Verb::Vote { .. }) => {
                store.delete(command.keys.fence());
            }
            (Rule::TakeOnlyWhatIsMissing, Verb::Keep { .. }) => {
                let own = Value::Text(command.token.as_str().into());
                let there = store.entries().get(command.keys.lock());
                if there.is_some_and(|entry| entry.value != own) {
                    store.delete(command.keys.lock());
                }
            }
            (_, _) => {}
        }
    }

    /// Without R4 the lease is as long as the last command says.
    fn shorten(&mut self, command: &Command) {
        let (Verb::Vote { ttl, .. } | Verb::Keep { ttl, .. }) = command.verb else { return };
        if self.setting != Setting::Broken(Rule::NeverShorten) {
            return;
        }
        let store = &mut self.servers[command.server].store;
        let ends = store.now_us() / 1_000 + i64::try_from(ttl.as_millis()).expect("it is short");
        let there = store.entries().get(command.keys.lock()).cloned();
        let mut entry = there.expect("it was just taken");
        entry.expires = Some(ends);
        store.put(command.keys.lock(), entry);
    }

    /// How many servers have granted the lock to one of `tokens` for at least that long, at no less
    /// than `ballot`: what was granted at a lower one may be on its way back.
    pub(super) fn grants(&mut self, tokens: &BTreeSet<String>, left: u64, ballot: u64) -> usize {
        // A server that was not asked for a while has not looked at its clock for as long.
        self.servers.iter_mut().for_each(|server| server.set_clock(self.now));
        let long_enough = |server: &&Server| {
            tokens.iter().any(|token| server.lease_of(&self.keys, token) >= left)
        };
        let alias = self.breaks(Rule::ServersApart);
        let servers = self.servers.iter().zip(0..);
        let servers = servers
            .map(|(server, number)| if alias && number == 1 { &self.servers[0] } else { server });
        let standing = servers.filter(long_enough);
        standing.filter(|server| server.highest(&self.keys) >= ballot).count()
    }
}

impl Server {
    /// The highest ballot that it has granted.
    fn highest(&self, keys: &Keys) -> u64 {
        match self.store.entries().get(keys.fence()).map(|entry| &entry.value) {
            Some(Value::Text(number)) => number.parse().unwrap_or(0),
            Some(Value::Hash(_) | Value::Sorted(_)) | None => 0,
        }
    }
}
