//! Real PostgreSQL servers for tests, sessions on them, and a pool before them.
//!
//! Every server listens on the loopback device and on a Unix socket, keeps everything in a
//! directory of its own and dies with its value, or with the process of the test. All of them know
//! the user of these fixtures, who may do everything over the Unix socket, and the ordinary user
//! [`USER`], who owns the database of the same name and needs no password.

mod installation;
mod options;
mod pgbouncer;
mod seen;
mod server;
mod session;

pub use options::PostgresOptions;
pub use pgbouncer::{PgBouncer, PoolMode};
pub use seen::{AdvisoryLock, Backend};
pub use server::PostgresServer;
pub use session::{Answer, Rows, Session};

/// The ordinary user, and the database that belongs to it.
pub const USER: &str = "locks";

/// The user who may do everything.
const ADMIN: &str = "fixture";
