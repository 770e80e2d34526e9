//! Locks on PostgreSQL: advisory locks, which a session or a transaction of the server holds.
//!
//! An [`AdvisoryKey`] is what the server knows a lock by.

mod key;

pub use key::AdvisoryKey;
