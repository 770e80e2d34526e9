//! What the adapters share and no runtime is needed for: the clock, the seed, the hub behind its
//! mutex, the background thread, and the links that carry commands out.
//!
//! Users never name this crate: `lock-tokio`, `lock-async-std` and `lock-blocking` show what is
//! meant for them.
//!
//! **Who waits, drives.** A caller carries out the requests of its own lock, in [`Client`]'s
//! methods, on its own thread; it registers a waker only when there is nothing left to do but wait.
//! What nobody waits for is driven by the one background thread of the process, which is started
//! when the first deadline or watched file needs it.

#[cfg(not(unix))]
compile_error!("distributed-lock needs a Unix system; it is tested on Linux");

mod attendance;
mod background;
mod client;
mod clock;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod crowds;
mod engine;
mod few;
mod link;
mod loss;
mod memory;
mod pending;
mod target;
mod url;

#[cfg(any(feature = "file", feature = "postgres", feature = "redis"))]
mod seeds;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod timer;

#[cfg(feature = "file")]
mod file;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;

pub use client::{Acquired, Address, Client, Status};
pub use clock::{Clock, ManualClock};
pub use loss::Loss;
pub use memory::Memory;
pub use pending::Pending;
pub use target::{Acquisition, Attended, Target, tried};
pub use url::{Endpoint, SecretUrl};

#[cfg(feature = "file")]
pub use file::{FileOptions, Files, open as open_files};
#[cfg(any(feature = "postgres", feature = "redis"))]
pub use timer::{Sleep, Timers};
