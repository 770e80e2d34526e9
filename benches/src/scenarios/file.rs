//! Locks on files.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lock_proto::file::file_name;
use lock_tokio::{FileLockProvider, LockProvider as _};
use tempfile::TempDir;

use crate::bench::Bench;
use crate::metric::Metric::{MostToLeastServed, Overlaps, UtilisationPercent, WaitP99Ms};
use crate::round::{Sample, Scenario};
use crate::subjects::files::{DistributedFile, Flock, Fs4, SafeFlock, StdFile};
use crate::subjects::{DISTRIBUTED_LOCK, FLOOR, SAFE_FLOOR, TOKIO};
use crate::turns::{self, Turn};
use crate::workload::{Alone, Crowd, alone, crowd, crowd_blocking};

const WAITERS: usize = 8;

/// One task, one acquire + release after another.
pub fn one_task(bench: &Bench) -> Scenario<'_> {
    let directory = TempDir::new().expect("the temporary directory is there");
    // To look up a deeper path, or a longer name, takes longer: all have the like of them.
    let place = |subject: &str| {
        let place = directory.path().join(subject);
        fs::create_dir(&place).expect("the directory is ours");
        place
    };
    let path = |subject: &str| place(subject).join(file_name("orders"));
    let floor = Arc::new(Flock::new(&path("flock")));
    let safe = Arc::new(SafeFlock(Flock::new(&path("safe"))));
    let ours = FileLockProvider::new(place("ours")).expect("the directory is ours");
    let ours = Arc::new(ours.create_lock("orders"));
    let standard = Arc::new(StdFile(path("std")));
    let fs4 = Arc::new(Fs4(path("fs4")));
    let distributed = Arc::new(DistributedFile::new(&place("distributed"), "orders"));
    let executor = bench.tokio();
    let pace = Alone { batch: 10, ..bench.alone(30, 10) };
    let about = "one file, one task; the floor is open, flock, close";
    Scenario::new("file-uncontended", about, bench.pick(41, 21))
        .with(FLOOR, move || {
            let _ = &directory;
            alone(executor, &floor, pace)
        })
        .with(TOKIO, move || alone(executor, &ours, pace))
        .with(SAFE_FLOOR, move || alone(executor, &safe, pace))
        .with("std::fs", move || alone(executor, &standard, pace))
        .with("fs4", move || alone(executor, &fs4, pace))
        .with(DISTRIBUTED_LOCK, move || alone(executor, &distributed, pace))
}

/// Eight waiters, each of which keeps the file for a millisecond.
pub fn one_file(bench: &Bench) -> Scenario<'_> {
    let directory = TempDir::new().expect("the temporary directory is there");
    let pace =
        Crowd { hold: Duration::from_millis(1), think: Duration::ZERO, span: bench.span(800, 400) };
    let path = directory.path().join("flock");
    let floor: Vec<_> = (0..WAITERS).map(|_| Arc::new(Flock::new(&path))).collect();
    let ours = FileLockProvider::new(directory.path().join("ours")).expect("it is ours");
    let ours: Vec<_> = (0..WAITERS).map(|_| Arc::new(ours.create_lock("orders"))).collect();
    let distributed = || Arc::new(DistributedFile::new(directory.path(), "distributed"));
    let distributed: Vec<_> = (0..WAITERS).map(|_| distributed()).collect();
    let executor = bench.tokio();
    let about = "one file, 8 waiters, held for 1 ms; the floor is threads in a blocking flock";
    let scenario = Scenario::new("file-8-waiters", about, bench.pick(7, 3))
        .with(FLOOR, move || {
            let _ = &directory;
            sample(&crowd_blocking(bench.runtime(), &floor, pace))
        })
        .with(TOKIO, move || sample(&crowd(executor, &ours, pace)));
    if bench.is_quick() {
        return scenario;
    }
    scenario.with(DISTRIBUTED_LOCK, move || sample(&crowd(executor, &distributed, pace)))
}

fn sample(turns: &[Vec<Turn>]) -> Sample {
    let metrics = [WaitP99Ms, UtilisationPercent, MostToLeastServed, Overlaps];
    turns::only(&turns::of_mutex(turns), &metrics)
}
