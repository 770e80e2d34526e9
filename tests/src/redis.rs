//! Real Redis servers for tests: alone, as a cluster, and watched by sentinels; and proxies that
//! make the network between them and a client misbehave.
//!
//! Every server listens on the loopback device only, keeps everything in a directory of its own and
//! dies with its value, or with the process of the test. All of them know the user of these
//! fixtures, who may do everything on the server's Unix socket, whatever a test does to passwords,
//! ports and certificates.

mod client;
mod cluster;
mod options;
mod proxy;
mod sentinel;
mod server;
mod slot_move;
mod tls;

use std::thread;
use std::time::{Duration, Instant};

pub use client::Client;
pub use cluster::Cluster;
pub use options::ServerOptions;
pub use proxy::{ELSEWHERE, Mode, Proxy};
pub use sentinel::Sentinels;
pub use server::Server;
pub use slot_move::SlotMove;
pub use tls::Certificates;

/// How long [`eventually`] waits: far longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(30);

const POLL_PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer, for at most [`PATIENCE`].
///
/// # Panics
///
/// With `what` is awaited, if it does not happen.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(POLL_PAUSE);
    }
}

/// The text of an answer, of whichever type.
fn text(value: &redis::Value) -> String {
    redis::from_redis_value_ref(value).unwrap_or_else(|_| format!("{value:?}"))
}
