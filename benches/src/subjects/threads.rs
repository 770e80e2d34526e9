//! The least that threads can do that want one lock in turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};

use redis::{Client, Connection, Script};

use crate::subjects::redis_floor::{COMPARE_AND_DELETE, LEASE_MS, fresh_token};
use crate::workload::BlockingLockable;

/// How often threads hand a lock on before it goes back to its server, where others may wait: as our
/// locks do, which may not number holds faster than the clock counts microseconds.
const MOST_PASSES: u32 = 32;

/// A lock on a Redis server that the threads of one process hand on in the order in which they came,
/// by parking and waking. After so many passes the server is asked, in one round trip, to take it back
/// and to give it to the next.
pub struct Baton {
    line: Mutex<Line>,
    server: Mutex<Server>,
}

#[derive(Default)]
struct Line {
    taken: bool,
    passes: u32,
    waiting: VecDeque<Arc<Waiter>>,
}

struct Waiter {
    thread: Thread,
    turn: AtomicBool,
}

struct Server {
    connection: Connection,
    give_back: Script,
    key: String,
    token: String,
}

impl Baton {
    /// The lock `key` of the server at `url`.
    pub fn new(url: &str, key: &str) -> Self {
        let client = Client::open(url).expect("a fixture's URL");
        let connection = client.get_connection().expect("the server is up");
        let give_back = Script::new(COMPARE_AND_DELETE);
        let (key, token) = (key.to_owned(), String::new());
        let mut server = Server { connection, give_back, key, token };
        server.give_back.load(&mut server.connection).expect("a script that compiles");
        Self { line: Mutex::default(), server: Mutex::new(server) }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("nobody panics")
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().expect("nobody panics")
    }
}

impl Server {
    fn ask(&mut self, give_back: bool, take: bool) {
        let mut pipeline = redis::pipe();
        if give_back {
            pipeline.cmd("EVALSHA").arg(self.give_back.get_hash()).arg(1);
            pipeline.arg(&self.key).arg(&self.token);
        }
        if take {
            self.token = fresh_token();
            pipeline.cmd("SET").arg(&self.key).arg(&self.token).arg("NX").arg("PX").arg(LEASE_MS);
        }
        let answers: Vec<redis::Value> =
            pipeline.query(&mut self.connection).expect("the server is up");
        let usual = |answer| matches!(answer, &redis::Value::Int(1) | &redis::Value::Okay);
        assert!(answers.iter().all(usual), "{answers:?}");
    }
}

impl BlockingLockable for Baton {
    type Held = ();

    fn acquire(&self) {
        let waiter = Arc::new(Waiter { thread: thread::current(), turn: AtomicBool::new(false) });
        let mut line = self.line();
        if !line.taken {
            line.taken = true;
            drop(line);
            return self.server().ask(false, true);
        }
        line.waiting.push_back(Arc::clone(&waiter));
        drop(line);
        while !waiter.turn.load(Ordering::Acquire) {
            thread::park();
        }
    }

    fn release(&self, (): ()) {
        let mut line = self.line();
        let Some(next) = line.waiting.pop_front() else {
            self.server().ask(true, false);
            line.taken = false;
            line.passes = 0;
            return;
        };
        line.passes = (line.passes + 1) % MOST_PASSES;
        let back = line.passes == 0;
        drop(line);
        if back {
            self.server().ask(true, true);
        }
        next.turn.store(true, Ordering::Release);
        next.thread.unpark();
    }
}
