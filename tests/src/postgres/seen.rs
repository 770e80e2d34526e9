//! What a server says of its sessions and of their locks.

use lock_proto::postgres::AdvisoryKey;

/// A session as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// The process that serves it.
    pub pid: u32,
    /// The user that it is.
    pub user: String,
    /// The database it is in.
    pub database: String,
    /// What it calls itself, or nothing.
    pub application: String,
    /// `active`, `idle`, `idle in transaction` and such.
    pub state: String,
    /// What it carries out, or did last.
    pub query: String,
    /// The kind of event it waits for, such as `Client` or `Lock`, or nothing.
    pub wait: String,
}

/// An advisory lock that a session holds or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct AdvisoryLock {
    /// Which.
    pub key: AdvisoryKey,
    /// The process that serves the session.
    pub pid: u32,
    /// Whether nobody else may hold it.
    pub exclusive: bool,
    /// Whether the session holds it, and doesn't wait.
    pub granted: bool,
}

impl Backend {
    pub(super) const COLUMNS: &str = "pid, usename, datname, application_name, state, query, \
                                      wait_event_type";

    pub(super) fn parse(row: Vec<String>) -> Self {
        let columns = <[String; 7]>::try_from(row).expect("these were asked for");
        let [pid, user, database, application, state, query, wait] = columns;
        Self { pid: number(&pid), user, database, application, state, query, wait }
    }
}

impl AdvisoryLock {
    pub(super) const COLUMNS: &str = "classid, objid, objsubid, pid, mode, granted";

    pub(super) fn parse(row: Vec<String>) -> Self {
        let columns = <[String; 6]>::try_from(row).expect("these were asked for");
        let [class, object, kind, pid, mode, granted] = columns;
        let (class, object) = (number(&class), number(&object));
        let single = u64::from(class) << 32 | u64::from(object);
        let key = match kind.as_str() {
            "1" => AdvisoryKey::Single(single.cast_signed()),
            _ => AdvisoryKey::Pair(class.cast_signed(), object.cast_signed()),
        };
        let exclusive = mode == "ExclusiveLock";
        Self { key, pid: number(&pid), exclusive, granted: granted == "t" }
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("it is a number")
}
