//! Locks on Redis.
//!
//! On one server [`ServerLock`] takes a free lock with plain commands and stands in a queue beside
//! a held one; whoever gives it back hands it on in the same script, and the next holder hears of
//! it in its client's inbox. The rules are model-checked; each is named where it is kept.

mod call;
mod doctor;
mod keys;
mod leaving;
mod lock;
mod options;
mod quorum;
mod redlock;
mod refreshes;
mod round_trip;
mod server_lock;
mod slots;
mod token;

pub use call::{
    CLAIM, Command, LIVENESS, Message, Reply, SCRIPTS, Script, ScriptCall, Side, Verb, inbox,
};
pub use doctor::{Arrangement, ClockReading, Finding, Reading, Severity, examine};
pub use keys::{Keys, slot};
pub use lock::RedisLock;
pub use options::RedisOptions;
pub use quorum::MAX_SERVERS;
pub use redlock::RedLock;
pub use round_trip::RoundTrip;
pub use server_lock::ServerLock;
pub use slots::Slots;
pub use token::Token;
