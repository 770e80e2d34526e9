//! One client of Redis servers, and what is on its way from it and to it.

use std::collections::VecDeque;
use std::fmt;

use lock_proto::redis::{Command, Message, Reply, Side};
use lock_proto::{Fault, Instant, Machine, RequestId};

#[derive(Clone)]
pub(super) struct Client<M> {
    pub(super) machine: M,
    pub(super) side: Side,
    pub(super) token: String,
    pub(super) stage: Stage,
    pub(super) released: bool,
    /// To each server.
    pub(super) links: Vec<Link>,
    /// What was published for it and has not arrived.
    pub(super) inbox: Vec<Message>,
    /// Whether it has drawn a fence before.
    pub(super) drawn: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) sent: VecDeque<(RequestId, Command)>,
    pub(super) answers: VecDeque<(RequestId, Result<Reply, Fault>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Held { until: Instant, lasts: bool },
    Over,
    Closed,
    Crashed,
}

impl<M: fmt::Debug> fmt::Debug for Client<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.stage, Stage::Closed | Stage::Crashed) {
            // Whatever else it knew, nothing depends on it any more.
            return f.debug_tuple("Gone").field(&self.drawn).finish();
        }
        let Self { machine, stage, released, links, inbox, drawn, .. } = self;
        let text = format!("{machine:?} {stage:?} {released} {links:?} {inbox:?} {drawn}");
        f.write_str(&renumbered(&text))
    }
}

impl<M: Machine> Client<M> {
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.stage, Stage::Closed | Stage::Crashed)
    }

    /// Whether nothing is on its way from it or to it.
    pub(super) fn is_quiet(&self) -> bool {
        let is_idle = |link: &Link| link.sent.is_empty() && link.answers.is_empty();
        !self.is_there() || self.inbox.is_empty() && self.links.iter().all(is_idle)
    }

    /// In which millisecond it is to be woken.
    pub(super) fn deadline(&self) -> Option<u64> {
        let nanos = self.machine.poll_timeout()?.at.as_nanos();
        Some(nanos.div_ceil(1_000_000))
    }
}

/// The ids of a client's requests, all of which are in `text`, count from nothing: which is which
/// matters, and how many there were does not.
fn renumbered(text: &str) -> String {
    let mut known = Vec::new();
    let mut parts = text.split("RequestId");
    let mut renumbered = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (id, rest) = part.split_once(')').expect("a number in brackets");
        // The other is the counter.
        if id.starts_with('(') {
            let place = known.iter().position(|other| *other == id);
            let place = place.unwrap_or(known.len());
            if place == known.len() {
                known.push(id);
            }
            renumbered.push_str(&place.to_string());
        }
        renumbered.push_str(rest);
    }
    renumbered
}
