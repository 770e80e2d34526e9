//! A PostgreSQL server of the bench's own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

/// PostgreSQL refuses to run as root; this user owns nothing.
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing that is written to disk has to do with advisory locks.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 400
shared_buffers = '32MB'
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
";

/// Runs until the value is dropped.
pub struct Postgres {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Postgres {
    /// Starts a server, if PostgreSQL is installed.
    pub fn start() -> Option<Self> {
        let programs = ["initdb", "postgres"];
        if !programs.iter().all(|program| version(program).is_some()) {
            return None;
        }
        let directory =
            TempDir::with_prefix("postgres-").expect("the temporary directory is there");
        let data = directory.path().join("data");
        if geteuid().is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("root may do that");
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))
            .expect("the directory is ours");
        let mut initdb = unprivileged("initdb", directory.path());
        initdb.args(["--auth", "trust", "--username", "bench", "--no-sync", "--pgdata"]).arg(&data);
        let made = initdb.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(made.is_ok_and(|status| status.success()), "initdb failed");
        fs::write(data.join("postgresql.auto.conf"), SETTINGS).expect("the directory is ours");
        let port = free_port();
        let mut postgres = unprivileged("postgres", directory.path());
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k"]).arg(directory.path());
        let process = postgres.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut server = Self { directory, port, process: process.expect("it was found before") };
        server.wait_until_ready();
        Some(server)
    }

    /// Keeps the sessions that begin from now on to `core`, until the value is dropped.
    pub fn confine(&self, core: &CpuSet) -> Confined {
        let process = Pid::from_child(&self.process);
        let everywhere = sched_getaffinity(Some(process)).expect("the server runs");
        sched_setaffinity(Some(process), core).expect("the server is ours");
        Confined { process, everywhere }
    }

    /// Where it is, as all clients read it.
    pub fn url(&self) -> String {
        format!("postgres://bench@127.0.0.1:{}/postgres", self.port)
    }

    fn wait_until_ready(&mut self) {
        let output = self.process.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains("ready to accept connections"));
        assert!(ready, "PostgreSQL did not start in {}", self.directory.path().display());
        // It must not wait for somebody to read what it has to say.
        thread::spawn(move || lines.for_each(drop));
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.process.id().try_into().ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }
}

/// A server whose new sessions stay on one core.
pub struct Confined {
    process: Pid,
    everywhere: CpuSet,
}

impl Drop for Confined {
    fn drop(&mut self) {
        sched_setaffinity(Some(self.process), &self.everywhere).expect("the server is ours");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children go with it, and its shared memory.
        self.signal(Signal::QUIT);
        let started = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if started.elapsed() > PATIENCE {
                self.signal(Signal::KILL);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn version(program: &str) -> Option<()> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok().filter(|status| status.success()).map(|_| ())
}

fn unprivileged(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null()).env("LC_ALL", "C");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is left");
    listener.local_addr().expect("it is bound").port()
}
