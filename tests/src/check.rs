//! The contract of [`Machine`], checked after every input.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use lock_proto::{Event, Fault, Instant, LossReason, Machine, Request, RequestId};

use crate::trace::{Trace, shown};

/// What the checks need to know of a backend.
pub trait Checkable:
    Machine<Command: Clone + Debug, Reply: Clone + Debug, Message: Clone + Debug>
{
    /// What may be left of a lock on the backend, as far as its answers tell.
    type Remains: Clone + Default + Debug;

    /// Everything that can be answered to `command`: first what makes the lock ours soonest, last
    /// some nonsense.
    fn replies(command: &Self::Command, now: Instant) -> Vec<Self::Reply>;
    /// Everything that the backend may say unasked.
    fn messages() -> Vec<Self::Message> {
        Vec::new()
    }
    /// Which server the command is for.
    fn server(_command: &Self::Command) -> usize {
        0
    }
    /// Whether `command` could take the lock.
    fn takes(command: &Self::Command) -> bool;
    /// Whether `command` may be asked while another request is unanswered.
    fn is_cancel(command: &Self::Command) -> bool;
    /// Lets time pass.
    fn time_passes(_remains: &mut Self::Remains, _now: Instant) {}
    /// Records an answer; nonsense says nothing, so anything may have happened.
    fn answered(
        remains: &mut Self::Remains,
        command: &Self::Command,
        reply: &Result<Self::Reply, Fault>,
    );
    /// Whether nothing can be left.
    fn nothing_left(remains: &Self::Remains) -> bool;
}

/// A machine that is held to its contract: M1 to M4 and M6 to M8 of [`Machine`].
#[derive(Debug)]
pub struct Checked<M: Checkable> {
    machine: M,
    twin: M,
    now: Instant,
    stage: Stage,
    released: bool,
    /// Whether the release was told of.
    told: bool,
    unanswered: BTreeMap<RequestId, M::Command>,
    remains: M::Remains,
    trace: Trace,
}

/// No clock comes to where moments can't be told apart from [`Instant::FAR_FUTURE`].
fn end_of_time() -> Instant {
    Instant::from_nanos(u64::MAX / 2)
}

/// Where in the grammar of [`Event`] a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Nothing was said yet.
    Waiting,
    /// It was acquired.
    Held,
    /// It was lost, or never acquired.
    Over,
    /// The last word.
    Closed,
}

impl<M: Checkable> Checked<M> {
    /// Checks what `make` makes.
    pub fn new(make: impl Fn() -> M) -> Self {
        let mut checked = Self {
            machine: make(),
            twin: make(),
            now: Instant::ZERO,
            stage: Stage::Waiting,
            released: false,
            told: false,
            unanswered: BTreeMap::new(),
            remains: M::Remains::default(),
            trace: Trace::default(),
        };
        checked.listen();
        checked
    }

    /// Answers one request.
    pub fn reply(&mut self, id: RequestId, reply: &Result<M::Reply, Fault>) {
        let command = self.unanswered.remove(&id).expect("answered once");
        M::answered(&mut self.remains, &command, reply);
        self.input("reply", |machine, now| machine.handle_reply(id, reply.clone(), now), reply);
    }

    /// Lets time pass until the machine's deadline.
    pub fn timeout(&mut self) {
        if let Some(due) = self.machine.poll_timeout()
            && due.at < end_of_time()
        {
            self.now = self.now.max(due.at);
        }
        M::time_passes(&mut self.remains, self.now);
        self.input("timeout", Machine::handle_timeout, &());
        let next = self.machine.poll_timeout();
        let now = self.now;
        assert!(next.is_none_or(|next| next.at > now), "M2: {next:?} is not after {now:?}");
    }

    /// Lets time pass, and nobody tells the machine.
    pub fn later(&mut self, time: Duration) {
        self.now = (self.now + time).min(end_of_time());
        M::time_passes(&mut self.remains, self.now);
    }

    /// Lets go.
    pub fn release(&mut self) {
        self.released = true;
        self.input("release", Machine::release, &());
    }

    /// Takes the lock away.
    pub fn disconnect(&mut self) {
        let handle = |machine: &mut M, now| machine.handle_disconnect(LossReason::Revoked, now);
        self.input("disconnect", handle, &());
    }

    /// Tells the machine to look.
    pub fn nudge(&mut self) {
        self.input("nudge", Machine::handle_nudge, &());
    }

    /// Says something unasked.
    pub fn message(&mut self, message: &M::Message) {
        let handle = |machine: &mut M, now| machine.handle_message(message.clone(), now);
        self.input("message", handle, message);
    }

    /// Prolongs by hand.
    pub fn extend(&mut self, ttl: Duration) {
        self.input("extend", |machine, now| machine.extend(ttl, now), &ttl);
    }

    /// The requests that have no answer yet, oldest first.
    pub fn unanswered(&self) -> Vec<(RequestId, M::Command)> {
        self.unanswered.iter().map(|(id, command)| (*id, command.clone())).collect()
    }

    /// Where in the grammar the machine is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The moment.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether time matters to the machine.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.machine.poll_timeout().is_some()
    }

    fn input(&mut self, word: &str, handle: impl Fn(&mut M, Instant), detail: &impl Debug) {
        let now = self.now;
        self.trace.note(|| format!("{now:?} {word} {detail:?}"));
        handle(&mut self.machine, now);
        handle(&mut self.twin, now);
        self.listen();
    }

    fn listen(&mut self) {
        let deadlines = (self.machine.poll_timeout(), self.twin.poll_timeout());
        assert_eq!(deadlines.0, deadlines.1, "M8: equal machines have equal deadlines");
        loop {
            let (event, other) = (self.machine.poll_event(), self.twin.poll_event());
            assert_eq!(shown(&event), shown(&other), "M8: equal machines say the same");
            let Some(event) = event else { break };
            self.trace.note(|| format!("    [{event:?}]"));
            self.check_event(&event);
        }
        loop {
            let (request, other) = (self.machine.poll_request(), self.twin.poll_request());
            assert_eq!(shown(&request), shown(&other), "M8: equal machines ask the same");
            let Some(request) = request else { break };
            self.trace.note(|| format!("    {:?}", request.command));
            self.check_request(&request);
            self.unanswered.insert(request.id, request.command);
        }
    }

    fn check_event(&mut self, event: &Event) {
        self.stage = match (self.stage, event) {
            (Stage::Waiting, Event::Acquired { .. }) => {
                assert!(!self.released, "acquired after the release");
                Stage::Held
            }
            (Stage::Held, Event::Extended { .. } | Event::Warned { .. }) => Stage::Held,
            (Stage::Waiting, Event::Failed(_)) | (Stage::Held, Event::Lost(_)) => Stage::Over,
            (Stage::Waiting | Stage::Held | Stage::Over, Event::Released) => {
                assert!(
                    self.released || self.stage == Stage::Over,
                    "released although nobody let go"
                );
                assert!(!std::mem::replace(&mut self.told, true), "M4: released twice");
                Stage::Over
            }
            (Stage::Waiting | Stage::Held | Stage::Over, Event::Closed { clean }) => {
                let ended = self.released || self.stage == Stage::Over;
                assert!(ended, "closed although nobody let go");
                self.check_closed(*clean);
                Stage::Closed
            }
            (stage, event) => panic!("M4: {event:?} while {stage:?}"),
        };
    }

    fn check_closed(&self, clean: bool) {
        let mut remains = self.remains.clone();
        for command in self.unanswered.values() {
            M::answered(&mut remains, command, &Err(Fault::unknown("not answered yet")));
        }
        assert!(!clean || M::nothing_left(&remains), "M7: {remains:?} may be left");
    }

    fn check_request(&self, request: &Request<M::Command>) {
        let command = &request.command;
        assert!(!(self.released && M::takes(command)), "M6: {command:?} after the release");
        assert!(self.stage != Stage::Closed, "{command:?} after the last word");
        let here = |other: &&M::Command| M::server(other) == M::server(command);
        let busy = self.unanswered.values().filter(here).any(|other| !M::is_cancel(other));
        assert!(!busy || M::is_cancel(command), "M3: {command:?} beside {:?}", self.unanswered);
    }
}
