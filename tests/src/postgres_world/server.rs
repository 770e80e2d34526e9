//! The server's side of a connection: statements, one at a time, step by step.

use std::collections::{BTreeSet, VecDeque};

use lock_proto::postgres::{
    AdvisoryKey, Command, Mode, PermitKeys, Permits, Reply, SessionId, Subject, Verb,
};
use lock_proto::{Fault, Instant};

use super::line::Job;
use super::{Flaw, World};
use crate::advisory_model::{Answer, Failure, Scope, SessionId as Backend, Statement};

/// Names a connection; never used again.
pub(super) type WireId = u64;

/// A connection and the backend at its end.
#[derive(Debug)]
pub(super) struct Wire {
    /// `None` when the backend has ended, or while a pooler has given it none.
    pub(super) backend: Option<Backend>,
    /// The one before.
    pub(super) last: Option<Backend>,
    /// Since when something waits to be carried out.
    pub(super) asked_at: u64,
    /// Whether nobody will ever answer.
    pub(super) over: bool,
    /// `None` when nobody is at the other end.
    pub(super) owner: Option<(usize, SessionId)>,
    pub(super) sent: VecDeque<Job>,
    pub(super) running: Option<Running>,
    /// What is on its way to the client.
    pub(super) said: VecDeque<Said>,
    listens: BTreeSet<AdvisoryKey>,
}

/// What a server says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Answer(Outcome),
    /// A permit came back.
    Notice(AdvisoryKey),
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Lock(Result<Reply, Fault>),
    Probed(bool),
    Nothing,
}

/// A statement that is being carried out.
#[derive(Clone, Debug)]
pub(super) enum Running {
    /// It waits for a lock, or was just granted it.
    Waits {
        fenced: bool,
        due: Option<Instant>,
    },
    Takes {
        permits: Permits,
        beside: Vec<u32>,
        next: u32,
        took: Vec<u32>,
        open: bool,
    },
    GivesBack {
        permits: Permits,
        left: VecDeque<u32>,
        back: usize,
    },
    /// It did not get its lock, and its transaction is still open.
    RollsBack,
    /// It has done what it does, and has not said so.
    Ends(Reply),
}

/// A request to cancel, on a connection of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct CancelFlight {
    pub(super) wire: WireId,
    /// Whether the server has taken note.
    pub(super) arrived: bool,
    /// Whether anybody still waits for its end.
    pub(super) awaited: bool,
}

impl Wire {
    pub(super) fn new(backend: Option<Backend>, owner: (usize, SessionId)) -> Self {
        Self {
            backend,
            last: None,
            asked_at: 0,
            over: false,
            owner: Some(owner),
            sent: VecDeque::new(),
            running: None,
            said: VecDeque::new(),
            listens: BTreeSet::new(),
        }
    }
}

impl World<'_> {
    /// Whether the backend of a connection can go on.
    pub(super) fn can_run(&self, wire: &Wire) -> bool {
        let Some(backend) = wire.backend else { return self.can_bind(wire) };
        match wire.running {
            None => !wire.sent.is_empty(),
            Some(Running::Waits { .. }) => self.server.woken().any(|woken| woken == backend),
            Some(
                Running::Takes { .. }
                | Running::GivesBack { .. }
                | Running::RollsBack
                | Running::Ends(_),
            ) => true,
        }
    }

    /// Carries a statement out, or a step of it.
    pub(super) fn run_backend(&mut self, id: WireId) {
        // Nothing is done in no time.
        self.now += 1;
        self.trace.event();
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(backend) = wire.backend else { return self.bind(id) };
        match wire.running.take() {
            None => {
                let Some(job) = wire.sent.pop_front() else { return };
                self.trace.note(|| format!("wire {id}: {job:?}"));
                self.begin(id, backend, job);
            }
            Some(Running::Waits { fenced, due }) => self.wake_up(id, backend, fenced, due),
            Some(running @ Running::Takes { .. }) => self.go_on_taking(id, backend, running),
            Some(running @ Running::GivesBack { .. }) => self.go_on_giving(id, backend, running),
            Some(Running::RollsBack) => {
                self.order(backend, Statement::Rollback);
                self.reply(id, Ok(Reply::Busy));
            }
            Some(Running::Ends(reply)) => self.reply(id, Ok(reply)),
        }
    }

    fn begin(&mut self, id: WireId, backend: Backend, job: Job) {
        match job {
            Job::Lock(Command { subject: Subject::Lock(key, mode), verb, .. }, _) => {
                self.begin_lock(id, backend, (key, mode), verb);
            }
            Job::Lock(Command { subject: Subject::Permits(permits), verb, .. }, beside) => {
                self.begin_permits(id, backend, permits, beside, verb);
            }
            Job::Probe(key) => {
                let (mode, scope) = (Mode::Shared, Scope::Transaction);
                let free = self.tell(backend, Statement::TryLock { key, mode, scope });
                self.say(id, Outcome::Probed(free));
            }
            Job::Speak => self.say(id, Outcome::Nothing),
        }
    }

    fn begin_lock(
        &mut self,
        id: WireId,
        backend: Backend,
        (key, mode): (AdvisoryKey, Mode),
        verb: Verb,
    ) {
        let fenced = self.fenced && mode == Mode::Exclusive;
        let scope = self.scope;
        if scope == Scope::Transaction {
            if verb == Verb::Unlock {
                self.order(backend, Statement::Rollback);
                return self.end(id, Reply::Unlocked(true));
            }
            self.order(backend, Statement::Begin);
        }
        match verb {
            Verb::Try => {
                let taken = self.tell(backend, Statement::TryLock { key, mode, scope });
                if !taken && scope == Scope::Transaction {
                    let wire = self.wires.get_mut(&id).expect("it is there");
                    wire.running = Some(Running::RollsBack);
                    return;
                }
                let reply = if taken { self.granted(fenced) } else { Reply::Busy };
                self.end(id, reply);
            }
            Verb::Wait { limit } => {
                let holds = self.server.rows().into_iter();
                let holds = holds.filter(|row| row.session == backend && row.granted).count();
                let alone = holds == 0 || self.is_unsound();
                assert!(alone, "waiting: on a session that holds {holds} locks");
                let now = self.instant();
                let statement = Statement::Lock { key, mode, scope, limit };
                if self.server.ask(backend, &statement, now).is_some() {
                    let reply = self.granted(fenced);
                    return self.end(id, reply);
                }
                let due = limit.map(|limit| now + limit);
                let wire = self.wires.get_mut(&id).expect("it is there");
                wire.running = Some(Running::Waits { fenced, due });
            }
            Verb::Unlock => {
                let held = self.tell(backend, Statement::Unlock { key, mode });
                if self.flaw == Flaw::UnlocksTwice {
                    self.tell(backend, Statement::Unlock { key, mode });
                }
                self.end(id, Reply::Unlocked(held));
            }
            Verb::Cancel | Verb::Close => unreachable!("no statements"),
        }
    }

    fn begin_permits(
        &mut self,
        id: WireId,
        backend: Backend,
        permits: Permits,
        beside: Vec<u32>,
        verb: Verb,
    ) {
        let gate = permits.keys.gate();
        let wire = self.wires.get_mut(&id).expect("it is there");
        match verb {
            Verb::Wait { .. } => {
                wire.listens.insert(gate);
                let lock = (gate, Mode::Exclusive);
                return self.begin_lock(id, backend, lock, verb);
            }
            Verb::Try => {
                let open = permits.inside;
                wire.running =
                    Some(Running::Takes { permits, beside, next: 0, took: Vec::new(), open });
            }
            Verb::Unlock => {
                let left = if permits.doubt {
                    let held = |number: &u32| {
                        let key = AdvisoryKey::Single(permits.keys.permit(*number));
                        self.server.count(backend, (key, Mode::Exclusive)) > 0
                    };
                    let all = (1..=permits.keys.limit()).filter(|it| !beside.contains(it));
                    all.filter(held).collect()
                } else {
                    permits.ours.iter().copied().collect()
                };
                wire.running = Some(Running::GivesBack { permits, left, back: 0 });
            }
            Verb::Cancel | Verb::Close => unreachable!("no statements"),
        }
        // What a statement takes for itself alone it has until its end.
        self.order(backend, Statement::Begin);
    }

    fn go_on_taking(&mut self, id: WireId, backend: Backend, running: Running) {
        let Running::Takes { permits, beside, mut next, mut took, mut open } = running else {
            return;
        };
        let keys = permits.keys;
        if next == 0 {
            open |= self.try_gate(backend, keys);
        } else if !permits.ours.contains(&next) && !beside.contains(&next) {
            let (key, mode) = (AdvisoryKey::Single(keys.permit(next)), Mode::Exclusive);
            let statement = Statement::TryLock { key, mode, scope: Scope::Session };
            if self.tell(backend, statement) {
                took.push(next);
            }
        }
        next += 1;
        let enough = took.len() >= permits.wanted as usize;
        if open && !enough && next <= keys.limit() {
            let wire = self.wires.get_mut(&id).expect("it is there");
            wire.running = Some(Running::Takes { permits, beside, next, took, open });
            return;
        }
        if permits.inside && enough {
            self.unlock(backend, keys.gate());
            let wire = self.wires.get_mut(&id).expect("it is there");
            wire.listens.remove(&keys.gate());
        } else if !permits.inside && !enough {
            for number in took.drain(..) {
                self.unlock(backend, AdvisoryKey::Single(keys.permit(number)));
            }
        }
        if self.flaw != Flaw::LeavesTransactions {
            self.order(backend, Statement::Commit);
        }
        let busy = !permits.inside && !enough;
        self.reply(id, Ok(if busy { Reply::Busy } else { Reply::Took(took) }));
    }

    fn go_on_giving(&mut self, id: WireId, backend: Backend, running: Running) {
        let Running::GivesBack { permits, mut left, mut back } = running else { return };
        let keys = permits.keys;
        if let Some(number) = left.pop_front() {
            back += usize::from(self.unlock(backend, AdvisoryKey::Single(keys.permit(number))));
            let wire = self.wires.get_mut(&id).expect("it is there");
            wire.running = Some(Running::GivesBack { permits, left, back });
            return;
        }
        if permits.inside {
            self.unlock(backend, keys.gate());
            let wire = self.wires.get_mut(&id).expect("it is there");
            wire.listens.remove(&keys.gate());
        }
        let heard = !self.try_gate(backend, keys);
        self.order(backend, Statement::Commit);
        for wire in self.wires.values_mut().filter(|_| heard) {
            if wire.backend.is_some() && wire.listens.contains(&keys.gate()) {
                wire.said.push_back(Said::Notice(keys.gate()));
            }
        }
        self.reply(id, Ok(Reply::Unlocked(back >= permits.ours.len())));
    }

    /// A backend says that it was granted its lock, unless its time came meanwhile.
    fn wake_up(&mut self, id: WireId, backend: Backend, fenced: bool, due: Option<Instant>) {
        let now = self.instant();
        if due.is_some_and(|due| now >= due) && self.entropy.happens(128) {
            self.trace.saw("a grant met a time-out");
            self.server.interrupt(backend, Failure::TimedOut);
            return self.reply(id, Ok(Reply::Expired));
        }
        self.server.resume(backend);
        let reply = self.granted(fenced);
        self.end(id, reply);
    }

    /// The waits whose time has come end.
    pub(super) fn expire(&mut self) {
        self.give_up_waiting();
        for (backend, answer) in self.server.handle_timeout(self.instant()) {
            assert_eq!(answer, Answer::Failed(Failure::TimedOut));
            let found = self.wires.iter_mut().find(|(_, wire)| wire.backend == Some(backend));
            let Some((id, wire)) = found else { continue };
            wire.running = None;
            let id = *id;
            self.trace.note(|| format!("wire {id}: its wait expires"));
            self.trace.event();
            self.reply(id, Ok(Reply::Expired));
        }
    }

    /// Whether a backend is at a statement that nobody cancels.
    pub(super) fn is_beyond_its_wait(&self, id: WireId) -> bool {
        let running = self.wires.get(&id).and_then(|wire| wire.running.as_ref());
        running.is_some_and(|running| match running {
            Running::Waits { .. } => false,
            Running::Takes { .. } | Running::GivesBack { .. } | Running::RollsBack => true,
            Running::Ends(reply) => !matches!(reply, Reply::Granted { .. }),
        })
    }

    /// Somebody cancels what a backend does; whether it did anything.
    pub(super) fn cancel(&mut self, id: WireId) -> bool {
        self.trace.event();
        let Some(wire) = self.wires.get_mut(&id) else { return false };
        let Some(backend) = wire.backend else { return false };
        let granted = self.server.woken().any(|woken| woken == backend);
        match wire.running.take() {
            None => {
                self.trace.saw("a cancel found nothing to cancel");
                return false;
            }
            Some(Running::Waits { .. }) => {
                if granted {
                    self.trace.saw("a grant met a cancel");
                }
                self.server.interrupt(backend, Failure::Cancelled);
            }
            Some(Running::Takes { .. } | Running::GivesBack { .. }) => {
                self.order(backend, Statement::Rollback);
            }
            // Between two statements there is nothing to cancel.
            running @ Some(Running::RollsBack) => {
                wire.running = running;
                return false;
            }
            Some(Running::Ends(_)) => {
                if self.scope == Scope::Transaction {
                    self.order(backend, Statement::Rollback);
                }
                self.trace.saw("a cancel met a statement that had done its work");
            }
        }
        self.trace.note(|| format!("wire {id}: it is cancelled"));
        self.reply(id, Ok(Reply::Cancelled));
        true
    }

    /// A backend ends; its client hears of that after all that it said before.
    pub(super) fn end_backend(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if let Some(backend) = wire.backend.take() {
            self.server.disconnect(backend);
        }
        wire.over = true;
        wire.sent.clear();
        wire.running = None;
        if wire.owner.is_none() {
            self.wires.remove(&id);
        }
    }

    fn granted(&mut self, fenced: bool) -> Reply {
        let fence = self.mint();
        Reply::Granted { fence: fenced.then_some(fence) }
    }

    fn try_gate(&mut self, backend: Backend, keys: PermitKeys) -> bool {
        let (key, mode, scope) = (keys.gate(), Mode::Shared, Scope::Transaction);
        self.tell(backend, Statement::TryLock { key, mode, scope })
    }

    fn unlock(&mut self, backend: Backend, key: AdvisoryKey) -> bool {
        self.tell(backend, Statement::Unlock { key, mode: Mode::Exclusive })
    }

    /// A statement that answers a truth value.
    fn tell(&mut self, backend: Backend, statement: Statement) -> bool {
        let answer = self.order(backend, statement);
        assert!(matches!(answer, Answer::Told(_)), "{statement:?}: {answer:?}");
        answer == Answer::Told(true)
    }

    fn order(&mut self, backend: Backend, statement: Statement) -> Answer {
        let answer = self.server.ask(backend, &statement, self.instant());
        answer.expect("it waits for nothing")
    }

    /// A statement has done what it does, and says so now or in a while.
    fn end(&mut self, id: WireId, reply: Reply) {
        if self.entropy.happens(64) {
            let wire = self.wires.get_mut(&id).expect("it is there");
            wire.running = Some(Running::Ends(reply));
        } else {
            self.reply(id, Ok(reply));
        }
    }

    fn reply(&mut self, id: WireId, reply: Result<Reply, Fault>) {
        self.trace.note(|| format!("wire {id}: -> {reply:?}"));
        self.say(id, Outcome::Lock(reply));
    }

    fn say(&mut self, id: WireId, outcome: Outcome) {
        let wire = self.wires.get_mut(&id).expect("it is there");
        if wire.owner.is_some() {
            wire.said.push_back(Said::Answer(outcome));
        }
        self.unbind(id);
    }
}
