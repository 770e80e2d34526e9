//! A network that misbehaves: what stands between a client and a server.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};

use super::Server;

/// The one instruction of a filter: it returns a constant.
const BPF_RETURN: u16 = 0x06;

/// What no server says.
const GARBAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

/// How long a server's kernel may take to accept, which even a paused server's does at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An address of this machine at which no server listens.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What a [`Proxy`] does with connections and with what passes over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Passes everything on.
    #[default]
    Pass,
    /// Closes new connections at once; those that are open go on.
    Refuse,
    /// Accepts connections and never answers. What is sent meanwhile is lost, and the connection it
    /// was sent on stays dead.
    BlackHole,
    /// Passes requests on and loses the answers; the connections they were lost on stay without
    /// any.
    LoseAnswers,
    /// Passes requests on and keeps the answers back, until the mode changes.
    HoldAnswers,
    /// Answers every request with what no server says, and passes nothing on.
    Garbage,
}

/// A port that leads to a server, through a network of which a test decides; closed when dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    url: String,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    request_delay: Duration,
    answer_delay: Duration,
    accepted: u64,
    /// Both ends of each connection, by the number it was accepted as.
    open: BTreeMap<u64, Vec<TcpStream>>,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// What becomes of some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Lose,
    Replace,
}

impl Proxy {
    /// Opens a port that leads to a server.
    ///
    /// # Panics
    ///
    /// If no port is left.
    #[must_use = "a proxy is closed with its value"]
    pub fn to(server: &Server) -> Self {
        Self::to_port(server.port(), |address| server.url_at(address))
    }

    /// Opens a port that leads to another port of this machine, with the URL that a client needs
    /// to reach the server through the proxy's address.
    ///
    /// # Panics
    ///
    /// If no port is left.
    #[must_use = "a proxy is closed with its value"]
    pub fn to_port(port: u16, url_at: impl FnOnce(&str) -> String) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), port, url_at)
    }

    /// Opens the port that a server has, at [`ELSEWHERE`]: so a node of a cluster can tell clients
    /// to come by here, and the other nodes not.
    ///
    /// # Panics
    ///
    /// If somebody else has that port there.
    #[must_use = "a proxy is closed with its value"]
    pub fn in_front_of(server: &Server) -> Self {
        let port = server.port();
        Self::at((ELSEWHERE, port).into(), port, |address| server.url_at(address))
    }

    fn at(here: SocketAddr, port: u16, url_at: impl FnOnce(&str) -> String) -> Self {
        let listener = TcpListener::bind(here).expect("a port is left");
        let address = listener.local_addr().expect("the listener is bound");
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let state = Mutex::default();
        let shared = Arc::new(Shared { server: target, state, changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        let listener = Some(thread::spawn(move || accepting.accept(&listener)));
        Self { shared, address, url: url_at(&address.to_string()), listener }
    }

    /// Changes what becomes of everything from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.state().mode = mode;
        self.shared.changed.notify_all();
    }

    /// Delays what is sent from now on by so much in each direction.
    pub fn delay(&self, requests: Duration, answers: Duration) {
        let mut state = self.shared.state();
        state.request_delay = requests;
        state.answer_delay = answers;
    }

    /// Cuts all connections that are open; new ones are accepted.
    pub fn cut(&self) {
        for stream in self.shared.state().open.values().flatten() {
            // One that the other side has closed already is as cut as can be.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Pulls the plug on all connections that are open: from now on nothing that either end sends
    /// on them is even acknowledged. New ones are accepted.
    ///
    /// # Panics
    ///
    /// If the kernel knows no filters.
    pub fn unplug(&self) {
        // A packet of which nothing is accepted was never there.
        let nothing = [SockFilter::new(BPF_RETURN, 0, 0, 0)];
        for stream in self.shared.state().open.values().flatten() {
            SockRef::from(stream).attach_filter(&nothing).expect("a socket has a filter");
        }
    }

    /// The server's URL, with this port instead.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The host and the port.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections there have been, refused ones too.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.state().accepted
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().open.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        // The thread that accepts looks at the state with each connection only.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            // If it panicked, that was printed.
            let _ = listener.join();
        }
        self.cut();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            let Some((number, mode)) = self.count() else { return };
            let server = match mode {
                Mode::Refuse => continue,
                // Whoever meets a black hole does not learn whether the server runs.
                Mode::BlackHole | Mode::Garbage => None,
                Mode::Pass | Mode::LoseAnswers | Mode::HoldAnswers => {
                    let server = TcpStream::connect_timeout(&self.server, CONNECT_TIMEOUT);
                    let Ok(server) = server else { continue };
                    Some(server)
                }
            };
            let ends = [Some(&client), server.as_ref()].into_iter().flatten();
            self.state().open.insert(number, ends.map(duplicate).collect());
            let shared = Arc::clone(self);
            thread::spawn(move || shared.serve(number, client, server));
        }
    }

    /// Counts a connection and tells how it is to be met, unless there shall be no more.
    fn count(&self) -> Option<(u64, Mode)> {
        let mut state = self.state();
        state.accepted += 1;
        (!state.closed).then_some((state.accepted, state.mode))
    }

    /// Serves one connection until either side closes it.
    fn serve(&self, number: u64, client: TcpStream, server: Option<TcpStream>) {
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            // Otherwise small writes would wait for each other's acknowledgement.
            let _ = stream.set_nodelay(true);
        }
        thread::scope(|scope| {
            if let Some(server) = &server {
                scope.spawn(|| self.carry(Direction::Answer, server, Some(&client), &client));
            }
            self.carry(Direction::Request, &client, server.as_ref(), &client);
        });
        self.state().open.remove(&number);
    }

    /// Carries bytes in one direction until there are no more, and then closes both ends.
    fn carry(&self, way: Direction, from: &TcpStream, to: Option<&TcpStream>, client: &TcpStream) {
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut dead = to.is_none();
                for (due, bytes) in receiver {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let written = match self.fate(way) {
                        Fate::Replace => {
                            dead = true;
                            write(client, GARBAGE)
                        }
                        Fate::Lose => {
                            dead = true;
                            true
                        }
                        Fate::Pass => dead || to.is_none_or(|to| write(to, &bytes)),
                    };
                    if !written {
                        break;
                    }
                }
            });
            let mut buffer = [0; 16 * 1024];
            while let Some(count) = read(from, &mut buffer) {
                let due = Instant::now() + self.delay(way);
                if sender.send((due, buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
            drop(sender);
        });
        for stream in [Some(from), to].into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What becomes of bytes that arrive now; those that are held wait here.
    fn fate(&self, way: Direction) -> Fate {
        let held = |state: &mut State| {
            state.mode == Mode::HoldAnswers && way == Direction::Answer && !state.closed
        };
        let state = self.changed.wait_while(self.state(), held);
        match (state.unwrap_or_else(PoisonError::into_inner).mode, way) {
            (Mode::Pass | Mode::Refuse | Mode::HoldAnswers, _) => Fate::Pass,
            (Mode::LoseAnswers, Direction::Request) => Fate::Pass,
            (Mode::Garbage, Direction::Request) => Fate::Replace,
            (Mode::BlackHole, _) | (Mode::LoseAnswers | Mode::Garbage, Direction::Answer) => {
                Fate::Lose
            }
        }
    }

    fn delay(&self, way: Direction) -> Duration {
        let state = self.state();
        match way {
            Direction::Request => state.request_delay,
            Direction::Answer => state.answer_delay,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn duplicate(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor is left")
}

fn write(mut to: &TcpStream, bytes: &[u8]) -> bool {
    to.write_all(bytes).is_ok()
}

fn read(mut from: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match from.read(buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
