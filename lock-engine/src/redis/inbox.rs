//! Where a client's servers tell it that it was let in.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use lock_proto::Seed;

use super::transport::Office;

/// The one channel to which a client subscribes; every clone is the same.
#[derive(Clone)]
pub struct Inbox {
    name: Arc<str>,
    office: Arc<OnceLock<Weak<dyn Office>>>,
}

impl Inbox {
    /// An inbox that nobody else has.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self { name: lock_proto::redis::inbox(seed), office: Arc::default() }
    }

    /// What to subscribe to.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Takes a message that came, and drives what follows on this thread.
    pub fn receive(&self, message: &[u8]) {
        if let Some(office) = self.office()
            && let Ok(message) = str::from_utf8(message)
        {
            office.heard(message);
        }
    }

    /// The subscription was lost and has been confirmed anew: whoever waits looks for itself.
    pub fn resubscribed(&self) {
        if let Some(office) = self.office() {
            office.missed();
        }
    }

    /// Says who reads it; the first to say so does.
    pub(crate) fn deliver_to(&self, office: Weak<dyn Office>) {
        self.office.get_or_init(|| office);
    }

    fn office(&self) -> Option<Arc<dyn Office>> {
        self.office.get()?.upgrade()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("name", &self.name).finish_non_exhaustive()
    }
}
