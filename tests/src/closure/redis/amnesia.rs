//! One server that forgets everything, once, while what was asked of it is kept by a proxy: table B
//! of the model.

use lock_proto::Machine;
use lock_proto::redis::{Command, Message, Reply, Verb};

use super::RedisWorld;
use super::client::{Client, Stage};
use crate::redis_model::{Entry, Store, Value};

/// What a hold must have had of the servers, so that one of them may forget it: then nobody gets in
/// beside it, and all later ballots are above its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the tests name every one")]
pub enum Premise {
    /// (c), (d): a majority has granted it.
    Majority,
    /// (e): all have seen its ballot, and those that refused it remember it as well.
    Reached,
    /// All have granted it.
    Granted,
}

impl<M> RedisWorld<M>
where
    M: Machine<Command = Command, Reply = Reply, Message = Message>,
{
    /// The same world, in which one server may forget everything, besides all faults; what is under
    /// way to it arrives.
    #[must_use]
    pub fn forgetting(mut self, premise: Premise) -> Self {
        self.premise = Some(premise);
        self
    }

    /// The same world, in which servers may lose their counters.
    #[must_use]
    pub fn evicting(mut self) -> Self {
        self.evicts = true;
        self
    }

    /// No server gives out a million numbers a second (R23).
    pub(super) fn evict(&mut self, server: usize) {
        self.servers[server].delete(self.keys.fence());
        self.now += 1;
        self.set_clocks();
    }

    pub(super) fn may_forget(&self) -> bool {
        self.premise.is_some() && !self.forgot
    }

    pub(super) fn forget(&mut self, server: usize) {
        self.forgot = true;
        self.servers[server].flush();
        self.refused.retain(|(at, _), _| *at != server);
        self.clean.clear();
    }

    /// Whether what is promised of a hold survives that a server forgets.
    pub(super) fn lasts(&self, number: usize, ballot: u64) -> bool {
        let client = &self.clients[number];
        match self.premise {
            None | Some(Premise::Majority) => true,
            Some(Premise::Reached) => self.servers.iter().all(|it| self.highest(it) >= ballot),
            Some(Premise::Granted) => self.servers.iter().all(|it| self.is_known(it, client)),
        }
    }

    /// Whether two may be inside because a server forgot one who had not enough of them.
    pub(super) fn is_excused(&self, holders: &[&Client<M>]) -> bool {
        let lasts = |client: &&Client<M>| matches!(client.stage, Stage::Held { lasts: true, .. });
        self.forgot
            && match self.premise {
                None | Some(Premise::Majority) => false,
                // It is about ballots alone.
                Some(Premise::Reached) => true,
                Some(Premise::Granted) => !holders.iter().all(lasts),
            }
    }

    /// A server that refuses a ballot remembers it all the same.
    pub(super) fn note_ballot(&mut self, command: &Command, reply: &Result<Reply, String>) {
        let Verb::Vote { ballot, .. } = command.verb else { return };
        let refused = reply.as_ref().is_ok_and(|reply| reply[0] == 0);
        let server = &self.servers[command.server];
        let reached = self.premise == Some(Premise::Reached);
        if reached && refused && self.highest(server) < ballot {
            let value = Value::Text(ballot.to_string().into());
            let entry = Entry { value, expires: None };
            self.servers[command.server].put(self.keys.fence(), entry);
        }
    }

    /// The highest ballot that a server knows.
    fn highest(&self, server: &Store) -> u64 {
        match server.entries().get(self.keys.fence()).map(|entry| &entry.value) {
            Some(Value::Text(number)) => number.parse().expect("a ballot"),
            Some(Value::Hash(_) | Value::Sorted(_)) | None => 0,
        }
    }
}
