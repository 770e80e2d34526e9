//! Randomness, and what this process is called.

use std::sync::{Mutex, PoisonError};

#[cfg(any(feature = "file", feature = "redis"))]
use lock_proto::file::Identity;
use lock_proto::{Fault, Jitter, LockError, Seed};

/// A seed for each acquisition, from one that the system drew.
pub(crate) struct Seeds(Mutex<Jitter>);

impl Seeds {
    pub(crate) fn new(first: &Seed) -> Self {
        Self(Mutex::new(first.jitter()))
    }

    pub(crate) fn next(&self) -> Seed {
        let mut seeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&seeds.next_u64().to_le_bytes());
        }
        Seed::from_bytes(bytes)
    }
}

/// A seed that the system draws.
pub(crate) fn drawn() -> Result<Seed, LockError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        let fault = Fault::refused("the system has no random numbers for us");
        LockError::Backend(fault.with_cause(error))
    })?;
    Ok(Seed::from_bytes(bytes))
}

/// This process.
#[cfg(any(feature = "file", feature = "redis"))]
pub(crate) fn identity() -> Identity {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Identity::new(&host, std::process::id())
}
