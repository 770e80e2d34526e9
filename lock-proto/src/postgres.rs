//! Locks on PostgreSQL: advisory locks, which a session or a transaction of the server holds.
//!
//! An [`AdvisoryKey`] is what the server knows a lock by.

mod advisory;
mod call;
mod doctor;
mod key;
mod leaving;
mod lock;
mod own;
mod permits;
mod phase;
mod sessions;

pub use advisory::AdvisoryLock;
pub use call::{Command, Mode, PermitKeys, Permits, Reply, Subject, Verb};
pub use doctor::{EXAMINED, Fact, Finding, Reading, Scope, Usage, examine};
pub use key::AdvisoryKey;
pub use lock::PostgresLock;
pub use own::{Answer, Ground, Own, Turn};
pub use permits::PermitLock;
pub use sessions::{Place, PoolLimits, SeatId, SessionId, Sessions, Upkeep};
