//! What connections ask of a runtime.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};

/// Something that a runtime does or runs.
pub type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A runtime: its sockets, its clock, its tasks.
///
/// What it gives back may be polled in its own tasks only.
pub trait Network: Send + Sync + 'static {
    /// The addresses of a host, best first.
    fn resolve(&self, host: &str, port: u16) -> Job<io::Result<Vec<SocketAddr>>>;

    /// A connection to `peer`. Whoever waits for it sees to it that it doesn't take for ever.
    fn connect(&self, peer: &Peer) -> Job<io::Result<Box<dyn Stream>>>;

    /// Is ready when `duration` has passed.
    fn sleep(&self, duration: Duration) -> Job<()>;

    /// Runs `task` to its end, whatever becomes of the caller.
    fn spawn(&self, task: Job<()>);
}

/// A connection, as bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever connects must know every case")]
pub enum Peer {
    /// A TCP address, and what [`SocketSettings::apply`] does to a connection to it.
    Tcp(SocketAddr, SocketSettings),
    /// A Unix socket.
    Unix(PathBuf),
}

/// How a TCP connection finds out that its peer is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// For how long what was sent may stay unacknowledged; `None` as long as the system says.
    pub(super) user_timeout: Option<Duration>,
    pub(super) keepalive: Option<Keepalive>,
}

/// Probes of a silent peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keepalive {
    /// The silence before the first probe.
    pub(super) idle: Duration,
    /// The time between two.
    pub(super) interval: Duration,
    /// How many must be unanswered.
    pub(super) retries: u32,
}

impl SocketSettings {
    /// Applies the settings to a connection.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn apply(&self, socket: impl AsFd) -> io::Result<()> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(keepalive) = &self.keepalive {
            sockopt::set_socket_keepalive(&socket, true)?;
            #[cfg(not(target_os = "openbsd"))]
            {
                sockopt::set_tcp_keepidle(&socket, keepalive.idle)?;
                sockopt::set_tcp_keepintvl(&socket, keepalive.interval)?;
                sockopt::set_tcp_keepcnt(&socket, keepalive.retries)?;
            }
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.user_timeout {
            let millis = timeout.as_millis().try_into().unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(&socket, millis)?;
        }
        Ok(())
    }
}

/// What comes of `work` if that takes no longer than `limit`.
pub(crate) async fn within<T>(
    network: &dyn Network,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let (mut work, mut sleep) = (pin!(work), network.sleep(limit));
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
