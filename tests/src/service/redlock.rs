//! What several Redis servers may answer.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use lock_proto::redis::{Command, Message, RedLock, Reply, Slots, Token, Verb};
use lock_proto::{Fault, FaultKind, Instant};

use crate::check::Checkable;

/// What may be ours on each server.
#[derive(Clone, Debug)]
pub struct AllTraces {
    now: Instant,
    servers: BTreeMap<usize, Traces>,
}

#[derive(Clone, Debug, Default)]
struct Traces {
    /// A lock, or a place in the queue.
    left: bool,
    /// A request that was lost may still arrive until then.
    on_the_way: Option<Instant>,
}

impl Default for AllTraces {
    fn default() -> Self {
        Self { now: Instant::ZERO, servers: BTreeMap::new() }
    }
}

impl Checkable for RedLock {
    type Remains = AllTraces;

    fn replies(command: &Command, _now: Instant) -> Vec<Reply> {
        match command.verb {
            Verb::Vote { ballot, .. } => {
                let ballot = ballot.cast_signed();
                let yes = [1, ballot, ballot];
                vec![yes, [0, 1, 5], [0, 0, ballot.saturating_add(9)], [1, 0, ballot], [-1, 0, 0]]
            }
            Verb::Keep { ballot, .. } => {
                let ballot = ballot.cast_signed();
                vec![[1, 0, ballot], [0, 1, ballot.saturating_add(9)], [7, 7, -7]]
            }
            Verb::StepBack { .. } | Verb::Quit { .. } => vec![[1, 0, 0], [7, 7, 7]],
            Verb::Take { .. }
            | Verb::Enter { .. }
            | Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. } => unreachable!("several servers are asked to vote"),
        }
    }

    fn messages() -> Vec<Message> {
        vec![Message { fence: 0, stamp: 1 }]
    }

    fn server(command: &Command) -> usize {
        command.server
    }

    fn takes(command: &Command) -> bool {
        matches!(command.verb, Verb::Vote { .. } | Verb::Keep { .. })
    }

    fn is_cancel(_command: &Command) -> bool {
        false
    }

    fn time_passes(traces: &mut AllTraces, now: Instant) {
        traces.now = now;
    }

    fn answered(all: &mut AllTraces, command: &Command, reply: &Result<Reply, Fault>) {
        let now = all.now;
        let traces = all.servers.entry(command.server).or_default();
        let taken = |traces: &mut Traces, reply: &Result<Reply, Fault>, ttl: Duration, stays| {
            match reply {
                Ok([1, _, highest]) if *highest >= 0 => traces.left = true,
                Ok([0, ..]) if stays => traces.left = true,
                // It may have left a place in the queue before, but no lock.
                Ok([0, ..]) => {}
                Ok(_) => (traces.left, traces.on_the_way) = (true, Some(now + ttl)),
                Err(fault) if fault.kind() == FaultKind::NotSent => {}
                Err(fault) => {
                    traces.left = true;
                    if fault.kind() != FaultKind::Refused {
                        traces.on_the_way = Some(now + ttl);
                    }
                }
            }
        };
        match command.verb {
            Verb::Vote { ttl, wait, .. } => taken(traces, reply, ttl, wait),
            Verb::Keep { ttl, .. } => taken(traces, reply, ttl, false),
            Verb::StepBack { stay: false, .. } | Verb::Quit { .. } => {
                traces.left &= !matches!(reply, Ok([0 | 1, ..]));
            }
            Verb::StepBack { stay: true, .. }
            | Verb::Take { .. }
            | Verb::Enter { .. }
            | Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. } => {}
        }
    }

    fn nothing_left(all: &AllTraces) -> bool {
        let late = |traces: &Traces| traces.on_the_way.is_some_and(|until| all.now < until);
        all.servers.values().all(|traces| !traces.left && !late(traces))
    }
}

/// What may be ours of each mutex of a semaphore, and each time that one was asked for.
#[derive(Clone, Debug)]
pub struct Mutexes {
    now: Instant,
    mutexes: BTreeMap<(String, Token), AllTraces>,
}

impl Default for Mutexes {
    fn default() -> Self {
        Self { now: Instant::ZERO, mutexes: BTreeMap::new() }
    }
}

impl Checkable for Slots {
    type Remains = Mutexes;

    fn replies(command: &Command, now: Instant) -> Vec<Reply> {
        RedLock::replies(command, now)
    }

    fn messages() -> Vec<Message> {
        RedLock::messages()
    }

    fn server(command: &Command) -> usize {
        let mut hasher = DefaultHasher::new();
        (command.server, command.keys.lock(), &command.token).hash(&mut hasher);
        hasher.finish() as usize
    }

    fn takes(command: &Command) -> bool {
        RedLock::takes(command)
    }

    fn is_cancel(command: &Command) -> bool {
        RedLock::is_cancel(command)
    }

    fn time_passes(all: &mut Mutexes, now: Instant) {
        all.now = now;
        all.mutexes.values_mut().for_each(|traces| RedLock::time_passes(traces, now));
    }

    fn answered(all: &mut Mutexes, command: &Command, reply: &Result<Reply, Fault>) {
        let mutex = (command.keys.lock().to_owned(), command.token.clone());
        let traces = all.mutexes.entry(mutex).or_default();
        RedLock::time_passes(traces, all.now);
        RedLock::answered(traces, command, reply);
    }

    fn nothing_left(all: &Mutexes) -> bool {
        all.mutexes.values().all(RedLock::nothing_left)
    }
}
