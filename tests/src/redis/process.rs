//! Children that don't outlive the test, and ports for them.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;

/// Below the ports that Linux gives to outgoing connections, so that a server that is down for a
/// while finds its port free; and with [`BUS_OFFSET`] added still.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 10_000;

/// A port of a cluster's node plus this is the port of its bus.
const BUS_OFFSET: u16 = 10_000;

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a redis-server with a configuration, its output appended to `log`.
pub(super) fn start_redis(directory: &Path, arguments: &[&str], log: File) -> Child {
    require("redis-server", "redis-server");
    let mut command = if dies_with_parent() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        command
    } else {
        Command::new("redis-server")
    };
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.stderr(log.try_clone().expect("a descriptor is left")).stdout(log);
    spawn(command).expect("redis-server was found before")
}

/// Panics unless there is a program.
pub(super) fn require(program: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    assert!(found, "{program} is missing: apt-get install {package}");
}

/// A port that nobody listens on and that was not given to anyone else in this process lately, nor
/// is the one of its bus taken.
pub(super) fn free_port() -> u16 {
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
