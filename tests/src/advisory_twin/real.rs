//! The real one of the two servers.

use std::fs;
use std::time::{Duration, Instant};

use lock_proto::postgres::{AdvisoryKey, Mode};
use rustix::process::{Pid, Signal, kill_process};

use crate::advisory_model::{Answer, Failure, Scope, Statement};
use crate::postgres::{self, AdvisoryLock, PostgresServer, Session};
use crate::redis::{PATIENCE, eventually};

/// How long it is between two looks at the locks.
const PAUSE: Duration = Duration::from_millis(1);

/// Lets a session choose when it looks for deadlocks, which needs a right that ours don't have.
const PREPARE: &str = "CREATE FUNCTION look_for_deadlocks(after text) RETURNS text LANGUAGE sql \
    SECURITY DEFINER AS $$ SELECT set_config('deadlock_timeout', after, true) $$";

/// One session of the server.
#[derive(Debug)]
pub(super) struct Real {
    session: Session,
    asked: Option<(postgres::Answer, Kind)>,
}

/// When a session that waits looks whether it will wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing between")]
pub enum Patience {
    /// It does not.
    NeverLooks,
    /// After a millisecond.
    LooksAtOnce,
}

/// What a good answer to a statement consists of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Nothing,
    Truth,
}

impl Real {
    pub(super) fn prepare(server: &PostgresServer) {
        server.psql(PREPARE);
    }

    pub(super) fn connect(server: &PostgresServer) -> Self {
        Self { session: server.session(), asked: None }
    }

    pub(super) fn pid(&self) -> u32 {
        self.session.pid()
    }

    pub(super) fn send(&mut self, statement: &Statement, savepoints: u32, patience: Patience) {
        let (sql, kind) = text(statement, savepoints, patience);
        self.asked = Some((self.session.send(&sql), kind));
    }

    /// Waits for the answer.
    pub(super) fn hear(&mut self) -> Answer {
        let (answer, kind) = self.asked.take().expect("it was asked something");
        read(answer.wait(), kind)
    }

    /// The answer that is not to come, if it has come.
    pub(super) fn poll(&mut self) -> Option<Answer> {
        let (answer, kind) = self.asked.as_mut()?;
        let kind = *kind;
        answer.poll().map(|said| read(said, kind))
    }

    /// Stops the process, which waits for a lock and sleeps.
    pub(super) fn stop(&self) {
        eventually("a process that sleeps", || (self.process_state() == 'S').then_some(()));
        self.signal(Signal::STOP);
        eventually("a process that is stopped", || (self.process_state() == 'T').then_some(()));
    }

    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until the process, which is stopped, has an alarm to hear.
    pub(super) fn await_alarm(&self) {
        eventually("an alarm", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
            let status = status.expect("the session has a process");
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
            let pending = u64::from_str_radix(pending.trim(), 16).ok()?;
            let alarm = 1 << (Signal::ALARM.as_raw() - 1);
            (pending & alarm != 0).then_some(())
        });
    }

    /// Ends the session, and waits until it has.
    pub(super) fn terminate(&self, server: &PostgresServer) {
        let pid = self.pid();
        server.psql(&format!("SELECT pg_terminate_backend({pid})"));
        self.signal(Signal::CONT);
        eventually("a session that has ended", || {
            let left = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
            server.psql(&left).is_empty().then_some(())
        });
    }

    /// How the kernel sees the process.
    fn process_state(&self) -> char {
        let line = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let line = line.expect("the session has a process");
        let state = line.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.expect("the kernel names the state after the program")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().try_into().ok().and_then(Pid::from_raw);
        // It may just have ended.
        let _ = kill_process(pid.expect("a process has a number"), signal);
    }
}

/// The locks that the server shows: those that are expected as soon as it does, or others if it
/// never does.
pub(super) fn locks(server: &PostgresServer, expected: &[AdvisoryLock]) -> Vec<AdvisoryLock> {
    let start = Instant::now();
    loop {
        let seen = server.advisory_locks();
        if seen == expected || start.elapsed() > PATIENCE {
            return seen;
        }
        std::thread::sleep(PAUSE);
    }
}

fn text(statement: &Statement, savepoints: u32, patience: Patience) -> (String, Kind) {
    let nothing = |sql: &str| (sql.to_owned(), Kind::Nothing);
    let call = |start: &str, scope, mode, key| {
        let scope = if scope == Scope::Transaction { "_xact" } else { "" };
        let mode = if mode == Mode::Shared { "_shared" } else { "" };
        let key = match key {
            AdvisoryKey::Single(key) => format!("{key}::bigint"),
            AdvisoryKey::Pair(first, second) => format!("{first}, {second}"),
        };
        let (start, end) = start.split_once('+').expect("a place for the scope");
        format!("{start}{scope}{end}{mode}({key})")
    };
    match *statement {
        Statement::Lock { key, mode, scope, limit } => {
            let limit = limit.map_or(0, |limit| limit.as_millis());
            let looks = match patience {
                Patience::NeverLooks => "1h",
                Patience::LooksAtOnce => "1ms",
            };
            let call = call("pg_advisory+_lock", scope, mode, key);
            let sql = format!(
                "SELECT set_config('lock_timeout', '{limit}', true), \
                 look_for_deadlocks('{looks}'), {call}"
            );
            (sql, Kind::Nothing)
        }
        Statement::TryLock { key, mode, scope } => {
            let call = call("pg_try_advisory+_lock", scope, mode, key);
            (format!("SELECT {call}"), Kind::Truth)
        }
        Statement::Unlock { key, mode } => {
            let call = call("pg_advisory_unlock+", Scope::Session, mode, key);
            (format!("SELECT {call}"), Kind::Truth)
        }
        Statement::UnlockAll => nothing("SELECT pg_advisory_unlock_all()"),
        Statement::Begin => nothing("BEGIN"),
        Statement::Commit => nothing("COMMIT"),
        Statement::Rollback => nothing("ROLLBACK"),
        Statement::Savepoint => nothing(&format!("SAVEPOINT s{}", savepoints + 1)),
        Statement::RollbackTo(number) => nothing(&format!("ROLLBACK TO s{number}")),
        Statement::ReleaseSavepoint(number) => nothing(&format!("RELEASE s{number}")),
    }
}

fn read(said: Result<postgres::Rows, ::postgres::Error>, kind: Kind) -> Answer {
    let rows = match said {
        Ok(rows) => rows,
        Err(error) => return Answer::Failed(failure(&error)),
    };
    match kind {
        Kind::Nothing => Answer::Done,
        Kind::Truth => Answer::Told(rows == [["t"]]),
    }
}

fn failure(error: &::postgres::Error) -> Failure {
    match error.code().map(|state| state.code()) {
        Some("55P03") => Failure::TimedOut,
        Some("57014") => Failure::Cancelled,
        Some("40P01") => Failure::Deadlock,
        Some("25P02") => Failure::TransactionFailed,
        Some("25P01") => Failure::NoTransaction,
        Some("3B001") => Failure::NoSavepoint,
        _ => panic!("the server says what no model would: {error:?}"),
    }
}
