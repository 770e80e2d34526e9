//! A pool before a server.

use std::fmt;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::installation::{directory, give_away};
use super::{PostgresServer, USER};
use crate::process::{Program, free_port, open_log, read_log};
use crate::redis::PATIENCE;

const PORT_ATTEMPTS: usize = 20;
const POLL_PAUSE: Duration = Duration::from_millis(5);
const CONFIGURATION: &str = "pgbouncer.ini";
const USERS: &str = "users.txt";
const LOG: &str = "pgbouncer.log";

/// For how long a client keeps a session of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "PgBouncer has three modes")]
pub enum PoolMode {
    /// While it is connected.
    Session,
    /// For a transaction.
    Transaction,
    /// For a statement.
    Statement,
}

/// A PgBouncer before a server, killed when the value is dropped.
pub struct PgBouncer {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl PgBouncer {
    /// Starts a pool of at most `size` sessions for each user and database of a server, and waits
    /// until it listens. It asks for no passwords, and the server must not demand TLS.
    ///
    /// # Panics
    ///
    /// If it doesn't start, with what it said.
    #[must_use = "a pool dies with its value"]
    pub fn start(server: &PostgresServer, mode: PoolMode, size: u32) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let pool = Self::launch(server, mode, size);
            if let Some(pool) = pool {
                return pool;
            }
        }
        panic!("{PORT_ATTEMPTS} ports in a row were taken by others");
    }

    /// Where [`USER`] finds the database.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for(USER, USER)
    }

    /// Where a user finds a database.
    #[must_use]
    pub fn url_for(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@{}/{database}", self.address())
    }

    /// The host and the port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the pool has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.directory.path().join(LOG))
    }

    /// A pool on a free port, unless somebody else takes it first.
    fn launch(server: &PostgresServer, mode: PoolMode, size: u32) -> Option<Self> {
        let (directory, port) = (directory(), free_port());
        let users = server.credentials().into_iter();
        let users = users.map(|(name, password)| format!("\"{name}\" \"{password}\"\n")).collect();
        let settings = settings(server.port(), port, mode, size);
        for (name, text) in [(CONFIGURATION, settings), (USERS, users)] {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("the directory is ours");
            give_away(&path);
        }
        let log = open_log(&directory.path().join(LOG));
        // Debian keeps it where only root looks.
        let program = Program::find("pgbouncer", "pgbouncer", &[PathBuf::from("/usr/sbin")]);
        let process = program.unprivileged().start(directory.path(), &[CONFIGURATION], log);
        let mut pool = Self { directory, port, process };
        let start = Instant::now();
        while matches!(pool.process.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            if pool.log().contains("process up") && TcpStream::connect(pool.address()).is_ok() {
                return Some(pool);
            }
            thread::sleep(POLL_PAUSE);
        }
        let said = pool.log();
        assert!(said.contains("Address already in use"), "pgbouncer did not start:\n{said}");
        None
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBouncer").field("port", &self.port).finish_non_exhaustive()
    }
}

fn settings(server: u16, port: u16, mode: PoolMode, size: u32) -> String {
    let mode = match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    };
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {USERS}\n\
         pool_mode = {mode}\n\
         default_pool_size = {size}\n"
    )
}
