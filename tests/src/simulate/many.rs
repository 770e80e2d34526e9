//! Many seeds on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::seeds::{Simulation, schedule, seeds_until, violation};
use crate::trace::Trace;
use crate::zoo::Bug;

/// How many seeds a thread takes at a time.
const BATCH: u64 = 50;
/// Whoever has seen so many failures of one simulation has seen enough.
const SHOWN: usize = 10;

/// What many seeds of one simulation came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How many there were.
    pub seeds: u64,
    /// What happened in all of them together.
    pub trace: Trace,
    /// The first that failed, and how.
    pub failures: Vec<(u64, String)>,
    /// The time of processors that it took.
    pub busy: Duration,
}

/// Runs each of `simulations` on each of `seeds`, on `jobs` threads, and says after a while how many
/// runs more are done.
///
/// # Panics
///
/// If a thread can't be started.
pub fn run_many(
    simulations: &[Simulation],
    seeds: &Range<u64>,
    jobs: usize,
    progress: impl Fn(u64) + Sync,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = simulations.iter().map(|_| Outcome::new()).collect();
    let kinds = simulations.len() as u64;
    let batches = (seeds.end - seeds.start).div_ceil(BATCH) * kinds;
    let done = on_threads(batches, jobs, |batch| {
        let start = seeds.start + batch / kinds * BATCH;
        let batch_seeds = start..seeds.end.min(start + BATCH);
        let kind = usize::try_from(batch % kinds).expect("there are few");
        let outcome = run_batch(simulations[kind], batch_seeds);
        progress(outcome.seeds);
        (kind, outcome)
    });
    for (kind, outcome) in done {
        outcomes[kind].add(outcome);
    }
    outcomes
}

/// How many seeds it takes to find each of `bugs`, in each of `ranges`; `None` where that has not
/// enough.
pub fn hunt(
    bugs: &[Bug],
    ranges: &[Range<u64>],
    jobs: usize,
    progress: impl Fn(u64) + Sync,
) -> Vec<Vec<Option<u64>>> {
    let count = ranges.len() as u64;
    let found = on_threads(bugs.len() as u64 * count, jobs, |hunt| {
        let at = |number| usize::try_from(number).expect("there are few");
        let (bug, range) = (bugs[at(hunt / count)], ranges[at(hunt % count)].clone());
        let found = seeds_until(range, bug.violates, bug.simulation);
        progress(1);
        (hunt, found)
    });
    let mut found: Vec<(u64, Option<u64>)> = found;
    found.sort_unstable();
    let found: Vec<Option<u64>> = found.into_iter().map(|(_, found)| found).collect();
    found.chunks(ranges.len().max(1)).map(<[_]>::to_vec).collect()
}

/// Does `work` for each number below `count`, in no particular order.
fn on_threads<T: Send>(count: u64, jobs: usize, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
    let worker = || std::iter::from_fn(take).map(&work).collect::<Vec<T>>();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        let done = workers.into_iter().map(|it| it.join().expect("what worlds say is caught"));
        done.flatten().collect()
    })
}

fn run_batch(simulation: Simulation, seeds: Range<u64>) -> Outcome {
    let (began, mut outcome) = (processor_time(), Outcome::new());
    for seed in seeds {
        outcome.seeds += 1;
        if let Some(message) = violation(&schedule(seed), simulation, &mut outcome.trace) {
            outcome.failures.push((seed, message));
        }
    }
    outcome.busy = processor_time().saturating_sub(began);
    outcome
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.try_into().expect("a thread takes no less than nothing")
}

impl Outcome {
    fn new() -> Self {
        Self { seeds: 0, trace: Trace::silent(), failures: Vec::new(), busy: Duration::ZERO }
    }

    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.trace.merge(&other.trace);
        self.failures.extend(other.failures);
        self.failures.sort_unstable();
        self.failures.truncate(SHOWN);
        self.busy += other.busy;
    }
}
