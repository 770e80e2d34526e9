//! What befalls clients, connections and the server.

use std::time::Duration;

use lock_proto::redis::Side;
use lock_proto::{Fault, LockId, LossReason};

use super::client::{Client, Flight, State};
use super::rules::{Habit, Rule};
use super::{CLIENTS, Setting, World};
use crate::swarm::unwilling;
use crate::trace::Happening;

/// What may befall a run, if it is one of those that have it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Connections break.
    Cuts,
    /// A request arrives after its connection was gone.
    LateRequests,
    /// A request arrives twice, the second time late.
    Doubles,
    /// The server answers with an error, or its connection does not take the request.
    Errors,
    /// A message is lost.
    LostMessages,
    /// A client is not let run when it is due.
    Starvation,
    /// A client stands still, for up to ten leases.
    Pauses,
    Crashes,
    /// The fencing counter is evicted.
    Evictions,
    /// Somebody else takes the lock with plain commands.
    Strangers,
    /// The caller is told, unasked, that its lock is gone or may be free.
    Disturbances,
    /// Between a client and the server nothing travels for a while, one way or both.
    Partitions,
    /// The server's clock goes back.
    ClockSteps,
    /// Locks are evicted, and the counter stays.
    LostLocks,
}

/// How long a partition may last.
const PARTITIONS: [u64; 3] = [300_000, 2_000_000, 10_000_000];
/// By how much a clock may be set.
const STEPS: [u64; 2] = [40_000, 2_000_000];

impl World<'_> {
    pub(super) fn has(&self, trouble: Trouble) -> bool {
        self.swarm.has(trouble as usize)
    }

    /// What nobody asked for.
    pub(super) fn disturb(&mut self, client: usize) {
        match self.entropy.pick(12) {
            0 if self.evicts() => {
                self.nodes.delete(self.keys.fence());
                let at = self.since_the_beginning();
                self.trace.fault(at, || "the counter is evicted".into());
            }
            1 => self.on_any_lock(client, "extend", |hub, lock, now| {
                hub.extend(lock, Duration::from_millis(700), now);
            }),
            2 if self.has(Trouble::Disturbances) => {
                self.on_any_lock(client, "nudge", |hub, lock, now| hub.nudge(lock, now));
            }
            3 if self.has(Trouble::Disturbances) => {
                self.on_any_lock(client, "disconnect", |hub, lock, now| {
                    hub.disconnect(lock, LossReason::Revoked, now);
                });
            }
            4 if self.has(Trouble::Strangers) => self.a_stranger_takes(),
            5 if self.has(Trouble::Crashes) => self.crash(client),
            6 if self.forgets() && !self.setting.is_cluster() => self.restart(),
            7 if self.has(Trouble::Pauses) => self.pause(client),
            8 => self.write(client),
            10 if self.has(Trouble::Partitions) => self.part(client),
            11 => self.break_server(),
            _ => self.nodes.replicate(),
        }
    }

    /// Whether the fencing counter is evicted now and then.
    fn evicts(&self) -> bool {
        self.has(Trouble::Evictions) || self.breaks(Rule::ClockGoesOn)
    }

    /// The server does not do what it should.
    fn break_server(&mut self) {
        // R23: a counter that was lost goes on from the clock.
        let goes_back = !self.evicts() && !self.forgets();
        if self.has(Trouble::LostLocks) && (self.forgets() || self.breaks(Rule::KeptLocks)) {
            self.nodes.delete(self.keys.lock());
            let at = self.since_the_beginning();
            self.trace.saw("a lock was evicted");
            self.trace.fault(at, || "the lock is evicted".into());
        } else if self.setting == Setting::Wild || self.breaks(Rule::SteadyServer) {
            self.set_clock(|clock, step| clock + step, "ahead");
        } else if self.has(Trouble::ClockSteps) && goes_back || self.breaks(Rule::ClockGoesOn) {
            self.set_clock(|clock, step| clock - step, "back");
        }
    }

    fn set_clock(&mut self, set: impl FnOnce(u64, u64) -> u64, word: &str) {
        let step = STEPS[self.entropy.pick(STEPS.len())];
        self.ledger.settle(self.nodes.now_us());
        self.epoch = set(self.epoch, step);
        self.nodes.set_clock(self.epoch + self.now);
        self.trace.saw("the server's clock was set");
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("the server sets its clock {word}: {} ms", step / 1_000));
    }

    /// For a while nothing travels from a client to the server, back, or both: what was sent waits.
    fn part(&mut self, client: usize) {
        let until = self.now + PARTITIONS[self.entropy.pick(PARTITIONS.len())];
        let (requests, answers) =
            [(true, false), (false, true), (true, true)][self.entropy.pick(3)];
        let cut_off = &mut self.clients[client];
        cut_off.requests_from = if requests { until } else { cut_off.requests_from };
        cut_off.answers_from = if answers { until } else { cut_off.answers_from };
        self.trace.saw("a partition");
        let at = self.since_the_beginning();
        self.trace.fault(at, || {
            let way = match (requests, answers) {
                (true, true) => "nothing travels between the server and",
                (true, false) => "no requests travel from",
                (false, _) => "no answers travel back to",
            };
            format!("{way} client {client}: {} ms", (until - self.now) / 1_000)
        });
    }

    /// A client stands still, and goes on where it was.
    fn pause(&mut self, client: usize) {
        let lengths = [40_000, 300_000, 2_000_000, 10_000_000];
        let length = lengths[self.entropy.pick(lengths.len())];
        self.clients[client].paused_until = self.now + length;
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("client {client} stands still for {} ms", length / 1_000));
        self.trace.saw("a client stood still");
    }

    pub(super) fn is_paused(&self, client: usize) -> bool {
        self.now < self.clients[client].paused_until
    }

    /// Whether a client waits for a message, and does not look for itself.
    pub(super) fn sleeps_until_told(&mut self, client: usize) -> bool {
        let hub = &mut self.clients[client].hub;
        let locks: Vec<LockId> = hub.locks().collect();
        let waits = locks
            .into_iter()
            .any(|lock| hub.attachment(lock).is_some_and(|belief| belief.state == State::Waiting));
        waits && self.breaks(Rule::Fallback)
    }

    /// Somebody writes to what its lock is for, or what was written arrives.
    pub(super) fn write(&mut self, client: usize) {
        let hub = &mut self.clients[client].hub;
        self.storage.disturb(hub, |belief| belief.hold, &mut self.entropy, self.trace);
    }

    /// Why a request is not carried out, now and then.
    pub(super) fn unwilling(&mut self) -> Option<Fault> {
        let errs = self.has(Trouble::Errors);
        errs.then(|| unwilling(&mut self.entropy, self.trace)).flatten()
    }

    /// A request is to arrive once more.
    pub(super) fn double(&mut self, flight: Flight) {
        self.trace.saw("a request arrived twice");
        self.doubled.insert(flight.command.token.as_str().into());
        self.ghosts.push(flight);
    }

    /// A connection breaks: what was sent may still arrive, and nothing more is heard.
    pub(super) fn cut(&mut self, client: usize) {
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("client {client} is cut off"));
        let now = self.clients[client].local(self.now);
        let sent: Vec<Flight> = self.clients[client].sent.drain(..).collect();
        let heard: Vec<_> = self.clients[client].answers.drain(..).collect();
        self.clients[client].drawn = false;
        if self.has_habit(Habit::SilentRetries) {
            self.clients[client].sent.extend(sent.iter().cloned());
            self.ghosts.extend(sent);
            self.clients[client].answers.extend(heard);
            return;
        }
        let lost = heard.iter().map(|(lock, id, _)| (*lock, *id));
        for (lock, id) in lost.chain(sent.iter().map(|flight| (flight.lock, flight.id))) {
            let fault = if self.breaks(Rule::UnknownIsNoNo) {
                Fault::refused("the connection broke")
            } else {
                Fault::unknown("the connection broke")
            };
            self.trace.event();
            if let Some(belief) = self.clients[client].hub.attachment(lock) {
                belief.unsure = true;
            }
            self.clients[client].hub.handle_reply(lock, id, Err(fault), now);
        }
        self.late.extend(sent.iter().map(|flight| flight.command.token.as_str().into()));
        self.ghosts.extend(sent);
        self.settle(client);
    }

    pub(super) fn ghost_arrives(&mut self) {
        if !self.ghosts.is_empty() {
            let chosen = self.entropy.pick(self.ghosts.len());
            let flight = self.ghosts.swap_remove(chosen);
            let reply = if self.setting.is_cluster() {
                format!("{:?}", self.visit(&flight))
            } else {
                format!("{:?}", self.execute(&flight))
            };
            self.trace.saw("a request arrived after its connection was gone");
            self.trace.note(|| format!("late: {:?} -> {reply:?}", flight.command.verb));
        }
    }

    fn crash(&mut self, client: usize) {
        self.trace.note(|| format!("client {client} crashes"));
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::Crashed { client });
        self.trace.saw("a client crashed");
        let sent = self.clients[client].sent.drain(..);
        self.ghosts.extend(sent);
        for lock in self.clients[client].hub.locks().collect::<Vec<_>>() {
            self.note_end(client, lock, true);
        }
        let Client { rate, driver, map, .. } = self.clients[client];
        self.clients[client] = Client { driver, map, ..Client::new(rate) };
    }

    /// The server starts anew with what was on its disk, and nobody is connected.
    fn restart(&mut self) {
        let at = self.since_the_beginning();
        self.trace.fault(at, || "the server starts anew".into());
        self.trace.saw("the server forgot");
        let with_nothing = self.entropy.pick(3) == 0;
        self.nodes.restart(with_nothing);
        self.ghosts.clear();
        self.messages.clear();
        for client in 0..CLIENTS {
            self.cut(client);
        }
        self.ghosts.clear();
    }

    fn a_stranger_takes(&mut self) {
        let counted = matches!(self.sides[0], Side::Permits { .. });
        if !counted && self.nodes.set_nx_elsewhere(self.keys.lock(), "somebody", 900) {
            self.stranger = Some(self.now + 900_000);
            self.taken = true;
            let at = self.since_the_beginning();
            self.trace.fault(at, || "a stranger takes the lock".into());
        }
    }
}
