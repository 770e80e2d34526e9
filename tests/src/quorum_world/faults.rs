//! What befalls clients, connections and servers.

use lock_proto::{Fault, LossReason};

use super::World;
use super::client::Client;
use super::servers::Flight;
use crate::swarm::unwilling;
use crate::trace::Happening;

/// What may befall a run, if it is one of those that have it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// A client stands still, for up to ten leases.
    Pauses,
    /// Wall clocks are set, apart from those that leases are told by.
    WallJumps,
    /// A request arrives twice, the second time late.
    Doubles,
    /// A server answers with an error, or its connection does not take the request.
    Errors,
    /// Between a client and a server, or all servers, nothing travels for a while, one way or both.
    Partitions,
    /// A server's clock goes back.
    ClockSteps,
    /// Wall clocks stand still, so that ballots meet.
    StillClocks,
    /// Connections break.
    Cuts,
    /// Servers go down.
    Outages,
    /// Clients talk to a proxy, which keeps what is asked while its server starts anew.
    Proxies,
}

/// How long a partition may last.
const PARTITIONS: [u64; 3] = [300_000, 2_000_000, 10_000_000];

impl World<'_> {
    pub(super) fn has(&self, trouble: Trouble) -> bool {
        self.swarm.has(trouble as usize)
    }

    /// What nobody asked for.
    pub(super) fn disturb(&mut self, client: usize) {
        let server = self.entropy.pick(self.servers.len());
        match self.entropy.pick(12) {
            0 | 1 => self.on_any_lock(client, "nudge", |hub, lock, now| hub.nudge(lock, now)),
            2 => self.on_any_lock(client, "disconnect", |hub, lock, now| {
                hub.disconnect(lock, LossReason::Revoked, now);
            }),
            3 => self.crash(client),
            4 | 5 if self.has(Trouble::Outages) => {
                let down = !self.servers[server].is_down;
                self.servers[server].is_down = down;
                let at = self.since_the_beginning();
                let word = if down { "goes down" } else { "is up again" };
                self.trace.fault(at, || format!("server {server} {word}"));
            }
            6 | 7 if self.forgets() && !self.forgotten => self.forget(server),
            8 | 9 if self.has(Trouble::Pauses) => self.pause(client),
            10 if self.has(Trouble::Partitions) => self.part(client, server),
            11 if self.has(Trouble::ClockSteps) => self.set_back(server),
            _ => self.write(client),
        }
    }

    /// For a while nothing travels from a client to a server, back, or both: what was sent waits.
    fn part(&mut self, client: usize, server: usize) {
        let until = self.now + PARTITIONS[self.entropy.pick(PARTITIONS.len())];
        let (requests, answers) =
            [(true, false), (false, true), (true, true)][self.entropy.pick(3)];
        let everywhere = self.entropy.pick(3) == 2;
        let servers = if everywhere { 0..self.servers.len() } else { server..server + 1 };
        for link in &mut self.clients[client].links[servers] {
            link.requests_from = if requests { until } else { link.requests_from };
            link.answers_from = if answers { until } else { link.answers_from };
        }
        let at = self.since_the_beginning();
        self.trace.saw("a partition");
        self.trace.fault(at, || {
            let server = if everywhere { "all servers".into() } else { format!("server {server}") };
            let way = match (requests, answers) {
                (true, true) => format!("nothing travels between client {client} and {server}"),
                (true, false) => format!("no requests travel from client {client} to {server}"),
                (false, _) => format!("no answers travel from {server} to client {client}"),
            };
            format!("{way}: {} ms", (until - self.now) / 1_000)
        });
    }

    /// A server's clock goes back, which only makes its leases longer.
    fn set_back(&mut self, server: usize) {
        let step = [40_000, 2_000_000][self.entropy.pick(2)];
        let clock = &mut self.servers[server].began_at;
        *clock = clock.saturating_sub(step);
        self.trace.saw("a server's clock went back");
        let at = self.since_the_beginning();
        self.trace
            .fault(at, || format!("server {server} sets its clock back: {} ms", step / 1_000));
    }

    /// A client stands still, and goes on where it was.
    fn pause(&mut self, client: usize) {
        let lengths = [40_000, 300_000, 2_000_000, 10_000_000];
        let length = lengths[self.entropy.pick(lengths.len())];
        self.clients[client].paused_until = self.now + length;
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("client {client} stands still: {} ms", length / 1_000));
        self.trace.saw("a client stood still");
    }

    pub(super) fn is_paused(&self, client: usize) -> bool {
        self.now < self.clients[client].paused_until
    }

    /// Somebody writes to what its lock is for, or what was written arrives.
    pub(super) fn write(&mut self, client: usize) {
        let hub = &mut self.clients[client].hub;
        self.storage.disturb(hub, |belief| belief.hold, &mut self.entropy, self.trace);
    }

    /// Why a server does not carry out a request, now and then.
    pub(super) fn unwilling(&mut self) -> Option<Fault> {
        let errs = self.has(Trouble::Errors);
        errs.then(|| unwilling(&mut self.entropy, self.trace)).flatten()
    }

    /// A request is to arrive once more, now and then.
    pub(super) fn double(&mut self, flight: &Flight) {
        if self.has(Trouble::Doubles) && self.entropy.happens(16) {
            self.trace.saw("a request arrived twice");
            self.doubled.insert(flight.command.token.as_str().into());
            self.ghosts.push(flight.clone());
        }
    }

    /// A connection breaks: what was sent may still arrive, and nothing more is heard.
    pub(super) fn cut(&mut self, client: usize, server: usize) {
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("client {client} is cut off from server {server}"));
        let now = self.clients[client].local(self.now);
        let link = &mut self.clients[client].links[server];
        let sent: Vec<Flight> = link.sent.drain(..).collect();
        let heard: Vec<_> = link.answers.drain(..).map(|(lock, id, _)| (lock, id)).collect();
        let lost = sent.iter().map(|flight| (flight.lock, flight.id));
        for (lock, id) in heard.into_iter().chain(lost) {
            let fault = Err(Fault::unknown("the connection broke"));
            self.trace.event();
            self.clients[client].hub.handle_reply(lock, id, fault, now);
        }
        self.ghosts.extend(sent);
        self.settle(client);
    }

    fn crash(&mut self, client: usize) {
        self.trace.note(|| format!("client {client} crashes"));
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::Crashed { client });
        self.trace.saw("a client crashed");
        for link in &mut self.clients[client].links {
            self.ghosts.extend(link.sent.drain(..));
        }
        for lock in self.clients[client].hub.locks().collect::<Vec<_>>() {
            self.note_end(client, lock, true);
        }
        self.clients[client] = Client::new(self.clients[client].rate, self.servers.len());
    }
}
