//! How what a session runs is cancelled.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lock_proto::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::CancelToken;

use super::connect::{handshake, unreached};
use super::fault::fault_of;
use super::network::{Network, Peer, Stream, within};
use super::targets::Targets;

/// Cancels what a session runs.
#[derive(Clone)]
pub(crate) struct Canceller(Arc<Cancelling>);

pub(super) struct Cancelling {
    pub(super) token: CancelToken,
    pub(super) peer: Peer,
    pub(super) targets: Arc<Targets>,
    /// Whose certificate it has.
    pub(super) host: Option<String>,
    pub(super) network: Arc<dyn Network>,
    pub(super) limit: Duration,
}

impl Canceller {
    pub(super) fn new(cancelling: Cancelling) -> Self {
        Self(Arc::new(cancelling))
    }

    /// Has the server cancel what the session runs. When it is ready, the server has acted: what
    /// the session runs next is not cancelled by it.
    pub(crate) async fn cancel(&self) -> Result<(), Fault> {
        let cancelling = &*self.0;
        let work = async {
            let stream = cancelling.network.connect(&cancelling.peer).await;
            let mut stream = Open(stream.map_err(|error| unreached(error, &cancelling.peer))?);
            let handshake = handshake(&cancelling.targets, cancelling.host.as_deref())?;
            let sent = cancelling.token.cancel_query_raw(&mut stream, handshake).await;
            sent.map_err(fault_of)?;
            poll_fn(|cx| read_to_end(&mut *stream.0, cx)).await;
            Ok(())
        };
        within(&*cancelling.network, cancelling.limit, work).await.unwrap_or_else(|| {
            Err(Fault::unknown("the PostgreSQL server did not answer a request to cancel"))
        })
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

/// A stream that is not shut down until it is dropped: a pooler takes the end of what is sent for
/// the end of the request.
struct Open(Box<dyn Stream>);

impl AsyncRead for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Open {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The server closes the connection when it has acted.
fn read_to_end(mut stream: &mut dyn Stream, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
}
