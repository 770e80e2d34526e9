//! Whether what clients saw of a lock can be explained: linearizability of histories.
//!
//! A history is explained by an order of its operations in which each takes effect between its call
//! and its return, and in which a lock of so many permits would have let everybody in. A mutex has
//! one permit. A reader of a reader-writer lock takes one of very many, and a writer takes all.
//!
//! What a client does not know it leaves open. A crashed client leaves at some time after it was
//! last seen, perhaps never; so does one whose lease ran out. A server that lost its data may have
//! thrown everybody out at some time while it was down.
//!
//! The search is that of Wing and Gong, which Lowe made fast by never trying a situation twice. What
//! is particular to locks keeps it nearly linear: who can enter, and in what order, leaves little
//! choice, and whoever may leave later than anybody knows need not be thought of before somebody
//! needs the room.

mod search;
mod simulated;

use std::fmt;

use search::Search;
pub use simulated::{Simulated, simulated};

/// One thing that a client did, or that happened to the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever records a history makes them")]
pub struct Operation {
    /// Whose it is.
    pub hold: Hold,
    /// What it is.
    pub action: Action,
    /// When it was asked for, in nanoseconds.
    pub called: u64,
    /// When it was known to be done; `None` if that was never known.
    pub returned: Option<u64>,
}

/// One acquisition of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "whoever records a history makes them")]
pub struct Hold {
    /// The client.
    pub client: u32,
    /// Which of its acquisitions.
    pub number: u32,
}

/// What can happen to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever records a history chooses among them")]
pub enum Action {
    /// Somebody is let in.
    Enter {
        /// How many permits that takes.
        permits: u32,
        /// The fencing token, greater than that of everybody before.
        fence: Option<u64>,
    },
    /// Somebody believes no longer that it is inside. That may be before anybody else knows.
    Leave,
    /// Somebody is told that there is no room.
    Refused {
        /// How many permits there were not.
        permits: u32,
    },
    /// In this time everybody who was inside may be thrown out, even several times, and believe
    /// for a while longer to be inside.
    Forget {
        /// Whether the fencing tokens begin anew.
        fences: bool,
    },
}

/// Why a history is not that of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unexplained {
    /// Whoever is inside where the explanation ends that goes farthest.
    pub inside: Vec<Hold>,
    /// The greatest fencing token that was given out by then.
    pub fence: u64,
    /// The operations of which one would have to be next.
    pub stuck: Vec<Operation>,
    /// Whether the search was given up because there are too many possibilities.
    pub gave_up: bool,
}

/// Explains a history by a lock of so many permits.
///
/// # Errors
///
/// Where every explanation ends.
///
/// # Panics
///
/// If something returned before it was called.
pub fn check(permits: u32, operations: &[Operation]) -> Result<(), Unexplained> {
    for operation in operations {
        let returned = operation.returned.unwrap_or(u64::MAX);
        assert!(operation.called <= returned, "{operation} ends before it begins");
    }
    Search::new(permits, operations).run()
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.client, self.number)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hold, action, called, returned } = self;
        match action {
            Action::Enter { permits: 1, fence: None } => write!(f, "{hold} enters")?,
            Action::Enter { permits, fence: None } => write!(f, "{hold} enters for {permits}")?,
            Action::Enter { fence: Some(fence), .. } => write!(f, "{hold} enters with {fence}")?,
            Action::Leave => write!(f, "{hold} leaves")?,
            Action::Refused { permits } => write!(f, "{hold} is refused {permits}")?,
            Action::Forget { .. } => write!(f, "all may be thrown out")?,
        }
        match returned {
            Some(returned) => write!(f, " between {called} and {returned}"),
            None => write!(f, " after {called}"),
        }
    }
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gave_up {
            write!(f, "there are too many possibilities; the one that goes farthest ends where ")?;
        }
        let inside: Vec<String> = self.inside.iter().map(ToString::to_string).collect();
        match inside.is_empty() {
            true => write!(f, "nobody is inside")?,
            false => write!(f, "{} is inside", inside.join(" and "))?,
        }
        write!(f, ", the last fence is {}, and none of these can be next:", self.fence)?;
        self.stuck.iter().try_for_each(|operation| write!(f, "\n    {operation}"))
    }
}

impl std::error::Error for Unexplained {}
