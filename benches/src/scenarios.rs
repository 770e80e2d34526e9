//! Everything that is measured, in the order in which it runs.

mod file;
mod memory;
mod redis_contended;
mod redis_uncontended;

use crate::bench::Bench;
use crate::round::Scenario;

/// A scenario that was not prepared yet: its servers start when its turn comes.
pub struct Entry {
    pub name: &'static str,
    pub prepare: for<'b> fn(&'b Bench) -> Scenario<'b>,
    /// Whether there is time for it when time is short.
    pub quick: bool,
}

const fn entry(name: &'static str, prepare: for<'b> fn(&'b Bench) -> Scenario<'b>) -> Entry {
    Entry { name, prepare, quick: true }
}

/// All of them.
pub const ALL: &[Entry] = &[
    entry("redis-uncontended", redis_uncontended::one_task),
    entry("redis-64-keys", redis_uncontended::many_keys),
    entry("redis-8-tasks", redis_contended::tasks),
    entry("redis-8-clients", redis_contended::clients),
    entry("redis-8-processes", redis_contended::many_processes),
    entry("redis-8-processes-hold", redis_contended::many_holders),
    entry("redis-64-waiters", redis_contended::many_waiters),
    entry("redis-1000-waiters", redis_contended::a_thousand),
    entry("memory-uncontended", memory::one_task),
    entry("memory-8-tasks", memory::one_key),
    entry("file-uncontended", file::one_task),
    entry("file-8-waiters", file::one_file),
];
