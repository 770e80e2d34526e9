//! The least that many threads can do that ask one Redis server.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::subjects::redis_floor::{COMPARE_AND_DELETE, LEASE_MS, fresh_token};
use crate::workload::BlockingLockable;

/// More commands than this are not written in one piece.
const MOST_ABOARD: usize = 128;

/// `SET NX PX` and the `INCR` of a fence, and a script that compares and deletes, for one of the keys of
/// threads that share a connection: a thread for each key.
///
/// Whoever asks adds its bytes to what is written next, and writes it if nothing is unanswered or the
/// piece is full. One thread reads, and wakes all whose requests were written together by one system
/// call. There is no client library, no lease is watched, and answers are only looked at for whether
/// they are the usual ones. What is left is that a cycle has two requests, and a thread that waits for
/// an answer is taken from its processor and woken: that is most of the time.
pub struct Pieces {
    wire: Arc<Wire>,
    key: String,
    fence: String,
}

/// The connection, shut down with the last who has it.
struct Wire {
    stream: TcpStream,
    script: String,
    traffic: Arc<Traffic>,
}

struct Traffic {
    out: Mutex<TcpStream>,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    piece: Arc<Piece>,
    aboard: usize,
    unanswered: VecDeque<(Arc<Piece>, usize)>,
}

/// Requests that are written together, and those who wait for the answers.
#[derive(Default)]
struct Piece {
    answered: Mutex<bool>,
    heard: Condvar,
}

impl Pieces {
    /// So many keys on one connection to the server at `address`.
    pub fn connect(address: &str, count: usize) -> Vec<Arc<Self>> {
        let wire = Arc::new(Wire::open(address));
        let piece = |number| {
            let key = format!("floor of threads {number}");
            let fence = format!("{key}: fence");
            Arc::new(Self { wire: Arc::clone(&wire), key, fence })
        };
        (0..count).map(piece).collect()
    }
}

impl BlockingLockable for Pieces {
    type Held = String;

    fn acquire(&self) -> String {
        let token = fresh_token();
        let lease = LEASE_MS.to_string();
        let set = ["SET", &self.key, &token, "NX", "PX", &lease];
        self.wire.traffic.ask(&[&set, &["INCR", &self.fence]]);
        token
    }

    fn release(&self, token: String) {
        self.wire.traffic.ask(&[&["EVALSHA", &self.wire.script, "1", &self.key, &token]]);
    }
}

impl Wire {
    fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server is up");
        stream.set_nodelay(true).expect("it is a socket");
        let clone = || stream.try_clone().expect("files can be opened");
        let (out, mut answers) = (Mutex::new(clone()), BufReader::new(clone()));
        let mut load = Vec::new();
        spell(&mut load, &["SCRIPT", "LOAD", COMPARE_AND_DELETE]);
        stream.write_all(&load).expect("the server is up");
        // A length, and that many bytes.
        let (mut length, mut script) = (String::new(), String::new());
        answers.read_line(&mut length).expect("the server is up");
        answers.read_line(&mut script).expect("the server is up");
        let script = script.trim_end().to_owned();
        let traffic = Arc::new(Traffic { out, gathered: Mutex::default() });
        let reading = Arc::clone(&traffic);
        thread::spawn(move || reading.read(answers));
        Self { stream, script, traffic }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Whoever reads ends with it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Traffic {
    /// Asks, and waits for the answers.
    fn ask(&self, commands: &[&[&str]]) {
        let mut gathered = self.gathered();
        commands.iter().for_each(|words| spell(&mut gathered.bytes, words));
        gathered.aboard += commands.len();
        let piece = Arc::clone(&gathered.piece);
        if gathered.unanswered.is_empty() || gathered.aboard >= MOST_ABOARD {
            self.write(gathered);
        } else {
            drop(gathered);
        }
        let answered = piece.answered.lock().expect("nobody panics");
        drop(piece.heard.wait_while(answered, |answered| !*answered).expect("nobody panics"));
    }

    /// Writes what is gathered, and lets others gather meanwhile.
    fn write(&self, mut gathered: MutexGuard<'_, Gathered>) {
        let bytes = std::mem::take(&mut gathered.bytes);
        let written = (std::mem::take(&mut gathered.piece), std::mem::take(&mut gathered.aboard));
        gathered.unanswered.push_back(written);
        let mut out = self.out.lock().expect("nobody panics");
        drop(gathered);
        out.write_all(&bytes).expect("the server is up");
    }

    fn read(&self, mut answers: BufReader<TcpStream>) {
        let mut line = String::new();
        while answers.read_line(&mut line).is_ok_and(|length| length > 0) {
            let front = self.gathered().unanswered.front().cloned();
            let (piece, count) = front.expect("it is an answer");
            for _ in 1..count {
                check(&mut line);
                answers.read_line(&mut line).expect("the server is up");
            }
            check(&mut line);
            let mut gathered = self.gathered();
            gathered.unanswered.pop_front();
            if gathered.aboard > 0 && gathered.unanswered.is_empty() {
                self.write(gathered);
            } else {
                drop(gathered);
            }
            *piece.answered.lock().expect("nobody panics") = true;
            piece.heard.notify_all();
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().expect("nobody panics")
    }
}

/// The lock was taken, or given back, or this is its fence.
fn check(answer: &mut String) {
    let usual = answer == "+OK\r\n" || answer.starts_with(':') && answer != ":0\r\n";
    assert!(usual, "{answer}");
    answer.clear();
}

/// Adds a command as it is written.
fn spell(bytes: &mut Vec<u8>, words: &[&str]) {
    let spelled = write!(bytes, "*{}\r\n", words.len()).and_then(|()| {
        words.iter().try_for_each(|word| write!(bytes, "${}\r\n{word}\r\n", word.len()))
    });
    spelled.expect("there is memory");
}
