//! The runtime on which connections live.

use std::future::Future;

use lock_proto::LockError;

/// Where to spawn the tasks that keep connections.
#[derive(Clone, Debug)]
pub(super) enum Spawner {
    #[cfg(feature = "redis-tokio")]
    Tokio(tokio::runtime::Handle),
    #[cfg(feature = "redis-async-std")]
    AsyncStd,
}

impl Spawner {
    /// The runtime that runs the caller.
    pub(super) fn current() -> Result<Self, LockError> {
        #[cfg(feature = "redis-tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            return Ok(Self::Tokio(runtime));
        }
        #[cfg(feature = "redis-async-std")]
        return Ok(Self::AsyncStd);
        #[cfg(not(feature = "redis-async-std"))]
        Err(LockError::InvalidConfig {
            option: "runtime",
            problem:
                "there is no tokio runtime here, and connections need one: build the provider \
                      in a future that tokio runs, or within Runtime::enter"
                    .into(),
        })
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            #[cfg(feature = "redis-tokio")]
            Self::Tokio(runtime) => drop(runtime.spawn(task)),
            #[cfg(feature = "redis-async-std")]
            Self::AsyncStd => drop(async_std::task::spawn(task)),
        }
    }
}
