//! What a server can be made to do.

use std::fmt;
use std::sync::Arc;

use lock_proto::redis::{Command, ScriptCall};

use crate::redis_model::{Answer, Draw, Entry, Store, Value};

/// One thing to do.
#[derive(Clone)]
#[expect(clippy::exhaustive_enums, reason = "both servers must know every case")]
pub enum Step {
    /// A command of ours.
    Ask {
        /// The command.
        command: Command,
        /// Where its client listens.
        inbox: String,
        /// How the fence of a lock that is taken with plain commands is drawn.
        draw: Draw,
    },
    /// A script as it is.
    Call(ScriptCall),
    /// Another library takes a mutex.
    Set {
        /// The mutex.
        key: String,
        /// The library's token.
        value: String,
        /// Its lease.
        ttl_ms: i64,
    },
    /// Another library gives a mutex back.
    CompareDelete {
        /// The mutex.
        key: String,
        /// The library's token.
        value: String,
    },
    /// Another library takes a permit.
    Permit {
        /// The semaphore.
        key: String,
        /// The library's token.
        member: String,
        /// How many permits there are.
        limit: usize,
        /// Its lease.
        ttl_ms: i64,
    },
    /// A key is deleted, or evicted.
    Delete(String),
    /// A key is overwritten with what does not belong there, and never ends.
    Spoil {
        /// The key.
        key: String,
        /// What it is to be.
        value: Value,
    },
    /// So many milliseconds pass.
    Age(i64),
}

impl Step {
    /// What the model says.
    pub(super) fn on(&self, model: &mut Store) -> Result<Vec<Answer>, String> {
        let done = |yes: bool| vec![Answer::Number(yes.into())];
        Ok(match self {
            Self::Ask { command, inbox, draw } => match command.script(inbox) {
                Some(call) => model.call(&call)?,
                None => model.take(command, *draw).map(Answer::Number).into(),
            },
            Self::Call(call) => model.call(call)?,
            Self::Set { key, value, ttl_ms } => done(model.foreign_set_nx(key, value, *ttl_ms)),
            Self::CompareDelete { key, value } => done(model.foreign_delete(key, value)?),
            Self::Permit { key, member, limit, ttl_ms } => {
                done(model.foreign_permit(key, member, *limit, *ttl_ms)?)
            }
            Self::Delete(key) => done(model.delete(key)),
            Self::Spoil { key, value } => {
                model.put(key, Entry { value: value.clone(), expires: None });
                done(true)
            }
            Self::Age(_) => Vec::new(),
        })
    }

    /// A key becomes a text.
    #[must_use]
    pub fn spoil_with_text(key: &str, text: &str) -> Self {
        Self::Spoil { key: key.into(), value: Value::Text(text.into()) }
    }

    /// A key becomes a hash.
    #[must_use]
    pub fn spoil_with_hash(key: &str) -> Self {
        let word: Arc<str> = "no".into();
        Self::Spoil { key: key.into(), value: Value::Hash([(word.clone(), word)].into()) }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask { command, inbox, draw } => {
                let (lock, token) = (command.keys.lock(), command.token.as_str());
                let verb = &command.verb;
                write!(f, "{token:?} asks {lock:?} {verb:?}, inbox {inbox:?}, draw {draw:?}")
            }
            Self::Call(call) => {
                write!(f, "{} of {:?} {:?}", call.script.name, call.keys, call.args)
            }
            Self::Set { key, value, ttl_ms } => write!(f, "SET {key} {value} NX PX {ttl_ms}"),
            Self::CompareDelete { key, value } => write!(f, "DEL {key} if it is {value}"),
            Self::Permit { key, member, limit, ttl_ms } => {
                write!(f, "{member} takes one of {limit} permits of {key} for {ttl_ms} ms")
            }
            Self::Delete(key) => write!(f, "DEL {key}"),
            Self::Spoil { key, value } => write!(f, "{key} becomes {value:?}"),
            Self::Age(ms) => write!(f, "{ms} ms pass"),
        }
    }
}
