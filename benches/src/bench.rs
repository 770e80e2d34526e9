//! What every scenario needs: the runtime, and how long it may take.

use std::cell::OnceCell;
use std::future::Future;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::servers::postgres::Postgres;
use crate::workload::{Alone, Executor};

/// Where and how long scenarios run.
pub struct Bench {
    runtime: Runtime,
    quick: bool,
    postgres: OnceCell<Option<Postgres>>,
}

impl Bench {
    /// A bench whose tasks run on two threads.
    pub fn new(quick: bool) -> Self {
        Self { runtime: runtime(), quick, postgres: OnceCell::new() }
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
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("two threads can be started")
}
