//! The one thread of this process that carries all connections to PostgreSQL.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::postgres::{Job, Network, Peer, Stream};
use lock_proto::{Fault, LockError};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::{Builder, Handle};

/// Names are looked up on threads of their own, by at most as many at a time.
const LOOKUPS: usize = 4;

/// A runtime of which callers see nothing: whoever waits for a lock parks its own thread, and may
/// be on a runtime of its own.
struct Carrier {
    runtime: Handle,
    timers: Timers,
}

static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

/// The thread, started when it is first asked for. It stays until the process ends.
pub(super) fn started() -> Result<Arc<dyn Network>, LockError> {
    let timers = Timers::started().map_err(LockError::Backend)?;
    let mut running = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = match &*running {
        Some(runtime) => runtime.clone(),
        None => running.insert(start().map_err(not_started)?).clone(),
    };
    Ok(Arc::new(Carrier { runtime, timers }))
}

fn start() -> io::Result<Handle> {
    let runtime =
        Builder::new_current_thread().enable_io().max_blocking_threads(LOOKUPS).build()?;
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name("dlock-postgres".into());
    thread.spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}

fn not_started(error: io::Error) -> LockError {
    let fault = Fault::not_sent(
        "the thread of the connections can't be started: see the limits on threads and open files \
         (ulimit -u, ulimit -n)",
    );
    LockError::Backend(fault.with_cause(error))
}

impl Network for Carrier {
    fn resolve(&self, host: &str, port: u16) -> Job<io::Result<Vec<SocketAddr>>> {
        let place = (host.to_owned(), port);
        Box::pin(async move { Ok(lookup_host(place).await?.collect()) })
    }

    fn connect(&self, peer: &Peer) -> Job<io::Result<Box<dyn Stream>>> {
        let peer = peer.clone();
        Box::pin(async move {
            match peer {
                Peer::Tcp(address, settings) => {
                    let stream = TcpStream::connect(address).await?;
                    settings.apply(&stream)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
                Peer::Unix(path) => {
                    let stream = UnixStream::connect(path).await?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
            }
        })
    }

    fn sleep(&self, duration: Duration) -> Job<()> {
        Box::pin(self.timers.sleep(duration))
    }

    fn spawn(&self, task: Job<()>) {
        drop(self.runtime.spawn(task));
    }
}
