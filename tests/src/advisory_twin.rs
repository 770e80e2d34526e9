//! A real PostgreSQL server and the model of its advisory locks, which must agree after each step.
//!
//! Nothing is left to the pace of the server: a step is over when everybody has answered who, as
//! the model says, does not wait, and the server shows the locks and the waiters of the model. A
//! session whose process is stopped can be granted a lock, cancelled or both before it looks.

mod random;
mod real;

use std::time::Duration;

use lock_proto::Instant;
use lock_proto::postgres::Mode;

use crate::advisory_model::{Answer, Failure, Server, SessionId, Statement};
use crate::postgres::{AdvisoryLock, PostgresServer};
use crate::sightings::Sightings;
use crate::trace::Trace;

pub use random::compare_steps;
pub use real::Patience;
use real::Real;

/// A `lock_timeout` that is waited for as soon as it is asked for.
pub const AT_ONCE: Duration = Duration::from_millis(1);

/// A server, its model, and the sessions of both.
#[derive(Debug)]
pub struct Twin {
    server: PostgresServer,
    model: Server,
    seats: Vec<Seat>,
    steps: u64,
    trace: Trace,
    sightings: Sightings,
}

/// One session on both sides.
#[derive(Debug)]
struct Seat {
    id: SessionId,
    real: Real,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for a statement.
    Idle,
    /// It waits for a lock.
    Waiting,
    /// It waited for a lock when its process was stopped.
    Stopped { failure: Option<Failure> },
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever chooses among them must know every case")]
pub enum Step {
    /// It is asked something.
    Ask(Statement),
    /// Somebody cancels what it does.
    Cancel,
    /// It is ended, and another begins in its place.
    Terminate,
    /// Its process is stopped as it waits for a lock.
    Stop,
    /// While it is stopped, its `lock_timeout` comes.
    Expire,
    /// Its process goes on.
    Resume,
}

impl Twin {
    /// A server with some sessions.
    #[must_use]
    pub fn start(sessions: usize) -> Self {
        let server = PostgresServer::start();
        Real::prepare(&server);
        let mut twin = Self {
            server,
            model: Server::new(),
            seats: Vec::new(),
            steps: 0,
            trace: Trace::default(),
            sightings: Sightings::default(),
        };
        for _ in 0..sessions {
            let seat = twin.connect();
            twin.seats.push(seat);
        }
        twin
    }

    /// Whether a session waits for a lock, its process running or not.
    #[must_use]
    pub fn is_busy(&self, seat: usize) -> bool {
        self.seats[seat].state != State::Idle
    }

    /// Whether the process of a session is stopped.
    #[must_use]
    pub fn is_stopped(&self, seat: usize) -> bool {
        matches!(self.seats[seat].state, State::Stopped { .. })
    }

    /// How many savepoints a session can go back to.
    #[must_use]
    pub fn savepoints(&self, seat: usize) -> u32 {
        self.model.savepoints(self.seats[seat].id)
    }

    /// How many steps were compared.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What was met.
    #[must_use]
    pub fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// Begins anew: whatever is held is given back. What happened before is not shown again.
    pub fn begin(&mut self, title: String) {
        for seat in 0..self.seats.len() {
            if self.is_stopped(seat) {
                self.take(seat, Step::Resume);
            }
        }
        for seat in 0..self.seats.len() {
            if self.is_busy(seat) {
                self.take(seat, Step::Cancel);
            }
        }
        for seat in 0..self.seats.len() {
            self.take(seat, Step::Ask(Statement::Rollback));
            self.take(seat, Step::Ask(Statement::UnlockAll));
        }
        assert_eq!(self.model.rows(), [], "everything was given back");
        self.trace = Trace::default();
        self.trace.note(|| title);
    }

    /// Takes a step on both sides; nothing happens if the session can't take it. Answers what the
    /// session said, if it said anything.
    ///
    /// # Panics
    ///
    /// If the two differ.
    pub fn take(&mut self, seat: usize, step: Step) -> Option<Answer> {
        let before = self.seats[seat].state;
        let possible = match step {
            Step::Ask(_) => before == State::Idle,
            Step::Stop => before == State::Waiting,
            Step::Expire | Step::Resume => matches!(before, State::Stopped { .. }),
            Step::Cancel | Step::Terminate => true,
        };
        if !possible {
            return None;
        }
        self.steps += 1;
        self.trace.note(|| format!("session {seat}: {step:?}"));
        let answer = match step {
            Step::Ask(statement) => self.ask(seat, &statement),
            Step::Cancel => self.cancel(seat),
            Step::Terminate => self.terminate(seat),
            Step::Stop => self.stop(seat),
            Step::Expire => self.expire(seat),
            Step::Resume => self.resume(seat),
        };
        self.settle();
        answer
    }

    fn ask(&mut self, seat: usize, statement: &Statement) -> Option<Answer> {
        let id = self.seats[seat].id;
        let savepoints = self.model.savepoints(id);
        let expected = self.model.ask(id, statement, Instant::ZERO);
        let limited = matches!(
            statement,
            Statement::Lock { limit: Some(limit), .. } if *limit <= AT_ONCE
        );
        // A session looks for a deadlock only where it is to find one: it would hold up the others
        // while it looks, and they would not know when it is done.
        let deadlocked = expected.is_none() && !limited && self.model.is_deadlocked(id);
        let patience = if deadlocked { Patience::LooksAtOnce } else { Patience::NeverLooks };
        self.seats[seat].real.send(statement, savepoints, patience);
        let expected = match expected {
            None if deadlocked => self.model.interrupt(id, Failure::Deadlock),
            None if limited => {
                let ended = self.model.handle_timeout(Instant::FAR_FUTURE);
                ended.first().map(|(_, answer)| *answer)
            }
            expected => expected,
        };
        if expected.is_none() {
            self.seats[seat].state = State::Waiting;
            self.sightings.saw("a session waits");
        }
        expected.inspect(|expected| self.hear(seat, *expected))
    }

    fn cancel(&mut self, seat: usize) -> Option<Answer> {
        self.server.cancel(self.seats[seat].real.pid());
        if let State::Stopped { failure } = &mut self.seats[seat].state {
            failure.get_or_insert(Failure::Cancelled);
            return None;
        }
        // Whoever is idle takes no notice.
        let expected = self.model.interrupt(self.seats[seat].id, Failure::Cancelled);
        expected.inspect(|expected| self.hear(seat, *expected))
    }

    fn terminate(&mut self, seat: usize) -> Option<Answer> {
        if self.seats[seat].state != State::Idle {
            self.sightings.saw("a session ends that waits");
        }
        self.seats[seat].real.terminate(&self.server);
        self.model.disconnect(self.seats[seat].id);
        self.seats[seat] = self.connect();
        None
    }

    fn stop(&mut self, seat: usize) -> Option<Answer> {
        self.seats[seat].real.stop();
        self.seats[seat].state = State::Stopped { failure: None };
        None
    }

    fn expire(&mut self, seat: usize) -> Option<Answer> {
        self.seats[seat].real.await_alarm();
        self.seats[seat].state = State::Stopped { failure: Some(Failure::TimedOut) };
        None
    }

    fn resume(&mut self, seat: usize) -> Option<Answer> {
        let id = self.seats[seat].id;
        let State::Stopped { failure } = self.seats[seat].state else { return None };
        let woken = self.model.woken().any(|woken| woken == id);
        self.seats[seat].real.resume();
        self.seats[seat].state = State::Waiting;
        let expected = self.model.interrupt(id, failure?);
        if woken {
            self.sightings.saw("a session is cancelled that was granted its lock");
        }
        expected.inspect(|expected| self.hear(seat, *expected))
    }

    fn connect(&mut self) -> Seat {
        Seat { id: self.model.connect(), real: Real::connect(&self.server), state: State::Idle }
    }

    /// Hears what a session has to say, which must be this.
    fn hear(&mut self, seat: usize, expected: Answer) {
        let said = self.seats[seat].real.hear();
        self.seats[seat].state = State::Idle;
        self.trace.note(|| format!("    session {seat}: {said:?}"));
        assert_eq!(said, expected, "session {seat}: the server's answer, and the model's");
        self.sightings.saw(match said {
            Answer::Done => "it is done",
            Answer::Told(true) => "yes",
            Answer::Told(false) => "no",
            Answer::Failed(Failure::TimedOut) => "a time-out",
            Answer::Failed(Failure::Cancelled) => "a cancel",
            Answer::Failed(Failure::Deadlock) => "a deadlock",
            Answer::Failed(Failure::TransactionFailed) => "a failed transaction",
            Answer::Failed(Failure::NoTransaction | Failure::NoSavepoint) => "nonsense",
        });
    }

    /// Lets everybody answer who has been granted a lock, and compares.
    fn settle(&mut self) {
        loop {
            let next = self.model.woken().find_map(|id| {
                let seat = self.seats.iter().position(|seat| seat.id == id);
                seat.filter(|seat| self.seats[*seat].state == State::Waiting)
            });
            let Some(seat) = next else { break };
            let expected = self.model.resume(self.seats[seat].id);
            self.sightings.saw("a lock was handed over");
            self.hear(seat, expected);
        }
        self.compare();
    }

    fn compare(&mut self) {
        let expected = self.expected();
        let seen = real::locks(&self.server, &expected);
        let pids: Vec<u32> = self.seats.iter().map(|seat| seat.real.pid()).collect();
        assert_eq!(seen, expected, "the server's locks, and the model's; sessions are {pids:?}");
        for (number, seat) in self.seats.iter_mut().enumerate() {
            let said = seat.real.poll();
            assert!(said.is_none(), "session {number} is to wait, and says {said:?}");
        }
    }

    /// What the server is to show.
    fn expected(&self) -> Vec<AdvisoryLock> {
        let mut locks: Vec<AdvisoryLock> = Vec::new();
        for row in self.model.rows() {
            let seat = self.seats.iter().find(|seat| seat.id == row.session);
            let pid = seat.expect("it has a seat").real.pid();
            let exclusive = row.mode == Mode::Exclusive;
            locks.push(AdvisoryLock { key: row.key, pid, exclusive, granted: row.granted });
        }
        locks.sort_unstable();
        locks
    }
}
