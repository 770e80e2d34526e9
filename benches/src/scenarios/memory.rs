//! Locks inside one process.

use std::sync::Arc;

use lock_tokio::{InMemoryLockProvider, LockProvider as _};

use crate::bench::Bench;
use crate::round::Scenario;
use crate::subjects::memory::{KeyedMutex, KeyedMutexes};
use crate::subjects::{FLOOR, TOKIO};
use crate::workload::{Alone, alone, side_by_side};

/// One task, one acquire + release after another.
pub fn one_task(bench: &Bench) -> Scenario<'_> {
    let floor = Arc::new(KeyedMutex::new(&Arc::default(), "orders"));
    let ours = Arc::new(InMemoryLockProvider::new().create_lock("orders"));
    let executor = bench.tokio();
    // Reading the clock costs as much as half of such a cycle.
    let pace = Alone { batch: 100, ..bench.alone(20, 10) };
    let about = "in memory, one task; the floor is a map from names to mutexes of tokio";
    Scenario::new("memory-uncontended", about, bench.pick(41, 25))
        .with(FLOOR, move || alone(executor, &floor, pace))
        .with(TOKIO, move || alone(executor, &ours, pace))
}

/// Eight tasks that all want one name.
pub fn one_key(bench: &Bench) -> Scenario<'_> {
    let map = Arc::new(KeyedMutexes::default());
    let floor: Vec<_> = (0..8).map(|_| Arc::new(KeyedMutex::new(&map, "orders"))).collect();
    let provider = InMemoryLockProvider::new();
    let ours: Vec<_> = (0..8).map(|_| Arc::new(provider.create_lock("orders"))).collect();
    let (executor, span) = (bench.tokio(), bench.span(100, 40));
    let about = "in memory, 8 tasks, one name";
    Scenario::new("memory-8-tasks", about, bench.pick(41, 25))
        .with(FLOOR, move || side_by_side(executor, &floor, span))
        .with(TOKIO, move || side_by_side(executor, &ours, span))
}
