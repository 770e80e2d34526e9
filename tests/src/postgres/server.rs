//! One server.

use std::fmt;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postgres::Error;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::installation::{directory, give_away, make_data, program};
use super::options::{Certificate, PostgresOptions, Primary};
use super::seen::{AdvisoryLock, Backend};
use super::session::{Rows, Session};
use super::{ADMIN, USER};
use crate::process::{free_port, open_log, read_log};
use crate::redis::{PATIENCE, Proxy, eventually};

/// How many ports are tried if somebody else takes each before the server does.
const PORT_ATTEMPTS: usize = 20;

const POLL_PAUSE: Duration = Duration::from_millis(5);

const LOG: &str = "postgres.log";

/// A PostgreSQL server of its own, killed when the value is dropped.
pub struct PostgresServer {
    options: PostgresOptions,
    directory: TempDir,
    port: u16,
    process: Mutex<Option<Child>>,
    admin: Mutex<Option<Arc<Session>>>,
}

/// Why a server did not start.
enum StartError {
    PortTaken,
    Failed(String),
}

impl PostgresServer {
    /// Starts a server that lets [`USER`] in without a password.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    #[must_use = "a server dies with its value"]
    pub fn start() -> Self {
        Self::start_with(PostgresOptions::new())
    }

    /// Starts a server, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    #[must_use = "a server dies with its value"]
    pub fn start_with(options: PostgresOptions) -> Self {
        let directory = directory();
        let (process, admin) = (Mutex::new(None), Mutex::new(None));
        let mut server = Self { options, directory, port: 0, process, admin };
        server.prepare();
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port();
            match server.launch() {
                Ok(()) => {
                    server.make_roles();
                    return server;
                }
                Err(StartError::PortTaken) => {}
                Err(StartError::Failed(log)) => panic!("postgres did not start:\n{log}"),
            }
        }
        panic!("{PORT_ATTEMPTS} ports in a row were taken by others");
    }

    /// Kills the server and all its sessions as a power failure would, and waits until they are
    /// gone. Clients find their connections closed, and are told nothing.
    pub fn kill(&self) {
        *self.admin() = None;
        let Some(mut child) = self.process().take() else { return };
        let main = pid_of(child.id());
        // While it stands still, it can neither start sessions nor free the numbers of dead ones.
        signal(main, Signal::STOP);
        let sessions = children_of(main);
        sessions.iter().for_each(|session| signal(*session, Signal::KILL));
        eventually("dead sessions", || sessions.iter().all(|pid| is_dead(*pid)).then_some(()));
        child.kill().expect("a child may be killed");
        child.wait().expect("a child may be waited for");
        self.free_shared_memory();
    }

    /// Shuts the server down as an administrator does who doesn't wait for the clients; they are
    /// told. Returns when the server is gone.
    pub fn shut_down(&self) {
        let Some(mut child) = self.process().take() else { return };
        *self.admin() = None;
        signal(pid_of(child.id()), Signal::INT);
        child.wait().expect("a child may be waited for");
    }

    /// Starts the server again on its port, killing it first if it runs. Nothing was lost but the
    /// sessions and their locks.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    pub fn restart(&self) {
        self.kill();
        eventually("a server on its old port", || match self.launch() {
            Ok(()) => Some(()),
            Err(StartError::PortTaken) => None,
            Err(StartError::Failed(log)) => panic!("postgres did not start again:\n{log}"),
        });
    }

    /// Stops all processes: connections stay open, new ones are accepted by the kernel, and nothing
    /// is answered.
    ///
    /// # Panics
    ///
    /// If the server was killed.
    pub fn pause(&self) {
        let main = pid_of(self.pid());
        signal(main, Signal::STOP);
        children_of(main).into_iter().for_each(|session| signal(session, Signal::STOP));
    }

    /// Lets a paused server go on, with whatever it was sent meanwhile.
    ///
    /// # Panics
    ///
    /// If the server was killed.
    pub fn resume(&self) {
        let main = pid_of(self.pid());
        children_of(main).into_iter().for_each(|session| signal(session, Signal::CONT));
        signal(main, Signal::CONT);
    }

    /// Where [`USER`] finds the database, over TCP.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for(USER, USER)
    }

    /// Where a user finds a database, over TCP; with the password, if the server demands one.
    #[must_use]
    pub fn url_for(&self, user: &str, database: &str) -> String {
        let credentials = self.options.credentials(user);
        let end = self.options.url_end();
        format!("postgres://{credentials}@{}/{database}{end}", self.address())
    }

    /// Where [`USER`] finds the database at another address, such as a proxy's.
    #[must_use]
    pub fn url_at(&self, address: &str) -> String {
        format!("postgres://{USER}@{address}/{USER}{}", self.options.url_end())
    }

    /// Where [`USER`] finds the database, over the Unix socket.
    #[must_use]
    pub fn unix_url(&self) -> String {
        let socket = self.unix_directory().display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}:{}/{USER}", self.port)
    }

    /// A port that leads to this server, through a network of which a test decides.
    #[must_use = "a proxy is closed with its value"]
    pub fn proxy(&self) -> Proxy {
        Proxy::to_port(self.port, |address| self.url_at(address))
    }

    /// The host and the port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port, which a restart does not change.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket.
    #[must_use]
    pub fn unix_directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.log_path())
    }

    /// The process to which all others belong.
    ///
    /// # Panics
    ///
    /// If it was killed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("the server was killed").id()
    }

    /// The rows that some statements answer to a user who may do everything, in [`USER`]'s
    /// database.
    ///
    /// # Panics
    ///
    /// If the server refuses them.
    pub fn psql(&self, sql: &str) -> Rows {
        self.try_psql(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The same, if the server might refuse.
    ///
    /// # Errors
    ///
    /// Whatever the server answers, and if it doesn't.
    pub fn try_psql(&self, sql: &str) -> Result<Rows, Error> {
        let admin = self.admin().clone();
        if let Some(session) = admin {
            let result = session.ask(sql);
            if !result.as_ref().is_err_and(is_over) {
                return result;
            }
        }
        let session = Arc::new(self.admin_session()?);
        *self.admin() = Some(Arc::clone(&session));
        session.ask(sql)
    }

    /// A session of [`USER`] over the Unix socket, which knows nothing of these locks.
    ///
    /// # Panics
    ///
    /// If the server is not there.
    #[must_use = "a session is closed with its value"]
    pub fn session(&self) -> Session {
        Session::connect(&self.place(USER, "psql")).expect("the server is there")
    }

    /// The sessions of clients, this fixture's own aside, in the order in which they began.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        let sql = format!(
            "SELECT {} FROM pg_stat_activity WHERE backend_type = 'client backend' \
             AND usename <> '{ADMIN}' ORDER BY backend_start, pid",
            Backend::COLUMNS
        );
        self.psql(&sql).into_iter().map(Backend::parse).collect()
    }

    /// The advisory locks that are held or waited for, in any database, in the order of their keys.
    #[must_use]
    pub fn advisory_locks(&self) -> Vec<AdvisoryLock> {
        let columns = AdvisoryLock::COLUMNS;
        let sql = format!("SELECT {columns} FROM pg_locks WHERE locktype = 'advisory'");
        let mut locks: Vec<AdvisoryLock> =
            self.psql(&sql).into_iter().map(AdvisoryLock::parse).collect();
        locks.sort_unstable();
        locks
    }

    /// Ends a session, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If there is no such session, or it stays.
    pub fn terminate(&self, pid: u32) {
        let done = self.psql(&format!("SELECT pg_terminate_backend({pid})"));
        assert_eq!(done, [["t"]], "no session {pid}");
        eventually("a session that has ended", || {
            let left = self.psql(&format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"));
            left.is_empty().then_some(())
        });
    }

    /// Cancels what a session does. It may have ended before that takes effect.
    pub fn cancel(&self, pid: u32) {
        self.psql(&format!("SELECT pg_cancel_backend({pid})"));
    }

    /// Who may log in over TCP, and with which password.
    pub(super) fn credentials(&self) -> Vec<(String, String)> {
        let user = (USER.to_owned(), String::new());
        iter::once(user).chain(self.options.roles().iter().cloned()).collect()
    }

    fn prepare(&self) {
        let data = self.data();
        match self.options.primary() {
            Some(primary) => copy_primary(primary, &data),
            None => make_data(&data),
        }
        if let Some(Certificate { authority, certificate, key }) = self.options.certificate() {
            let files =
                [(authority, "authority.pem"), (certificate, "server.pem"), (key, "server.key")];
            for (source, name) in files {
                let contents = fs::read(source).expect("the certificates outlive this");
                write(&data.join(name), &contents);
            }
        }
        write(&data.join("postgresql.conf"), self.options.settings().as_bytes());
        write(&data.join("pg_hba.conf"), self.options.access().as_bytes());
    }

    fn make_roles(&self) {
        // A standby has those of its primary.
        if self.options.primary().is_none() {
            for (name, password) in self.options.roles() {
                self.psql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"));
            }
        }
    }

    fn launch(&self) -> Result<(), StartError> {
        let start = Instant::now();
        let log = open_log(&self.log_path());
        let said_before = log.metadata().expect("the log is open").len();
        let (data, socket, port) = (self.data(), self.unix_directory(), self.port.to_string());
        let arguments = ["-D".as_ref(), data.as_os_str(), "-k".as_ref(), socket.as_os_str()];
        let port = ["-p".as_ref(), port.as_ref()];
        // It frees its shared memory if it ends so.
        let postgres = program("postgres").with_death_signal("QUIT");
        let child = postgres.start(socket, &[&arguments[..], &port].concat(), log);
        *self.process() = Some(child);
        let said = || self.log().split_off(said_before as usize);
        loop {
            let running = self.process().as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)));
            if !running {
                *self.process() = None;
                let taken = said().contains("Address already in use");
                return Err(if taken { StartError::PortTaken } else { StartError::Failed(said()) });
            }
            if let Ok(session) = self.admin_session() {
                *self.admin() = Some(Arc::new(session));
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                self.kill();
                return Err(StartError::Failed(said()));
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    fn admin_session(&self) -> Result<Session, Error> {
        Session::connect(&self.place(ADMIN, ADMIN))
    }

    fn place(&self, user: &str, application: &str) -> String {
        let socket = self.unix_directory().display();
        format!(
            "host={socket} port={} user={user} dbname={USER} application_name={application}",
            self.port
        )
    }

    /// A server that is killed leaves a segment of a few bytes, by which the next one on the same
    /// data would know that it runs.
    fn free_shared_memory(&self) {
        let lock = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let segment = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(segment) = segment {
            let mut ipcrm = Command::new("ipcrm");
            ipcrm.args(["-m", segment]).stdin(Stdio::null()).stderr(Stdio::null());
            // It may have been freed.
            let _ = ipcrm.status();
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join(LOG)
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admin(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Whether there will be no more answers on the session.
fn is_over(error: &Error) -> bool {
    error.is_closed() || error.code().is_some_and(|state| state.code().starts_with("57P"))
}

fn copy_primary(primary: &Primary, data: &Path) {
    let (socket, port) = (primary.socket.as_os_str(), primary.port.to_string());
    let place =
        ["-h".as_ref(), socket, "-p".as_ref(), port.as_ref(), "-U".as_ref(), ADMIN.as_ref()];
    let what = ["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"].map(AsRef::as_ref);
    let to = [data.as_os_str()];
    let directory = data.parent().expect("it is in the server's directory");
    program("pg_basebackup").run(directory, &[&place[..], &what, &to].concat(), "");
}

fn write(path: &Path, contents: &[u8]) {
    fs::write(path, contents).expect("the directory is ours");
    give_away(path);
}

fn children_of(main: Pid) -> Vec<Pid> {
    let main = main.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"));
    let children = children.expect("the kernel lists the children of a process");
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Whether a process has ended, waited for or not.
fn is_dead(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let state =
        status.ok().and_then(|line| line.rsplit_once(") ").map(|(_, rest)| rest.to_owned()));
    state.is_none_or(|rest| rest.starts_with(['Z', 'X']))
}

fn pid_of(number: u32) -> Pid {
    number.try_into().ok().and_then(Pid::from_raw).expect("a child has a number")
}

/// Sends a signal, unless the process has ended by itself.
fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}
