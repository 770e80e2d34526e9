//! What the server does, and what comes of it.

use lock_proto::postgres::{AdvisoryKey, Reply, Verb};
use lock_proto::{Machine as _, RequestId};

use super::{Cancel, PostgresWorld, Stage, gone, millis};
use crate::advisory_model::{Answer, Failure, Scope, Statement};

impl PostgresWorld {
    /// A session carries out its next statement.
    pub(super) fn execute(&mut self, number: usize) {
        let now = self.instant();
        let line = self.lines.get_mut(&number).expect("it can move");
        let (id, verb) = line.sent.pop_front().expect("it was sent");
        let backend = line.backend.expect("it can move");
        let (key, mode, scope) = (AdvisoryKey::from_name("orders"), line.mode, Scope::Session);
        let statement = match verb {
            Verb::Try => Statement::TryLock { key, mode, scope },
            Verb::Wait { limit } => Statement::Lock { key, mode, scope, limit },
            Verb::Unlock => Statement::Unlock { key, mode },
            Verb::Cancel | Verb::Close => unreachable!("no statements"),
        };
        match self.server.ask(backend, &statement, now) {
            None => {
                let limit = if let Verb::Wait { limit } = verb { limit } else { None };
                let due = limit.map(|limit| millis(now + limit));
                line.wait = Some((id, due));
            }
            Some(Answer::Told(held)) if verb == Verb::Unlock => {
                self.say(number, id, Reply::Unlocked(held));
            }
            Some(Answer::Told(false)) => self.say(number, id, Reply::Busy),
            Some(Answer::Done | Answer::Told(true)) => self.say_granted(number, id),
            Some(Answer::Failed(failure)) => panic!("{statement:?} fails: {failure:?}"),
        }
    }

    pub(super) fn say_granted(&mut self, number: usize, id: RequestId) {
        self.fences.0 += 1;
        self.say(number, id, Reply::Granted { fence: Some(self.fences.0) });
    }

    fn say(&mut self, number: usize, id: RequestId, reply: Reply) {
        let line = self.lines.get_mut(&number).expect("it is asked");
        if line.owner.is_some() {
            line.said.push_back((id, reply));
        }
    }

    /// The wait of a session ends so; a lock that it was granted meanwhile stays.
    pub(super) fn end_wait(&mut self, number: usize, failure: Failure, reply: Reply) {
        let line = self.lines.get_mut(&number).expect("it waits");
        let (id, _) = line.wait.take().expect("it waits");
        self.server.interrupt(line.backend.expect("it waits"), failure);
        self.say(number, id, reply);
    }

    /// A session ends; its client hears of that after all that it said before.
    pub(super) fn end_backend(&mut self, number: usize) {
        let line = self.lines.get_mut(&number).expect("it is there");
        self.server.disconnect(line.backend.take().expect("it is there"));
        // What was asked there is not answered any more.
        let wait = line.wait.take().map(|(id, _)| (id, Verb::Wait { limit: None }));
        line.sent.extend(wait);
        if line.owner.is_none() {
            self.lines.remove(&number);
        }
    }

    pub(super) fn hear(&mut self, number: usize) {
        let now = self.instant();
        let line = self.lines.get_mut(&number).expect("it can move");
        let owner = line.owner.expect("it can move");
        if let Some((id, reply)) = line.said.pop_front() {
            let client = &mut self.clients[owner];
            client.held |= matches!(reply, Reply::Granted { .. });
            client.machine.handle_reply(id, Ok(reply), now);
        } else {
            self.end_line(number);
        }
        self.settle(owner);
    }

    /// A cancel ends the wait that it finds.
    pub(super) fn cancel(&mut self, number: usize) {
        self.cancels[number].arrived = true;
        let at = self.cancels[number].line;
        self.drop_cancels();
        let Some(line) = self.lines.get(&at) else { return };
        let stray = line.sent.iter().any(|(_, verb)| *verb == Verb::Unlock);
        assert!(!stray || line.owner.is_none(), "stray: a cancel ends what came after");
        if line.wait.is_some() {
            self.end_wait(at, Failure::Cancelled, Reply::Cancelled);
        }
    }

    /// A client hears what became of its cancel.
    pub(super) fn cancelled(&mut self, number: usize, is_through: bool) {
        let now = self.instant();
        let Cancel { line, .. } = self.cancels[number];
        let id = self.cancels[number].awaited.take().expect("it is awaited");
        self.drop_cancels();
        let owner = self.lines[&line].owner.expect("it is awaited");
        if is_through {
            self.clients[owner].machine.handle_reply(id, Ok(Reply::Done), now);
        } else {
            // Who knows so little of its session asks nothing more there.
            self.clients[owner].machine.handle_reply(id, Err(gone()), now);
            self.end_line(line);
        }
        self.settle(owner);
    }

    pub(super) fn crash(&mut self, number: usize) {
        self.clients[number].stage = Stage::Crashed;
        if let Some(at) = self.clients[number].line.take() {
            let line = self.lines.get_mut(&at).expect("it is its client's");
            line.owner = None;
            line.said.clear();
            if line.backend.is_none() {
                self.lines.remove(&at);
            }
            self.cancels.iter_mut().filter(|it| it.line == at).for_each(|it| it.awaited = None);
            self.drop_cancels();
        }
    }
}
