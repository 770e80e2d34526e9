//! Many locks that are held and renewed, in a process of their own.
//!
//! What a process has allocated and freed before stays resident, so it must be a new one.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::slice;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use lock_tests::redis::Server;
use lock_tokio::{AcquireOptions, LockProvider as _, Renewal};
use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};

use crate::bench::{Bench, runtime};
use crate::metric::Metric;
use crate::round::{Sample, Scenario};
use crate::servers::traffic::Traffic;
use crate::subjects::{TOKIO, ours};
use crate::worker::THIS_PROGRAM;

const LEASE: Duration = Duration::from_secs(30);
const CADENCE: Duration = Duration::from_secs(10);
/// How many tasks acquire at a time.
const TASKS: usize = 256;

/// Ten thousand.
pub fn ten_thousand(bench: &Bench) -> Scenario<'_> {
    let about = "10,000 locks held on one Redis server, renewed every 10 s";
    scenario(bench, Scenario::new("held-10000", about, 1), 10_000)
}

/// A hundred thousand.
pub fn a_hundred_thousand(bench: &Bench) -> Scenario<'_> {
    let about = "100,000 locks held on one Redis server, renewed every 10 s";
    scenario(bench, Scenario::new("held-100000", about, 1), 100_000)
}

fn scenario<'b>(bench: &'b Bench, scenario: Scenario<'b>, count: usize) -> Scenario<'b> {
    // Renewals come as close together as the acquisitions did: a window must not end among them.
    let settle = bench.pick(CADENCE / 2, Duration::ZERO);
    let span = bench.pick(2 * CADENCE, CADENCE);
    scenario.with(TOKIO, move || measure(count, settle, span))
}

fn measure(count: usize, settle: Duration, span: Duration) -> Sample {
    let server = Server::start();
    let mut holder = Holder::start(&server.url(), count);
    let before = holder.state();
    let held = holder.state();
    thread::sleep(settle);
    let traffic = Traffic::count(&server);
    let started = Instant::now();
    let at_start = holder.state();
    thread::sleep(span);
    let at_end = holder.state();
    let seconds = started.elapsed().as_secs_f64();
    let memory = held.resident.saturating_sub(before.resident) as f64 / count as f64;
    let processor = (at_end.processor - at_start.processor).as_secs_f64();
    vec![
        (Metric::BytesPerLock, memory),
        (Metric::CorePercent, processor / seconds * 100.0),
        (Metric::CommandsPerSecond, traffic.end() as f64 / seconds),
    ]
}

/// What the holder is told.
#[derive(Args)]
pub struct Orders {
    url: String,
    count: usize,
}

/// Holds locks, in the holder: it tells its state once it is connected, once it holds all of them,
/// and whenever it is asked.
pub fn hold(orders: &Orders) -> Result<(), Box<dyn Error>> {
    let runtime = runtime();
    let provider = Arc::new(runtime.block_on(ours::redis(slice::from_ref(&orders.url), true)));
    // So many at once bring up what all others share, down to the buffers of the tasks.
    let first = (0..TASKS).map(|task| {
        let lock = provider.create_lock(&format!("first {task}"));
        runtime.spawn(async move { lock.acquire(None).await?.release().await })
    });
    for task in first.collect::<Vec<_>>() {
        runtime.block_on(task)??;
    }
    State::now()?.tell(1)?;
    let options = AcquireOptions::new().with_ttl(LEASE).with_renewal(Renewal::Every(CADENCE));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (provider, options) = (Arc::clone(&provider), options.clone());
            let numbers = (task..orders.count).step_by(TASKS);
            runtime.spawn(async move {
                let mut held = Vec::with_capacity(numbers.len());
                for number in numbers {
                    let lock = provider.create_lock(&format!("orders {number}"));
                    held.push(lock.acquire_with(options.clone()).await.expect("the server is up"));
                }
                held
            })
        })
        .collect();
    let mut held = Vec::with_capacity(TASKS);
    for task in tasks {
        held.push(runtime.block_on(task)?);
    }
    State::now()?.tell(orders.count)?;
    for line in io::stdin().lines() {
        line?;
        let valid = held.iter().flatten().filter(|handle| handle.is_valid()).count();
        State::now()?.tell(valid)?;
    }
    // The server goes as well; to give all of it back would only take time.
    std::mem::forget(held);
    std::process::exit(0)
}

/// What a process uses.
#[derive(Clone, Copy)]
struct State {
    resident: u64,
    processor: Duration,
}

impl State {
    fn now() -> Result<Self, Box<dyn Error>> {
        let pages = fs::read_to_string("/proc/self/statm")?;
        let pages: u64 = pages.split(' ').nth(1).ok_or("statm has two fields")?.parse()?;
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let processor = Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?);
        Ok(Self { resident: pages * page_size() as u64, processor })
    }

    fn tell(self, held: usize) -> io::Result<()> {
        println!("{} {} {held}", self.resident, self.processor.as_nanos());
        io::stdout().flush()
    }
}

/// The process that holds them.
struct Holder {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    count: usize,
    told: u32,
}

impl Holder {
    fn start(url: &str, count: usize) -> Self {
        let mut command = Command::new(THIS_PROGRAM);
        command.args(["hold", url, &count.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the bench can be started again");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, input, output, count, told: 0 }
    }

    /// The next state; the first two come by themselves.
    fn state(&mut self) -> State {
        self.told += 1;
        if self.told > 2 {
            self.input.write_all(b"state\n").expect("the holder listens");
        }
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe can be read");
        let mut numbers = line.split_whitespace().map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("the holder tells three numbers");
        let (resident, processor, held): (u64, u64, u64) = (next(), next(), next());
        assert!(self.told == 1 || held as usize == self.count, "only {held} locks are still held");
        State { resident, processor: Duration::from_nanos(processor) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
