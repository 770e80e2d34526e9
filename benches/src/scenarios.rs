//! Everything that is measured, in the order in which it runs.

mod adapters;
mod commands;
mod file;
pub mod held;
mod machines;
mod memory;
mod postgres;
mod redis_contended;
mod redis_uncontended;
mod redlock;
mod semaphore;

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

const fn long(name: &'static str, prepare: for<'b> fn(&'b Bench) -> Scenario<'b>) -> Entry {
    Entry { name, prepare, quick: false }
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
    long("redis-1000-waiters", redis_contended::a_thousand),
    entry("memory-uncontended", memory::one_task),
    entry("memory-8-tasks", memory::one_key),
    entry("file-uncontended", file::one_task),
    entry("file-8-waiters", file::one_file),
    entry("redlock-3", redlock::three),
    entry("redlock-5", redlock::five),
    entry("redlock-dead", redlock::dead),
    entry("redlock-hung", redlock::hung),
    entry("redlock-slow", redlock::slow),
    entry("redis-semaphore", semaphore::permits),
    long("redis-reader-writer", semaphore::readers),
    entry("redis-commands", commands::each_cycle),
    entry("redis-idle", commands::idle),
    entry("adapters-uncontended", adapters::one),
    entry("adapters-64-keys", adapters::many_keys),
    entry("adapters-one-key", adapters::one_key),
    entry("machines", machines::alone),
    entry("held-10000", held::ten_thousand),
    long("held-100000", held::a_hundred_thousand),
    entry("postgres-uncontended", postgres::one_task),
    entry("postgres-64-keys", postgres::many_keys),
    entry("postgres-8-waiters", postgres::one_key),
];
