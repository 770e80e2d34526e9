//! What is sent, word for word.
//!
//! Several statements in one text are a transaction of their own, unless the session is in one:
//! what is `set local` ends with the text.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::{AdvisoryKey, Ground, Mode};

/// What a row says of the lock.
pub(super) const HELD: &str = "held";
pub(super) const GRANTED: &str = "granted";
pub(super) const BUSY: &str = "busy";

pub(super) const RELEASE: &str = "release savepoint dlock_acquire";
pub(super) const ROLLBACK: &str =
    "rollback to savepoint dlock_acquire; release savepoint dlock_acquire";

const SAVEPOINT: &str = "savepoint dlock_acquire; ";
const WITHOUT_TIME_OUT: &str = "set local statement_timeout = 0; ";
/// The longest `lock_timeout`, 24 days.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Which lock it is about, and what it is taken on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) key: AdvisoryKey,
    pub(super) mode: Mode,
    pub(super) ground: Ground,
}

/// Where the wait takes place, and so what is to be done after it.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Outside of a transaction.
    Alone,
    /// In a transaction that the session is in.
    Inside,
    /// In the transaction that shall have the lock, whose time-outs were these, as the server
    /// writes them.
    Scope { lock_timeout: String, statement_timeout: String },
}

impl Words {
    /// The first question: whether we have it already, and where we are.
    pub(super) fn look(&self) -> String {
        match self.ground {
            // The first statement of a transaction is the one that began it. Of an open one, that
            // was another, and earlier.
            Ground::Session => format!(
                "select case when {} then '{HELD}' else '{BUSY}' end, \
                 pg_catalog.transaction_timestamp() = pg_catalog.statement_timestamp()",
                self.held_here()
            ),
            Ground::Transaction => format!(
                "{SAVEPOINT}select {}, pg_catalog.current_setting('lock_timeout'), \
                 pg_catalog.current_setting('statement_timeout')",
                self.tried()
            ),
        }
    }

    /// Takes it if it is free, and waits for nobody.
    pub(super) fn take_if_free(&self, place: &Place) -> String {
        format!("{}select {}", place.savepoint(), self.tried())
    }

    /// Takes it as soon as it is free, within `timeout`.
    pub(super) fn take(&self, place: &Place, timeout: Option<Duration>) -> String {
        let limit = timeout.map_or(0, |timeout| timeout.min(LONGEST).as_millis().max(1));
        let (savepoint, taken) = (place.savepoint(), self.taken(place));
        format!("{savepoint}{WITHOUT_TIME_OUT}set local lock_timeout = {limit}; select {taken}")
    }

    /// After this nothing is left of a wait, whatever came of it.
    pub(super) fn reversal(&self, place: &Place) -> String {
        // No time-out of the caller's may end it.
        let unlocked = format!("{WITHOUT_TIME_OUT}{}", give_back(self.key, self.mode));
        match place {
            Place::Alone => unlocked,
            Place::Inside => format!("rollback to savepoint dlock_acquire; {unlocked}; {ROLLBACK}"),
            Place::Scope { .. } => ROLLBACK.to_owned(),
        }
    }

    fn tried(&self) -> String {
        let (held, lock) = (self.held_here(), self.call("try_"));
        format!("case when {held} then '{HELD}' when {lock} then '{GRANTED}' else '{BUSY}' end")
    }

    fn taken(&self, place: &Place) -> String {
        let granted = format!("'{GRANTED}' || {}::text", self.call(""));
        match place {
            // Nobody else has a say in a transaction that is lent to us.
            Place::Scope { .. } => granted,
            Place::Alone | Place::Inside => {
                format!("case when {} then '{HELD}' else {granted} end", self.held_here())
            }
        }
    }

    fn call(&self, tries: &str) -> String {
        let scope = if self.ground == Ground::Transaction { "_xact" } else { "" };
        let (suffix, numbers) = (suffix(self.mode), numbers(self.key));
        format!("pg_catalog.pg_{tries}advisory{scope}_lock{suffix}({numbers})")
    }

    /// Whether this session holds the lock in any mode.
    fn held_here(&self) -> String {
        let (class, object, kind) = self.key.row();
        format!(
            "exists (select from pg_catalog.pg_locks where locktype = 'advisory' and granted \
             and pid = pg_catalog.pg_backend_pid() and classid = {class} and objid = {object} \
             and objsubid = {kind} and database = (select oid from pg_catalog.pg_database \
             where datname = pg_catalog.current_database()))"
        )
    }
}

impl Place {
    fn savepoint(&self) -> &'static str {
        match self {
            Self::Inside => SAVEPOINT,
            // The first has no use for one, the last has one since the first question.
            Self::Alone | Self::Scope { .. } => "",
        }
    }

    /// After this nothing is left of a wait but the lock.
    pub(super) fn kept(&self) -> Option<String> {
        match self {
            Self::Alone => None,
            // A lock of the session stays when what was set is undone.
            Self::Inside => Some(ROLLBACK.to_owned()),
            Self::Scope { lock_timeout, statement_timeout } => Some(format!(
                "select pg_catalog.set_config('lock_timeout', '{lock_timeout}', true), \
                 pg_catalog.set_config('statement_timeout', '{statement_timeout}', true); {RELEASE}"
            )),
        }
    }
}

pub(super) fn give_back(key: AdvisoryKey, mode: Mode) -> String {
    format!("select pg_catalog.pg_advisory_unlock{}({})", suffix(mode), numbers(key))
}

fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "",
        Mode::Shared => "_shared",
    }
}

/// In quotes: without them the smallest number is one with a minus before it that is too great for
/// its type.
fn numbers(key: AdvisoryKey) -> String {
    match key {
        AdvisoryKey::Single(key) => format!("bigint '{key}'"),
        AdvisoryKey::Pair(first, second) => format!("int '{first}', int '{second}'"),
    }
}
