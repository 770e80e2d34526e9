//! What is known of each server: what it owes us, and what of ours may be there.

use alloc::vec::Vec;
use core::time::Duration;

use crate::machine::RequestIds;
use crate::outbox::Outbox;
use crate::redis::call::{Command, Reply, Side, Verb};
use crate::redis::leaving::ARRIVES_WITHIN;
use crate::redis::quorum::MAX_SERVERS;
use crate::redis::{Keys, Token};
use crate::{Fault, FaultKind, Instant, Request, RequestId};

/// Greater numbers are not exact in Lua.
const HIGHEST_BALLOT: u64 = 1 << 53;

/// All servers, with at most one unanswered request for each.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    keys: Keys,
    token: Token,
    all: Vec<Server>,
    ids: RequestIds,
    requests: Outbox<Request<Command>, MAX_SERVERS>,
    /// The highest ballot that any server has told of.
    seen: u64,
}

/// How long a server keeps the place of a waiter that is dead: `KEEP_MS` of common.lua.
const PLACE_KEPT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct Server {
    /// How long to wait for an answer at first.
    patience: Duration,
    /// How often in a row an answer did not come in time.
    silences: u32,
    owes: Option<Owed>,
    mark: Mark,
    /// What a request that was lost has set may be there until then.
    late_until: Option<Instant>,
    /// Whether it was asked to give our vote back since the last one.
    pub(super) stepped_back: bool,
    /// How often it was asked to forget us.
    pub(super) quits: u32,
    /// When it may be asked again to forget us; never, if it refused.
    pub(super) quit_at: Instant,
}

#[derive(Clone, Debug)]
struct Owed {
    id: RequestId,
    asked: Instant,
    errand: Errand,
    /// How long what it takes would last.
    ttl: Duration,
    before: Mark,
}

/// What a server was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    Vote { ballot: u64, wait: bool },
    Keep,
    StepBack { stay: bool },
    Quit,
}

/// What of ours may be on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Nothing,
    /// A place in the queue.
    Place,
    /// The lock.
    Lock,
}

/// What a server said.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The lock is ours, at that ballot.
    Yes(u64),
    /// It is not; nobody but a higher ballot is in the way.
    TooLow,
    /// It is not, and the highest ballot.
    No(u64),
    /// It has given the lock back.
    Done,
    Fault(Fault),
}

impl Servers {
    pub(super) fn new(keys: Keys, token: Token, patience: &[Duration], now: Instant) -> Self {
        let server = |patience: &Duration| Server {
            patience: *patience,
            silences: 0,
            owes: None,
            mark: Mark::Nothing,
            late_until: None,
            stepped_back: false,
            quits: 0,
            quit_at: now,
        };
        Self {
            keys,
            token,
            all: patience.iter().map(server).collect(),
            ids: RequestIds::new(),
            requests: Outbox::new(),
            seen: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Server)> {
        self.all.iter().enumerate()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut Server {
        &mut self.all[index]
    }

    /// How many owe us nothing.
    pub(super) fn idle(&self) -> usize {
        self.all.iter().filter(|server| server.is_idle()).count()
    }

    pub(super) fn poll_request(&mut self) -> Option<Request<Command>> {
        self.requests.pop()
    }

    /// Asks an idle server; says whether it is one.
    pub(super) fn ask(
        &mut self,
        index: usize,
        verb: Verb,
        not_after: Instant,
        now: Instant,
    ) -> bool {
        let server = &mut self.all[index];
        if !server.is_idle() {
            return false;
        }
        let (errand, ttl) = match verb {
            Verb::Vote { ballot, wait, ttl, .. } => (Errand::Vote { ballot, wait }, ttl),
            Verb::Keep { ttl, .. } => (Errand::Keep, ttl),
            Verb::StepBack { stay, .. } => (Errand::StepBack { stay }, Duration::ZERO),
            Verb::Take { .. }
            | Verb::Enter { .. }
            | Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. }
            | Verb::Quit { .. } => (Errand::Quit, Duration::ZERO),
        };
        let command = Command::new(index, &self.keys, &self.token, verb);
        let request = self.ids.next(command, not_after);
        let before = server.mark;
        if errand.takes() {
            server.mark = Mark::Lock;
        }
        server.owes = Some(Owed { id: request.id, asked: now, errand, ttl, before });
        self.requests.push(request);
        true
    }

    /// Asks a server to forget us for good.
    pub(super) fn ask_to_quit(
        &mut self,
        index: usize,
        side: Side,
        not_after: Instant,
        now: Instant,
    ) {
        let refuse_for = self.all[index].is_late(now).then_some(ARRIVES_WITHIN);
        if self.ask(index, Verb::Quit { side, refuse_for }, not_after, now) {
            self.all[index].quits += 1;
        }
    }

    /// Records the answer to a request: whose it is, to what, and what it says. What was lost may
    /// still arrive.
    pub(super) fn settle(
        &mut self,
        id: RequestId,
        reply: Result<Reply, Fault>,
        now: Instant,
    ) -> Option<(usize, Errand, Answer)> {
        let owed_here = |server: &Server| server.owes.as_ref().is_some_and(|owed| owed.id == id);
        let index = self.all.iter().position(owed_here)?;
        let server = &mut self.all[index];
        let owed = server.owes.take()?;
        let read = reply.and_then(|reply| owed.errand.read(reply).ok_or_else(nonsense));
        let answer = match read {
            Ok((answer, highest)) => {
                self.seen = self.seen.max(highest);
                server.answered(&owed, &answer, now);
                answer
            }
            Err(fault) => {
                server.failed(&owed, fault.kind(), now);
                Answer::Fault(fault)
            }
        };
        Some((index, owed.errand, answer))
    }

    /// Takes back what was not handed out yet: it could take the lock.
    pub(super) fn discard_unsent(&mut self) {
        while let Some(unsent) = self.requests.pop() {
            for server in &mut self.all {
                if let Some(owed) = server.owes.take_if(|owed| owed.id == unsent.id) {
                    server.mark = owed.before;
                }
            }
        }
    }
}

impl Server {
    pub(super) fn is_idle(&self) -> bool {
        self.owes.is_none()
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether something of ours may still come, whatever is there.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.late_until.is_some_and(|until| now < until)
    }

    /// How long to wait for an answer, at most `longest`: an answer that came late was not lost,
    /// so each silence doubles it.
    pub(super) fn patience(&self, longest: Duration) -> Duration {
        let doubled = self.patience.saturating_mul(1 << self.silences.min(16));
        doubled.min(longest.max(self.patience))
    }

    pub(super) fn was_silent(&mut self) {
        self.silences = self.silences.saturating_add(1);
    }

    fn answered(&mut self, owed: &Owed, answer: &Answer, now: Instant) {
        if now.since(owed.asked) <= self.patience {
            self.silences = 0;
        }
        self.mark = owed.errand.leaves(answer, owed.before);
    }

    fn failed(&mut self, owed: &Owed, fault: FaultKind, now: Instant) {
        match fault {
            FaultKind::NotSent => self.mark = owed.before,
            // A script may have come half-way.
            FaultKind::Refused => {}
            FaultKind::Unknown if owed.errand.takes() => {
                let stays = if owed.errand.waits() { owed.ttl.max(PLACE_KEPT) } else { owed.ttl };
                self.late_until = self.late_until.max(Some(now + ARRIVES_WITHIN + stays));
            }
            FaultKind::Unknown => {}
        }
        if owed.errand == Errand::Quit && fault == FaultKind::Refused {
            self.quit_at = Instant::FAR_FUTURE;
        }
    }
}

impl Errand {
    fn takes(self) -> bool {
        matches!(self, Self::Vote { .. } | Self::Keep)
    }

    fn waits(self) -> bool {
        matches!(self, Self::Vote { wait: true, .. })
    }

    /// What a reply says, and the highest ballot that its server has seen.
    fn read(self, [verdict, number, highest]: Reply) -> Option<(Answer, u64)> {
        let ballot = |number| u64::try_from(number).ok().filter(|ballot| *ballot < HIGHEST_BALLOT);
        let highest = ballot(highest)?;
        let answer = match (self, verdict, number) {
            (Self::Vote { .. }, 1, at) => Answer::Yes(ballot(at)?),
            (Self::Vote { .. }, 0, 0) => Answer::TooLow,
            (Self::Keep, 1, _) => Answer::Yes(0),
            (Self::Vote { .. } | Self::Keep, 0, 1) => Answer::No(highest),
            (Self::StepBack { .. } | Self::Quit, 0 | 1, _) => Answer::Done,
            _ => return None,
        };
        Some((answer, highest))
    }

    /// What is left on the server after `answer`.
    fn leaves(self, answer: &Answer, before: Mark) -> Mark {
        match (answer, self) {
            (Answer::Yes(_), _) => Mark::Lock,
            (_, Self::Vote { wait: true, .. } | Self::StepBack { stay: true }) => Mark::Place,
            (_, Self::Vote { wait: false, .. } | Self::Keep) => before.min(Mark::Place),
            (_, Self::StepBack { stay: false } | Self::Quit) => Mark::Nothing,
        }
    }
}

fn nonsense() -> Fault {
    Fault::unknown("the server answered nonsense")
}
