//! What every scenario needs: the runtime, and how long it may take.

use std::cell::OnceCell;
use std::future::Future;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

use crate::servers::postgres::Postgres;
use crate::workload::{Alone, Executor};

/// Where and how long scenarios run.
pub struct Bench {
    runtime: Runtime,
    on_one_core: OnceCell<Runtime>,
    quick: bool,
    postgres: OnceCell<Option<Postgres>>,
}

impl Bench {
    /// A bench whose tasks run on two threads.
    pub fn new(quick: bool) -> Self {
        Self { runtime: runtime(), on_one_core: OnceCell::new(), quick, postgres: OnceCell::new() }
    }

    /// Whether time is short.
    pub fn is_quick(&self) -> bool {
        self.quick
    }

    /// One or the other, by the time there is.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// So many milliseconds, by the time there is.
    pub fn span(&self, full: u64, quick: u64) -> Duration {
        Duration::from_millis(self.pick(full, quick))
    }

    /// Cycles of one task for so many milliseconds, by the time there is.
    pub fn alone(&self, full: u64, quick: u64) -> Alone {
        Alone { cycles: u32::MAX, batch: 1, limit: self.span(full, quick) }
    }

    /// The PostgreSQL server, which takes long to start; none if it is not installed.
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.get_or_init(Postgres::start).as_ref()
    }

    /// The runtime of all tasks of tokio.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A runtime that stays on the first core.
    pub fn runtime_on_one_core(&self) -> &Runtime {
        self.on_one_core.get_or_init(|| {
            let core = first_core();
            let mut threads = two_threads();
            threads.on_thread_start(move || {
                sched_setaffinity(None, &core).expect("it is one of those that we may use");
            });
            threads.build().expect("two threads can be started")
        })
    }

    /// The runtime as an executor.
    pub fn tokio(&self) -> Executor<'_> {
        Executor::Tokio(&self.runtime)
    }

    /// Runs what a scenario prepares.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// A runtime like that of most programs, with as many threads on every machine.
pub fn runtime() -> Runtime {
    two_threads().build().expect("two threads can be started")
}

/// The first core that this process may use.
pub fn first_core() -> CpuSet {
    let mut core = CpuSet::new();
    core.set(cores().next().expect("this process runs on some core"));
    core
}

/// The cores that this process may use, without the first of several.
pub fn other_cores() -> CpuSet {
    let skipped = usize::from(cores().count() > 1);
    let mut others = CpuSet::new();
    cores().skip(skipped).for_each(|core| others.set(core));
    others
}

fn cores() -> impl Iterator<Item = usize> {
    let ours = sched_getaffinity(None).expect("this process exists");
    (0..CpuSet::MAX_CPU).filter(move |core| ours.is_set(*core))
}

/// Keeps a process, and what it starts from now on, to `cores`.
pub fn confine(process: u32, cores: &CpuSet) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    sched_setaffinity(process, cores).expect("the server is ours");
}

fn two_threads() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder
}
