//! One server.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult, Value};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;
use super::options::{ADMIN, ServerOptions};
use super::{PATIENCE, eventually, text};
use crate::process::{Program, free_port, open_log, read_log};
use crate::root::Root;

/// How many ports are tried if somebody else takes each before the server does.
const PORT_ATTEMPTS: usize = 20;

/// How long the fixture's own commands may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

const CONFIGURATION: &str = "redis.conf";
const LOG: &str = "redis.log";
const SOCKET: &str = "redis.sock";

/// A redis-server of its own, killed when the value is dropped.
pub struct Server {
    options: ServerOptions,
    directory: TempDir,
    port: u16,
    process: Mutex<Option<Child>>,
    admin: Mutex<Option<Connection>>,
}

/// Why a server did not start.
enum StartError {
    PortTaken,
    Failed(String),
}

impl Server {
    /// Starts a server without password that keeps nothing on disk.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    #[must_use = "a server dies with its value"]
    pub fn start() -> Self {
        Self::start_with(ServerOptions::new())
    }

    /// Starts a server, and waits until it answers and, as a replica, has caught up.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    #[must_use = "a server dies with its value"]
    pub fn start_with(options: ServerOptions) -> Self {
        let directory = TempDir::with_prefix_in("", root()).expect("the directory is there");
        let (process, admin) = (Mutex::new(None), Mutex::new(None));
        let mut server = Self { options, directory, port: 0, process, admin };
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port();
            server.configure();
            match server.launch() {
                Ok(()) => {
                    if server.options.is_replica() {
                        server.wait_until_synchronised();
                    }
                    return server;
                }
                Err(StartError::PortTaken) => {}
                Err(StartError::Failed(log)) => panic!("redis-server did not start:\n{log}"),
            }
        }
        panic!("{PORT_ATTEMPTS} ports in a row were taken by others");
    }

    /// Kills the server as a power failure would, and waits until it is gone.
    pub fn kill(&self) {
        *self.admin() = None;
        if let Some(mut child) = self.process().take() {
            child.kill().expect("a child may be killed");
            child.wait().expect("a child may be waited for");
        }
    }

    /// Starts the server again on its port, killing it first if it runs. It knows what it wrote to
    /// disk.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    pub fn restart(&self) {
        self.kill();
        eventually("a server on its old port", || match self.launch() {
            Ok(()) => Some(()),
            Err(StartError::PortTaken) => None,
            Err(StartError::Failed(log)) => panic!("redis-server did not start again:\n{log}"),
        });
    }

    /// Starts the server again on its port, having deleted everything it wrote.
    ///
    /// # Panics
    ///
    /// If it does not answer, with what it said.
    pub fn restart_empty(&self) {
        self.kill();
        for entry in fs::read_dir(self.directory()).expect("the directory is there") {
            let path = entry.expect("the directory can be read").path();
            let deleted =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            deleted.expect("the files are ours");
        }
        self.configure();
        self.restart();
    }

    /// Stops the process: connections stay open, new ones are accepted by the kernel, and nothing
    /// is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on, with whatever it was sent meanwhile.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The URL, with credentials if clients need any.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(&self.address())
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

    /// The Unix socket, on which all servers listen as well.
    #[must_use]
    pub fn unix_socket(&self) -> PathBuf {
        self.directory().join(SOCKET)
    }

    /// Where the server keeps its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server has said so far, since its directory was last emptied.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.directory().join(LOG))
    }

    /// The process.
    ///
    /// # Panics
    ///
    /// If it was killed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("the server was killed").id()
    }

    /// Whether the process was started and not killed since; a paused one runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process().is_some()
    }

    /// Carries out a command as a user who may do everything, within five seconds.
    ///
    /// # Errors
    ///
    /// Whatever the server answers, and if it doesn't.
    pub fn command(&self, words: &[&str]) -> RedisResult<Value> {
        let mut admin = self.admin();
        let fresh = admin.is_none();
        let result = self.command_over(&mut admin, words);
        let Err(error) = &result else { return result };
        let dropped = error.is_connection_dropped();
        // As it is when this process is stopped for a while.
        let interrupted = error.is_io_error() && !error.is_timeout() && !dropped;
        let again = dropped && !fresh || interrupted;
        if again { self.command_over(&mut admin, words) } else { result }
    }

    /// Connects as a user who may do everything, over the Unix socket. Commands on the connection
    /// wait without bound unless it is told otherwise.
    ///
    /// # Errors
    ///
    /// If the server does not answer within five seconds.
    pub fn connection(&self) -> RedisResult<Connection> {
        let socket = self.unix_socket();
        let url = format!("redis+unix://{}?user={ADMIN}&pass={ADMIN}", socket.display());
        redis::Client::open(url)?.get_connection_with_timeout(COMMAND_TIMEOUT)
    }

    /// How often each command was carried out since the statistics were last reset, this fixture's
    /// own `INFO` and `CONFIG RESETSTAT` aside. Names are lower case, with a `|` before the second
    /// word of two: `client|setinfo`.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    #[must_use]
    pub fn commands_sent(&self) -> BTreeMap<String, u64> {
        let own = ["info", "config|resetstat"];
        let statistics = self.info("commandstats").into_iter().filter_map(|(key, counters)| {
            let name = key.strip_prefix("cmdstat_")?;
            let calls = counters.split(',').find_map(|part| part.strip_prefix("calls="))?;
            Some((name.to_owned(), calls.parse().expect("Redis counts in decimals")))
        });
        statistics.filter(|(name, _)| !own.contains(&name.as_str())).collect()
    }

    /// Begins to count commands anew.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub fn reset_statistics(&self) {
        self.command(&["CONFIG", "RESETSTAT"]).expect("the server answers");
    }

    /// The fields of a section of `INFO`.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    #[must_use]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let answer = text(&self.command(&["INFO", section]).expect("the server answers"));
        let fields = answer.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// The clients that are connected, this fixture's own aside.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        let answer = text(&self.command(&["CLIENT", "LIST"]).expect("the server answers"));
        answer.lines().map(Client::parse).filter(|client| client.user != ADMIN).collect()
    }

    /// Waits until a replica has everything its master had when it connected.
    ///
    /// # Panics
    ///
    /// If that doesn't happen.
    pub fn wait_until_synchronised(&self) {
        eventually("a replica that has caught up", || {
            let link = self.info("replication").remove("master_link_status");
            (link.as_deref() == Some("up")).then_some(())
        });
    }

    /// The URL of this server at another address, such as a proxy's.
    pub(super) fn url_at(&self, address: &str) -> String {
        format!("{}{address}", self.options.url_start())
    }

    fn configure(&self) {
        let text = self.options.configuration(&self.unix_socket(), self.port);
        let path = self.directory().join(CONFIGURATION);
        fs::write(path, text).expect("the directory is ours");
    }

    fn launch(&self) -> Result<(), StartError> {
        let start = Instant::now();
        let log = open_log(&self.directory().join(LOG));
        let said_before = log.metadata().expect("the log is open").len();
        let arguments = [&[CONFIGURATION], self.options.arguments()].concat();
        let redis = Program::find("redis-server", "redis-server", &[]);
        *self.process() = Some(redis.start(self.directory(), &arguments, log));
        let said = || self.log().split_off(said_before as usize);
        loop {
            let running = self.process().as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)));
            if !running {
                *self.process() = None;
                let taken = said().contains("Address already in use");
                return Err(if taken { StartError::PortTaken } else { StartError::Failed(said()) });
            }
            if self.command(&["PING"]).is_ok() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                self.kill();
                return Err(StartError::Failed(said()));
            }
            std::thread::sleep(super::POLL_PAUSE);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().try_into().ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a number"), signal).expect("a child takes signals");
    }

    fn command_over(&self, admin: &mut Option<Connection>, words: &[&str]) -> RedisResult<Value> {
        let mut connection = match admin.take() {
            Some(connection) => connection,
            None => self.connection()?,
        };
        connection.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        connection.set_write_timeout(Some(COMMAND_TIMEOUT))?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        let result = command.query(&mut connection);
        if !result.as_ref().is_err_and(|error| error.is_io_error()) {
            *admin = Some(connection);
        }
        result
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admin(&self) -> MutexGuard<'_, Option<Connection>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where all servers of this process are, deleted when it ends.
fn root() -> &'static Path {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| Root::new("redis-")).path()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("port", &self.port).finish_non_exhaustive()
    }
}
