//! The sockets and tasks of the caller's runtime.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::postgres::{Job, Network, Peer, Stream};
use lock_proto::LockError;

/// The runtime on which connections live.
struct Runtime {
    kind: Kind,
    timers: Timers,
}

enum Kind {
    #[cfg(feature = "postgres-tokio")]
    Tokio(tokio::runtime::Handle),
    #[cfg(feature = "postgres-async-std")]
    AsyncStd,
}

/// The runtime that runs the caller.
pub(super) fn current() -> Result<Arc<dyn Network>, LockError> {
    let kind = Kind::current()?;
    let timers = Timers::started().map_err(LockError::Backend)?;
    Ok(Arc::new(Runtime { kind, timers }))
}

impl Kind {
    fn current() -> Result<Self, LockError> {
        #[cfg(feature = "postgres-tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            return Ok(Self::Tokio(runtime));
        }
        #[cfg(feature = "postgres-async-std")]
        return Ok(Self::AsyncStd);
        #[cfg(not(feature = "postgres-async-std"))]
        Err(LockError::InvalidConfig {
            option: "runtime",
            problem:
                "there is no tokio runtime here, and connections need one: build the provider \
                      in a future that tokio runs, or within Runtime::enter"
                    .into(),
        })
    }
}

impl Network for Runtime {
    fn resolve(&self, host: &str, port: u16) -> Job<io::Result<Vec<SocketAddr>>> {
        let place = (host.to_owned(), port);
        match self.kind {
            #[cfg(feature = "postgres-tokio")]
            Kind::Tokio(_) => {
                Box::pin(async move { Ok(tokio::net::lookup_host(place).await?.collect()) })
            }
            #[cfg(feature = "postgres-async-std")]
            Kind::AsyncStd => Box::pin(async move {
                let (host, port) = place;
                let place = (host.as_str(), port);
                Ok(async_std::net::ToSocketAddrs::to_socket_addrs(&place).await?.collect())
            }),
        }
    }

    fn connect(&self, peer: &Peer) -> Job<io::Result<Box<dyn Stream>>> {
        let peer = peer.clone();
        match self.kind {
            #[cfg(feature = "postgres-tokio")]
            Kind::Tokio(_) => Box::pin(on_tokio(peer)),
            #[cfg(feature = "postgres-async-std")]
            Kind::AsyncStd => Box::pin(on_async_std(peer)),
        }
    }

    fn sleep(&self, duration: Duration) -> Job<()> {
        Box::pin(self.timers.sleep(duration))
    }

    fn spawn(&self, task: Job<()>) {
        match &self.kind {
            #[cfg(feature = "postgres-tokio")]
            Kind::Tokio(runtime) => drop(runtime.spawn(task)),
            #[cfg(feature = "postgres-async-std")]
            Kind::AsyncStd => drop(async_std::task::spawn(task)),
        }
    }
}

#[cfg(feature = "postgres-tokio")]
async fn on_tokio(peer: Peer) -> io::Result<Box<dyn Stream>> {
    match peer {
        Peer::Tcp(address, settings) => {
            let stream = tokio::net::TcpStream::connect(address).await?;
            settings.apply(&stream)?;
            Ok(Box::new(stream))
        }
        Peer::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
    }
}

#[cfg(feature = "postgres-async-std")]
async fn on_async_std(peer: Peer) -> io::Result<Box<dyn Stream>> {
    use async_io::Async;
    use tokio_util::compat::FuturesAsyncReadCompatExt as _;

    match peer {
        Peer::Tcp(address, settings) => {
            let stream = Async::<std::net::TcpStream>::connect(address).await?;
            settings.apply(&stream)?;
            Ok(Box::new(stream.compat()))
        }
        Peer::Unix(path) => {
            let stream = Async::<std::os::unix::net::UnixStream>::connect(path).await?;
            Ok(Box::new(stream.compat()))
        }
    }
}
