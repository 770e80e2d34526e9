//! Locks on PostgreSQL: what all runtimes have in common, which is everything but the network.

#![expect(dead_code, reason = "the sessions that connect are to come")]

mod certificate;
mod connect;
mod fault;
mod network;
mod setup;
mod targets;
mod tls;
mod url;

pub use network::{Job, Network, Peer, SocketSettings, Stream};
pub use setup::{PostgresPlan, PostgresSetup};
