//! Advisory locks on a session, or in a transaction, that is the caller's own.
//!
//! Whoever lends its connection wants it back as it was. What follows from that:
//!
//! - **A lock is counted.** A session that has it is let in again, and has to give it back twice.
//!   Each acquisition therefore looks in `pg_locks` first, in the statement that takes the lock or,
//!   where the lock outlives a failed statement, before it.
//! - **Any error aborts a transaction**, a time-out among them. Inside one, all is done behind a
//!   savepoint. Rolling back to it undoes the time-outs that were set for the wait and, of a lock
//!   of the transaction, the lock; a lock of the session stays.
//! - **An error doesn't mean that the lock is not held**: the grant may have come at the same
//!   moment. Behind a savepoint that is over with the rollback; a lock of the session is given back.
//!
//! ```text
//!                  ┌────────────► resting ◄─┐        held by ourselves: wait in vain
//!                  │                        │
//! begin ──► looking ──► waiting ──► undoing ┴──► over
//!                  │          └─────────────────► over, held
//!                  └────────────────────────────► over, held: it was free
//! ```

mod text;

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::call::Mode;
use super::key::AdvisoryKey;
use crate::{Fault, LockError};
use text::{BUSY, GRANTED, HELD, Place, RELEASE, ROLLBACK, Words};

/// What a lock is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller has one or the other")]
pub enum Ground {
    /// A session, whether or not it is in a transaction at the moment: the lock outlives that.
    Session,
    /// An open transaction: the lock ends with it.
    Transaction,
}

/// The conversation in which a lock is taken on the caller's own session or transaction: texts of
/// simple queries, and what comes back.
///
/// Whoever drives it sends the texts in order and nothing between them. If it goes away before an
/// answer has come, it sends what [`Own::abandoned`] says, and needs no answer to that.
///
/// ```
/// use lock_proto::postgres::{AdvisoryKey, Answer, Ground, Mode, Own, Turn};
///
/// let mut own = Own::new(AdvisoryKey::Single(7), Mode::Exclusive, Ground::Transaction, None);
/// let Turn::Ask(text) = own.begin() else { unreachable!() };
/// assert!(text.contains("pg_try_advisory_xact_lock(bigint '7')"));
///
/// let row = ["granted", "0", "0"].map(|column| Some(column.into()));
/// let Turn::Over { result, last } = own.answered(Answer::Done(row.into())) else { unreachable!() };
/// assert!(result.is_ok());
/// assert_eq!(last.unwrap(), "release savepoint dlock_acquire");
/// ```
#[derive(Clone, Debug)]
pub struct Own {
    words: Words,
    timeout: Option<Duration>,
    state: State,
}

/// What the driver of an [`Own`] is to do next.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries it out must know every case")]
pub enum Turn {
    /// Send this as a simple query, and tell [`Own::answered`] what comes of it.
    Ask(String),
    /// Rest for so long, and then call [`Own::rested`].
    Rest(Duration),
    /// It is over.
    Over {
        /// Whether the lock is held.
        result: Result<(), LockError>,
        /// What to send at last. It does not fail unless the connection does; nobody has to wait.
        last: Option<String>,
    },
}

/// What came of a text.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever answers must choose among all")]
pub enum Answer {
    /// It was carried out; the last row that came, or nothing.
    Done(Vec<Option<String>>),
    /// The `lock_timeout` came: error 55P03.
    Expired,
    /// Error 40P01, in the server's words.
    Deadlock(String),
    /// Anything else.
    Failed(LockError),
}

#[derive(Clone, Debug)]
enum State {
    Start,
    /// Asked who holds it; in a transaction, for the lock as well.
    Looking,
    /// Asked for the lock.
    Waiting(Place),
    /// Asked to make it as it was before.
    Undoing {
        error: LockError,
        then: Option<Duration>,
    },
    Resting,
    Over,
}

impl Own {
    /// Takes `key` on `ground`, and waits for it for at most `timeout`; `None` is for ever.
    #[must_use]
    pub fn new(key: AdvisoryKey, mode: Mode, ground: Ground, timeout: Option<Duration>) -> Self {
        Self { words: Words { key, mode, ground }, timeout, state: State::Start }
    }

    /// What to do first.
    pub fn begin(&mut self) -> Turn {
        self.state = State::Looking;
        Turn::Ask(self.words.look())
    }

    /// What to do after an answer.
    pub fn answered(&mut self, answer: Answer) -> Turn {
        match core::mem::replace(&mut self.state, State::Over) {
            State::Looking => match answer {
                Answer::Done(row) => self.looked(&row),
                Answer::Expired | Answer::Deadlock(_) | Answer::Failed(_) => {
                    let error = self.failure(answer);
                    match self.words.ground {
                        Ground::Session => over(Err(error)),
                        Ground::Transaction => self.undo(ROLLBACK.to_owned(), error),
                    }
                }
            },
            State::Waiting(place) => match answer {
                Answer::Done(row) => self.waited(&row, &place),
                Answer::Expired | Answer::Deadlock(_) | Answer::Failed(_) => {
                    let error = self.failure(answer);
                    self.undo(self.words.reversal(&place), error)
                }
            },
            State::Undoing { error, then } => self.undone(answer, error, then),
            State::Start | State::Resting | State::Over => over(Err(nonsense())),
        }
    }

    /// The rest is over.
    pub fn rested(&mut self) -> Turn {
        self.state = State::Over;
        over(Err(self.timed_out()))
    }

    /// What to send if nobody waits for the answer that is still to come: the session, or the
    /// transaction, is then as it was before, and has nothing of the lock.
    #[must_use]
    pub fn abandoned(&self) -> Option<String> {
        match (&self.state, self.words.ground) {
            (State::Looking, Ground::Transaction) => Some(ROLLBACK.to_owned()),
            (State::Waiting(place), _) => Some(self.words.reversal(place)),
            (State::Looking, Ground::Session)
            | (State::Start | State::Undoing { .. } | State::Resting | State::Over, _) => None,
        }
    }

    /// The text that gives a lock of a session back.
    #[must_use]
    pub fn give_back(key: AdvisoryKey, mode: Mode) -> String {
        text::give_back(key, mode)
    }

    /// What came of [`Own::give_back`].
    ///
    /// # Errors
    ///
    /// [`LockError::Backend`] if the session did not hold the lock.
    pub fn given_back(answer: Answer) -> Result<(), LockError> {
        match answer {
            Answer::Done(row) => match row.first() {
                Some(Some(held)) if held == "t" => Ok(()),
                Some(_) => Err(LockError::Backend(Fault::refused(
                    "this session does not hold the lock, or a transaction of its does: release \
                     it once, in the mode and on the session in which it was acquired",
                ))),
                None => Err(nonsense()),
            },
            Answer::Failed(error) => Err(error),
            Answer::Deadlock(detail) => Err(LockError::Deadlock(detail)),
            Answer::Expired => Err(LockError::Timeout(Duration::ZERO)),
        }
    }

    fn looked(&mut self, row: &[Option<String>]) -> Turn {
        match (self.words.ground, row) {
            (Ground::Session, [Some(verdict), Some(alone)]) => {
                let place = if alone == "t" { Place::Alone } else { Place::Inside };
                match verdict.as_str() {
                    HELD => self.refuse(None),
                    BUSY => self.wait(place),
                    _ => over(Err(nonsense())),
                }
            }
            (Ground::Transaction, [Some(verdict), Some(lock), Some(statement)]) => {
                match verdict.as_str() {
                    HELD => self.refuse(Some(ROLLBACK.to_owned())),
                    GRANTED => Turn::Over { result: Ok(()), last: Some(RELEASE.to_owned()) },
                    BUSY if self.is_try() => self.undo(ROLLBACK.to_owned(), self.timed_out()),
                    BUSY => self.wait(Place::Scope {
                        lock_timeout: lock.clone(),
                        statement_timeout: statement.clone(),
                    }),
                    _ => self.undo(ROLLBACK.to_owned(), nonsense()),
                }
            }
            (Ground::Session, _) => over(Err(nonsense())),
            (Ground::Transaction, _) => self.undo(ROLLBACK.to_owned(), nonsense()),
        }
    }

    fn wait(&mut self, place: Place) -> Turn {
        let text = if self.is_try() {
            self.words.take_if_free(&place)
        } else {
            self.words.take(&place, self.timeout)
        };
        self.state = State::Waiting(place);
        Turn::Ask(text)
    }

    fn waited(&mut self, row: &[Option<String>], place: &Place) -> Turn {
        let undo = match place {
            Place::Alone => None,
            Place::Inside | Place::Scope { .. } => Some(ROLLBACK.to_owned()),
        };
        match row {
            [Some(verdict)] if verdict == GRANTED => {
                Turn::Over { result: Ok(()), last: place.kept() }
            }
            [Some(verdict)] if verdict == HELD => self.refuse(undo),
            [Some(verdict)] if verdict == BUSY => match undo {
                Some(text) => self.undo(text, self.timed_out()),
                None => over(Err(self.timed_out())),
            },
            _ => self.undo(self.words.reversal(place), nonsense()),
        }
    }

    /// This session has the lock already: whoever waits for it, waits for itself.
    fn refuse(&mut self, undo: Option<String>) -> Turn {
        let (error, then) = match self.timeout {
            Some(timeout) => (self.timed_out(), (!timeout.is_zero()).then_some(timeout)),
            None => {
                let detail = "this session holds the lock already, and would wait for itself";
                (LockError::Deadlock(detail.to_owned()), None)
            }
        };
        match undo {
            Some(text) => {
                self.state = State::Undoing { error, then };
                Turn::Ask(text)
            }
            None => self.undone(Answer::Done(Vec::new()), error, then),
        }
    }

    fn undo(&mut self, text: String, error: LockError) -> Turn {
        self.state = State::Undoing { error, then: None };
        Turn::Ask(text)
    }

    fn undone(&mut self, answer: Answer, error: LockError, then: Option<Duration>) -> Turn {
        let plain = matches!(error, LockError::Timeout(_) | LockError::Deadlock(_));
        match (answer, then) {
            (Answer::Failed(failure), _) if plain => over(Err(failure)),
            (Answer::Done(_), Some(rest)) => {
                self.state = State::Resting;
                Turn::Rest(rest)
            }
            (Answer::Done(_) | Answer::Expired | Answer::Deadlock(_) | Answer::Failed(_), _) => {
                over(Err(error))
            }
        }
    }

    fn failure(&self, answer: Answer) -> LockError {
        match answer {
            Answer::Deadlock(detail) => LockError::Deadlock(detail),
            Answer::Failed(error) => error,
            Answer::Expired => self.timed_out(),
            Answer::Done(_) => nonsense(),
        }
    }

    fn timed_out(&self) -> LockError {
        LockError::Timeout(self.timeout.unwrap_or(Duration::MAX))
    }

    fn is_try(&self) -> bool {
        self.timeout.is_some_and(|timeout| timeout.is_zero())
    }
}

fn over(result: Result<(), LockError>) -> Turn {
    Turn::Over { result, last: None }
}

fn nonsense() -> LockError {
    LockError::Backend(Fault::refused("the server answered nonsense"))
}
