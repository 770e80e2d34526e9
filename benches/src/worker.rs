//! Waiters that are processes of their own, each with its own connections.
//!
//! The bench starts itself again with the hidden command `worker`. A worker connects, says `ready`,
//! waits for a line, takes turns, and prints a line for each.

use std::error::Error;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lock_tokio::LockProvider as _;

use crate::bench::runtime;
use crate::subjects::ours;
use crate::subjects::redis_floor::{HandOff, Queued, RedisFloor};
use crate::subjects::redis_peers::{AsyncRedisLock, DistributedLock, Rslock};
use crate::turns::Turn;
use crate::workload::{Crowd, Lockable, take_turns};

/// Itself, also when it was built anew meanwhile.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

const KEY: &str = "orders";

/// Whose lock a worker takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    HandOff,
    Polling,
    Queued,
    Ours,
    Rslock,
    AsyncRedisLock,
    DistributedLock,
}

/// What a worker is told.
#[derive(Args)]
pub struct Orders {
    kind: Kind,
    url: String,
    hold_us: u64,
    think_us: u64,
    span_ms: u64,
}

/// Carries them out, in the worker.
pub fn work(orders: &Orders) -> Result<(), Box<dyn Error>> {
    let runtime = runtime();
    let urls = [orders.url.clone()];
    let crowd = Crowd {
        hold: Duration::from_micros(orders.hold_us),
        think: Duration::from_micros(orders.think_us),
        span: Duration::from_millis(orders.span_ms),
    };
    let turns = runtime.block_on(async {
        match orders.kind {
            Kind::HandOff => wait(HandOff::new(&orders.url, KEY).await, crowd).await,
            Kind::Polling => wait(RedisFloor::new(&urls, KEY).await, crowd).await,
            Kind::Queued => wait(Queued::new(&orders.url, KEY).await, crowd).await,
            Kind::Ours => wait(ours::redis(&urls, true).await.create_lock(KEY), crowd).await,
            Kind::Rslock => wait(Rslock::new(&urls, KEY), crowd).await,
            Kind::AsyncRedisLock => wait(AsyncRedisLock::new(&orders.url, KEY).await, crowd).await,
            Kind::DistributedLock => wait(DistributedLock::new(&urls, KEY).await, crowd).await,
        }
    })?;
    let mut output = BufWriter::new(io::stdout().lock());
    for Turn { asked, entered, left } in turns {
        writeln!(output, "{asked} {entered} {left}")?;
    }
    Ok(output.flush()?)
}

async fn wait<L: Lockable>(lock: L, crowd: Crowd) -> io::Result<Vec<Turn>> {
    println!("ready");
    io::stdin().lock().read_line(&mut String::new())?;
    // A task of its own, as in any program.
    Ok(tokio::spawn(take_turns(Arc::new(lock), crowd)).await.expect("a task ends well"))
}

/// Lets so many workers take turns, and tells who had the lock when.
pub fn processes(kind: Kind, url: &str, count: usize, crowd: Crowd) -> Vec<Vec<Turn>> {
    let mut workers: Vec<_> = (0..count).map(|_| Worker::start(kind, url, crowd)).collect();
    workers.iter_mut().for_each(Worker::wait_until_ready);
    workers.iter_mut().for_each(Worker::go);
    workers.iter_mut().map(Worker::turns).collect()
}

struct Worker {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(kind: Kind, url: &str, crowd: Crowd) -> Self {
        let kind = kind.to_possible_value().expect("no kind is skipped");
        let mut command = Command::new(THIS_PROGRAM);
        command.args(["worker", kind.get_name(), url]);
        command.arg(crowd.hold.as_micros().to_string());
        command.arg(crowd.think.as_micros().to_string());
        command.arg(crowd.span.as_millis().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the bench can be started again");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, output }
    }

    fn wait_until_ready(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe can be read");
        assert_eq!(line, "ready\n", "a worker did not start");
    }

    fn go(&mut self) {
        let input = self.process.stdin.as_mut().expect("it is piped");
        input.write_all(b"go\n").expect("the worker waits for it");
    }

    fn turns(&mut self) -> Vec<Turn> {
        let lines = self.output.by_ref().lines().map(|line| line.expect("a pipe can be read"));
        let turns = lines.map(|line| {
            let mut moments = line.split(' ').map(|moment| moment.parse().expect("a number"));
            let mut next = || moments.next().expect("three moments");
            Turn { asked: next(), entered: next(), left: next() }
        });
        turns.collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended, or the bench is about to.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
