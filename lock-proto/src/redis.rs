//! Locks on Redis.
//!
//! On one server [`ServerLock`] takes a free lock with plain commands and stands in a queue beside
//! a held one; whoever gives it back hands it on in the same script, and the next holder hears of
//! it in its client's inbox. On several, [`RedLock`] wins the votes of a majority at one ballot, which
//! is the fencing token, and [`Slots`] makes a semaphore of such locks. The rules were model-checked
//! before they were built, and are named R1 to R23 where they are kept: one token per acquisition
//! (R1), validity counted from the request (R2), lost is final (R3), no lease is ever shortened (R4).

mod call;
mod cohort;
mod doctor;
mod keys;
mod leaving;
mod lock;
mod options;
mod phase;
mod quorum;
mod redlock;
mod refreshes;
mod round_trip;
mod server_lock;
mod slots;
mod token;
mod words;

pub use call::{
    CLAIM, Command, LIVENESS, Message, Reply, SCRIPTS, Script, ScriptCall, Side, Verb, inbox,
};
pub use cohort::{Cohort, FENCES};
pub use doctor::{Arrangement, ClockReading, Finding, Reading, examine};
pub use keys::{Keys, slot};
pub use lock::RedisLock;
pub use options::RedisOptions;
pub use quorum::MAX_SERVERS;
pub use redlock::RedLock;
pub use round_trip::RoundTrip;
pub use server_lock::ServerLock;
pub use slots::Slots;
pub use token::Token;
pub use words::Words;
