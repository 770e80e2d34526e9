//! What must hold, and what is aimed at: all of it, and only here.

use serde::Serialize;

use crate::metric::Better;
use crate::metric::Metric::{
    self, AllocationsPerCycle, BytesPerLock, CommandsPerCycle, CommandsPerSecond, CorePercent,
    CycleP50Us, CyclesPerSecond, MachineNs, MostToLeastServed, Overlaps, OwnerChangesPerSecond,
    UtilisationPercent, WaitP99Ms, WritesPerCycle,
};
use crate::subjects::{
    ASYNC_STD, ASYNC_STD_FLOOR, BLOCKING, HUNG, SAFE_FLOOR, THREADS_FLOOR, TOKIO, UNFENCED,
};

/// Whether a bar is about a figure or about its ratio to the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Ratio,
    Value,
}

use Measure::{Ratio, Value};

/// How far one figure of one of our subjects may go.
pub struct Bar {
    scenario: &'static str,
    subject: &'static str,
    metric: Metric,
    pub measure: Measure,
    pub must: f64,
    pub aim: f64,
}

/// One adapter may take 1.3 times as long as another.
const ADAPTER: (f64, f64) = (1.3, 1.05);
const ADAPTER_RATE: (f64, f64) = (1.0 / 1.3, 1.0 / 1.05);

const BARS: &[Bar] = &[
    bar("redis-uncontended", UNFENCED, CycleP50Us, Ratio, (1.05, 1.0)),
    bar("redis-uncontended", TOKIO, CycleP50Us, Ratio, (1.12, 1.05)),
    bar("redis-64-keys", UNFENCED, CyclesPerSecond, Ratio, (0.9, 0.95)),
    bar("redis-64-keys", TOKIO, CyclesPerSecond, Ratio, (0.8, 0.9)),
    bar("redis-commands", UNFENCED, CommandsPerCycle, Value, (2.0, 2.0)),
    bar("redis-commands", UNFENCED, WritesPerCycle, Value, (2.05, 2.0)),
    bar("redis-commands", TOKIO, CommandsPerCycle, Value, (3.0, 3.0)),
    bar("redis-commands", TOKIO, WritesPerCycle, Value, (2.05, 2.0)),
    bar("redis-8-clients", TOKIO, OwnerChangesPerSecond, Ratio, (0.6, 0.75)),
    bar("redis-8-processes", TOKIO, OwnerChangesPerSecond, Ratio, (0.6, 0.75)),
    bar("redis-8-processes", TOKIO, Overlaps, Value, (0.0, 0.0)),
    bar("redis-8-processes-hold", TOKIO, UtilisationPercent, Value, (93.0, 96.0)),
    bar("redis-8-processes-hold", TOKIO, WaitP99Ms, Value, (30.0, 22.0)),
    bar("redis-8-processes-hold", TOKIO, MostToLeastServed, Value, (1.1, 1.02)),
    bar("redis-8-processes-hold", TOKIO, Overlaps, Value, (0.0, 0.0)),
    bar("redis-64-waiters", "lock-tokio, 64 clients", OwnerChangesPerSecond, Ratio, (0.9, 1.0)),
    // Passing the lock on inside the process, within bounds, is to make it 20 times the floor.
    bar("redis-8-tasks", TOKIO, CyclesPerSecond, Ratio, (0.6, 20.0)),
    bar("redis-idle", TOKIO, CommandsPerSecond, Value, (8.0, 2.0)),
    bar("redlock-3", TOKIO, CycleP50Us, Ratio, (1.0, 0.92)),
    bar("redlock-5", TOKIO, CycleP50Us, Ratio, (1.0, 0.88)),
    bar("redlock-hung", HUNG, CycleP50Us, Ratio, (2.0, 1.1)),
    bar("postgres-uncontended", TOKIO, CycleP50Us, Ratio, (1.1, 1.0)),
    bar("postgres-64-keys", TOKIO, CyclesPerSecond, Ratio, (1.2, 1.8)),
    bar("postgres-8-waiters", TOKIO, OwnerChangesPerSecond, Ratio, (0.9, 1.0)),
    bar("file-uncontended", TOKIO, CycleP50Us, Ratio, (1.3, 1.1)),
    bar("file-8-waiters", TOKIO, WaitP99Ms, Ratio, (1.5, 1.1)),
    bar("file-8-waiters", TOKIO, Overlaps, Value, (0.0, 0.0)),
    bar("redis-semaphore", TOKIO, WaitP99Ms, Ratio, (0.25, 0.15)),
    bar("memory-uncontended", TOKIO, CycleP50Us, Ratio, (2.5, 1.2)),
    bar("memory-8-tasks", TOKIO, CyclesPerSecond, Ratio, (0.9, 1.0)),
    bar("adapters-uncontended", ASYNC_STD, CycleP50Us, Ratio, ADAPTER),
    bar("adapters-uncontended", BLOCKING, CycleP50Us, Ratio, ADAPTER),
    bar("adapters-64-keys", ASYNC_STD, CyclesPerSecond, Ratio, ADAPTER_RATE),
    bar("adapters-64-keys", BLOCKING, CyclesPerSecond, Ratio, ADAPTER_RATE),
    bar("adapters-one-key", ASYNC_STD, CyclesPerSecond, Ratio, ADAPTER_RATE),
    bar("adapters-one-key", BLOCKING, CyclesPerSecond, Ratio, ADAPTER_RATE),
    bar("held-10000", TOKIO, BytesPerLock, Value, (1024.0, 512.0)),
    bar("held-100000", TOKIO, BytesPerLock, Value, (1024.0, 512.0)),
    bar("held-100000", TOKIO, CorePercent, Value, (25.0, 10.0)),
    bar("machines", "memory lock", MachineNs, Value, (1000.0, 300.0)),
    bar("machines", "memory lock", AllocationsPerCycle, Value, (4.0, 0.0)),
    bar("machines", "Redis lock", MachineNs, Value, (1000.0, 300.0)),
    bar("machines", "Redis lock", AllocationsPerCycle, Value, (4.0, 0.0)),
];

/// Who shows what no lock of a subject's kind can go below. Where that misses the subject's bar, the
/// bar counts from there.
const LIMITS: &[(&str, &str, &str)] = &[
    ("file-uncontended", TOKIO, SAFE_FLOOR),
    ("adapters-uncontended", ASYNC_STD, ASYNC_STD_FLOOR),
    ("adapters-64-keys", ASYNC_STD, ASYNC_STD_FLOOR),
    ("adapters-64-keys", BLOCKING, THREADS_FLOOR),
    ("adapters-one-key", BLOCKING, THREADS_FLOOR),
];

const fn bar(
    scenario: &'static str,
    subject: &'static str,
    metric: Metric,
    measure: Measure,
    (must, aim): (f64, f64),
) -> Bar {
    Bar { scenario, subject, metric, measure, must, aim }
}

/// The bar for a figure, if there is one.
pub fn find(scenario: &str, subject: &str, metric: Metric) -> Option<&'static Bar> {
    BARS.iter()
        .find(|bar| bar.scenario == scenario && bar.subject == subject && bar.metric == metric)
}

/// Who shows the limit of a subject.
pub fn limit(scenario: &str, subject: &str) -> Option<&'static str> {
    let limit = LIMITS.iter().find(|(of, whose, _)| *of == scenario && *whose == subject);
    limit.map(|(.., shows)| *shows)
}

impl Bar {
    /// Whether `figure` is within the bar.
    pub fn holds(&self, figure: f64) -> bool {
        match self.metric.better() {
            Better::Less => figure <= self.must,
            Better::More => figure >= self.must,
        }
    }
}
