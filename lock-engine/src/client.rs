//! What the adapters ask of a backend, whichever it is.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lock_proto::{AcquireOptions, Demand, LockError, LockId, LockInfo};

use crate::{Loss, Pending};

/// Where a lock is: its name, and what a provider worked out of it once for all acquisitions.
#[derive(Clone, Debug)]
pub struct Address {
    /// The name as the user gave it.
    pub(crate) name: Arc<str>,
    /// Whether it may be shared, so that readers may wait where its next holder is chosen.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) shared: bool,
    #[cfg(feature = "file")]
    pub(crate) file: Option<FilePlace>,
    #[cfg(feature = "redis")]
    pub(crate) keys: Option<Result<lock_proto::redis::Keys, LockError>>,
}

/// The lock file of a lock on files.
#[cfg(feature = "file")]
#[derive(Clone, Debug)]
pub(crate) struct FilePlace {
    pub(crate) path: Arc<std::path::Path>,
    /// What this process's tasks queue for: the path, as text that no other path has.
    pub(crate) queue: Arc<str>,
}

#[cfg(feature = "file")]
impl FilePlace {
    pub(crate) fn new(path: std::path::PathBuf) -> Self {
        Self { queue: format!("{path:?}").into(), path: path.into() }
    }
}

impl Address {
    /// The address that is nothing but a name.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            #[cfg(any(feature = "postgres", feature = "redis"))]
            shared: false,
            #[cfg(feature = "file")]
            file: None,
            #[cfg(feature = "redis")]
            keys: None,
        }
    }

    /// The same, of a lock that has readers.
    #[must_use]
    pub(crate) fn shared(self) -> Self {
        #[cfg(any(feature = "postgres", feature = "redis"))]
        return Self { shared: true, ..self };
        #[cfg(not(any(feature = "postgres", feature = "redis")))]
        self
    }

    /// The name as the user gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// How a hold stands at the moment of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the lock is certainly still ours.
    pub valid: bool,
    /// For how long it certainly stays so if nothing prolongs it; `None` where it lasts as long as
    /// its handle.
    pub remaining: Option<Duration>,
}

/// How an acquisition stands: its fencing token when it is ours.
pub type Acquired = Poll<Result<Option<u64>, LockError>>;

/// Every lock of one provider.
///
/// A lock that was started is owed exactly one [`Client::abandon`], by whoever holds its id last,
/// unless that one was told that it is released.
pub trait Client: Send + Sync {
    /// Where the lock `name` is.
    fn locate(&self, name: &str) -> Address;

    /// Begins to acquire a lock, and drives the acquisition like [`Client::poll_acquired`].
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] and [`LockError::InvalidConfig`] for what can't be asked,
    /// [`LockError::Cancelled`] when the provider was closed.
    fn start(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        cx: &Context<'_>,
    ) -> Result<(LockId, Acquired), LockError>;

    /// Drives the acquisition; its fencing token when it is ours.
    fn poll_acquired(&self, lock: LockId, cx: &Context<'_>)
    -> Poll<Result<Option<u64>, LockError>>;

    /// Lets go of the lock, held or not, and drives the release like [`Client::poll_released`].
    fn release(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>>;

    /// Drives the release; an error if the lock was lost before. When it is ready the lock is
    /// abandoned as well.
    fn poll_released(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>>;

    /// Lets go of the lock, and of all interest in it.
    fn abandon(&self, lock: LockId);

    /// Asks for the lock to stay ours for `ttl` from now.
    fn extend(&self, lock: LockId, ttl: Duration);

    /// Drives the extension.
    fn poll_extended(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>>;

    /// Looks whether the lock is still ours.
    fn status(&self, lock: LockId) -> Status;

    /// The news of the lock's loss.
    fn loss(&self, lock: LockId) -> Loss;

    /// Who holds a lock; an error if the backend can't tell.
    fn info(&self, address: &Address, demand: Demand) -> Pending<Result<LockInfo, LockError>>;

    /// The locks that the backend knows of; an error if it can't tell.
    fn list(&self) -> Pending<Result<Vec<LockInfo>, LockError>>;

    /// Takes no more locks, cancels what waits and releases what is held.
    fn close(&self);

    /// Drives until nothing is left to clean up.
    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()>;
}
