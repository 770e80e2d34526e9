//! What is known of one connection.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More counters than this are not remembered; forgetting one costs a script instead of `INCR`.
const MOST_FENCES: usize = 10_000;

/// The fencing counters that are known to be sound for as long as one connection lasts.
///
/// A server that comes back may have an older counter than it had, and its connections don't
/// outlive it. So the first number of a counter is drawn by a script, which looks at the clock as
/// well, once on each connection.
#[derive(Debug)]
pub struct Session {
    /// `None` if the server may be exchanged while the connection lasts.
    fences: Option<Mutex<BTreeSet<Box<str>>>>,
}

impl Session {
    /// A new connection to one server.
    #[must_use]
    pub fn new() -> Self {
        Self { fences: Some(Mutex::new(BTreeSet::new())) }
    }

    /// A connection that mends itself without telling, as one to a cluster does.
    #[must_use]
    pub fn mending() -> Self {
        Self { fences: None }
    }

    /// Whether what was asked on it may have been carried out in part, and be asked again.
    pub(super) fn mends(&self) -> bool {
        self.fences.is_none()
    }

    pub(super) fn knows(&self, fence: &str) -> bool {
        self.fences().is_some_and(|fences| fences.contains(fence))
    }

    pub(super) fn learn(&self, fence: &str) {
        let Some(mut fences) = self.fences() else { return };
        if fences.contains(fence) {
            return;
        }
        if fences.len() >= MOST_FENCES {
            fences.clear();
        }
        fences.insert(fence.into());
    }

    fn fences(&self) -> Option<MutexGuard<'_, BTreeSet<Box<str>>>> {
        let fences = self.fences.as_ref()?;
        Some(fences.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}
