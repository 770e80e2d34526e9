//! Children that don't outlive the test, and ports for them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;

use rustix::process::geteuid;

/// Below the ports that Linux gives to outgoing connections, so that a server that is down for a
/// while finds its port free; and with [`BUS_OFFSET`] added still.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 10_000;

/// A port of a cluster's node plus this is the port of its bus.
const BUS_OFFSET: u16 = 10_000;

/// The user who owns nothing.
pub(crate) const NOBODY: u32 = 65_534;

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// A program that is installed.
pub(crate) struct Program {
    path: PathBuf,
    death_signal: &'static str,
    unprivileged: bool,
}

impl Program {
    /// Looks for a program in the path and in some directories more.
    ///
    /// # Panics
    ///
    /// With the package that has it, if it is nowhere.
    pub(crate) fn find(name: &str, package: &str, beyond: &[PathBuf]) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut directories = std::env::split_paths(&path).chain(beyond.iter().cloned());
        let found = directories
            .find_map(|directory| Some(directory.join(name)).filter(|program| program.is_file()));
        let path = found.unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"));
        Self { path, death_signal: "KILL", unprivileged: false }
    }

    /// Runs it as a user who owns nothing, if it were run by root.
    pub(crate) fn unprivileged(mut self) -> Self {
        self.unprivileged = geteuid().is_root();
        self
    }

    /// Sends it another signal than `KILL` when this process dies.
    pub(crate) fn with_death_signal(mut self, signal: &'static str) -> Self {
        self.death_signal = signal;
        self
    }

    /// Starts it, its output appended to `log`.
    pub(crate) fn start(
        &self,
        directory: &Path,
        arguments: &[impl AsRef<OsStr>],
        log: File,
    ) -> Child {
        let mut command = self.command(directory);
        command.args(arguments);
        command.stderr(log.try_clone().expect("a descriptor is left")).stdout(log);
        spawn(command).expect("the program was found before")
    }

    /// Runs it to its end, with something on its standard input.
    ///
    /// # Panics
    ///
    /// If it fails, with what it said.
    pub(crate) fn run(&self, directory: &Path, arguments: &[impl AsRef<OsStr>], input: &str) {
        let mut file = tempfile::tempfile().expect("the temporary directory is there");
        io::Write::write_all(&mut file, input.as_bytes()).expect("the disk has room");
        io::Seek::rewind(&mut file).expect("a file can be read again");
        let mut command = self.command(directory);
        let output = command.args(arguments).stdin(file).output();
        let output = output.expect("the program was found before");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.path.display());
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = if dies_with_parent() {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", self.death_signal]);
            if self.unprivileged {
                let nobody = NOBODY.to_string();
                command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
            }
            command.arg(&self.path);
            command
        } else {
            let mut command = Command::new(&self.path);
            if self.unprivileged {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        command.current_dir(directory).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}

/// Panics unless there is a program.
pub(crate) fn require(program: &str, package: &str) {
    Program::find(program, package, &[]);
}

/// The log of a server in `directory`, to append to.
pub(crate) fn open_log(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("the directory is ours")
}

/// What a server has said in its log.
pub(crate) fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A port that nobody listens on and that was not given to anyone else in this process lately, nor
/// is the one of its bus taken.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let seed = (std::process::id() % u32::from(PORTS)) as u16;
        AtomicU16::new(seed.wrapping_mul(37))
    });
    (0..PORTS)
        .map(|_| FIRST_PORT + next.fetch_add(1, Ordering::Relaxed) % PORTS)
        .find(|port| is_free(*port) && is_free(*port + BUS_OFFSET))
        .expect("of ten thousand ports one is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Spawns from a thread that never ends: the signal on a parent's death is sent when the thread
/// ends that forked, and threads of tests are gone long before servers that tests share.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                answer.send(command.spawn()).expect("who orders waits for the answer");
            }
        });
        sender
    });
    let (answer, spawned) = mpsc::channel();
    spawner.send((command, answer)).expect("the spawner never ends");
    spawned.recv().expect("the spawner answers each order")
}

fn dies_with_parent() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--pdeathsig", "KILL", "true"]);
        setpriv.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        setpriv.status().is_ok_and(|status| status.success())
    })
}
