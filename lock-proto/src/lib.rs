#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod backoff;
mod cohorts;
mod error;
mod event;
mod fault;
mod hub;
mod info;
mod lease;
mod machine;
mod name;
mod options;
mod outbox;
mod seed;
mod severity;
mod time;

pub mod file;
pub mod memory;
pub mod postgres;
pub mod redis;

pub use backoff::Backoff;
pub use error::LockError;
pub use event::{Event, LossReason};
pub use fault::{Fault, FaultKind};
pub use hub::{Hub, LockId, Progress, Succession};
pub use info::{Holder, LockInfo};
pub use lease::Terms;
pub use machine::{Machine, Request, RequestId};
pub use name::LockName;
pub use options::{AcquireOptions, Demand, Renewal};
pub use seed::{Jitter, Seed};
pub use severity::Severity;
pub use time::{Deadline, Instant, Timer};
