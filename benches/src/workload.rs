//! What contenders do: take and give back alone, side by side, or all the same lock.

use std::future::Future;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::metric::Metric;
use crate::round::Sample;
use crate::turns::{Turn, now};

/// Something that tasks take and give back.
pub trait Lockable: Send + Sync + 'static {
    /// What proves that it was taken.
    type Held: Send + 'static;

    /// Takes it, and waits for it without end.
    fn acquire(&self) -> impl Future<Output = Self::Held> + Send;

    /// Gives it back.
    fn release(&self, held: Self::Held) -> impl Future<Output = ()> + Send;
}

/// Something that threads take and give back.
pub trait BlockingLockable: Send + Sync + 'static {
    /// What proves that it was taken.
    type Held;

    /// Takes it, and waits for it without end.
    fn acquire(&self) -> Self::Held;

    /// Gives it back.
    fn release(&self, held: Self::Held);
}

/// Who runs futures.
#[derive(Clone, Copy)]
pub enum Executor<'b> {
    Tokio(&'b Runtime),
    AsyncStd,
}

impl Executor<'_> {
    /// Runs one future as a task.
    pub fn run<T: Send + 'static>(self, task: impl Future<Output = T> + Send + 'static) -> T {
        self.run_all([task]).pop().expect("one task has one result")
    }

    /// Runs futures as tasks, until all are done.
    pub fn run_all<T: Send + 'static>(
        self,
        tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
    ) -> Vec<T> {
        match self {
            Self::Tokio(runtime) => {
                let tasks: Vec<_> = tasks.into_iter().map(|task| runtime.spawn(task)).collect();
                let joined = async {
                    let mut results = Vec::with_capacity(tasks.len());
                    for task in tasks {
                        results.push(task.await.expect("a task ends well or the bench does not"));
                    }
                    results
                };
                runtime.block_on(joined)
            }
            Self::AsyncStd => {
                let tasks: Vec<_> = tasks.into_iter().map(async_std::task::spawn).collect();
                async_std::task::block_on(futures_util::future::join_all(tasks))
            }
        }
    }
}

/// How much one contender does alone in one round.
#[derive(Clone, Copy)]
pub struct Alone {
    /// So many times acquire + release,
    pub cycles: u32,
    /// timed together in batches of so many,
    pub batch: u32,
    /// and no longer than this.
    pub limit: Duration,
}

/// How a crowd wants one lock.
#[derive(Clone, Copy)]
pub struct Crowd {
    /// How long each keeps it.
    pub hold: Duration,
    /// How long each waits before wanting it again.
    pub think: Duration,
    /// How long all this goes on.
    pub span: Duration,
}

/// Acquire + release by one task, one after another.
pub fn alone<L: Lockable>(executor: Executor<'_>, lock: &Arc<L>, pace: Alone) -> Sample {
    let lock = Arc::clone(lock);
    let times = executor.run(async move {
        let started = Instant::now();
        let mut times = histogram();
        for _ in 0..pace.cycles / pace.batch {
            let before = Instant::now();
            for _ in 0..pace.batch {
                let held = lock.acquire().await;
                lock.release(held).await;
            }
            record(&mut times, before.elapsed() / pace.batch);
            if started.elapsed() > pace.limit {
                break;
            }
        }
        times
    });
    percentiles(&times)
}

/// Acquire + release by one thread, one after another.
pub fn alone_blocking<L: BlockingLockable>(lock: &L, pace: Alone) -> Sample {
    let started = Instant::now();
    let mut times = histogram();
    for _ in 0..pace.cycles / pace.batch {
        let before = Instant::now();
        for _ in 0..pace.batch {
            let held = lock.acquire();
            lock.release(held);
        }
        record(&mut times, before.elapsed() / pace.batch);
        if started.elapsed() > pace.limit {
            break;
        }
    }
    percentiles(&times)
}

/// Acquire + release by a task for each lock, as often as it goes.
pub fn side_by_side<L: Lockable>(
    executor: Executor<'_>,
    locks: &[Arc<L>],
    span: Duration,
) -> Sample {
    let started = Instant::now();
    let tasks = locks.iter().map(Arc::clone).map(|lock| async move {
        let mut cycles = 0_u64;
        while started.elapsed() < span {
            let held = lock.acquire().await;
            lock.release(held).await;
            cycles += 1;
        }
        cycles
    });
    let cycles = executor.run_all(tasks).into_iter().sum();
    rate(cycles, started.elapsed())
}

/// Acquire + release by a thread for each lock, as often as it goes.
pub fn side_by_side_blocking<L: BlockingLockable>(locks: &[Arc<L>], span: Duration) -> Sample {
    let ready = Barrier::new(locks.len() + 1);
    let (cycles, took) = thread::scope(|scope| {
        let threads: Vec<_> = locks
            .iter()
            .map(|lock| {
                scope.spawn(|| {
                    ready.wait();
                    let started = Instant::now();
                    let mut cycles = 0_u64;
                    while started.elapsed() < span {
                        let held = lock.acquire();
                        lock.release(held);
                        cycles += 1;
                    }
                    cycles
                })
            })
            .collect();
        ready.wait();
        let started = Instant::now();
        let cycles = threads.into_iter().map(|thread| thread.join().expect("it ends well")).sum();
        (cycles, started.elapsed())
    });
    rate(cycles, took)
}

/// One who takes turns at a lock with others, as a task of tokio.
pub async fn take_turns<L: Lockable>(lock: Arc<L>, crowd: Crowd) -> Vec<Turn> {
    let started = Instant::now();
    let mut turns = Vec::new();
    while started.elapsed() < crowd.span {
        let asked = now();
        let held = lock.acquire().await;
        let entered = now();
        pause(crowd.hold).await;
        turns.push(Turn { asked, entered, left: now() });
        lock.release(held).await;
        pause(crowd.think).await;
    }
    turns
}

/// A task for each lock, all of which are the same one, taking turns.
pub fn crowd<L: Lockable>(
    executor: Executor<'_>,
    locks: &[Arc<L>],
    crowd: Crowd,
) -> Vec<Vec<Turn>> {
    executor.run_all(locks.iter().map(|lock| take_turns(Arc::clone(lock), crowd)))
}

/// A thread for each lock, all of which are the same one, taking turns.
///
/// They rest on the timer of `runtime`, so that their holds are as long as those of tasks.
pub fn crowd_blocking<L: BlockingLockable>(
    runtime: &Runtime,
    locks: &[Arc<L>],
    crowd: Crowd,
) -> Vec<Vec<Turn>> {
    thread::scope(|scope| {
        let wait = |lock: Arc<L>| {
            let started = Instant::now();
            let mut turns = Vec::new();
            while started.elapsed() < crowd.span {
                let asked = now();
                let held = lock.acquire();
                let entered = now();
                runtime.block_on(pause(crowd.hold));
                turns.push(Turn { asked, entered, left: now() });
                lock.release(held);
                runtime.block_on(pause(crowd.think));
            }
            turns
        };
        let threads: Vec<_> =
            locks.iter().map(|lock| scope.spawn(move || wait(Arc::clone(lock)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends well")).collect()
    })
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are few enough")
}

/// In picoseconds: what memory locks take is a few hundred nanoseconds.
fn record(times: &mut Histogram<u64>, time: Duration) {
    let picoseconds = (time.as_nanos() * 1000).try_into().unwrap_or(u64::MAX);
    times.record(picoseconds).expect("it grows as needed");
}

fn percentiles(times: &Histogram<u64>) -> Sample {
    let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
    vec![(Metric::CycleP50Us, micros(0.5)), (Metric::CycleP99Us, micros(0.99))]
}

fn rate(cycles: u64, time: Duration) -> Sample {
    vec![(Metric::CyclesPerSecond, cycles as f64 / time.as_secs_f64())]
}
