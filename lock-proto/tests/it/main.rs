//! What the machines, the hub and the lock table promise, at their public interface.

mod arithmetic;
mod file_cancels;
mod file_faults;
mod file_replacements;
mod file_timelines;
mod hub;
mod lease_timelines;
mod lock_table;
mod memory_timelines;
mod names;
mod options;
mod postgres_keys;
mod postgres_timelines;
mod records;
mod redis_cohort;
mod redis_doctor;
mod redis_keys;
mod redis_leaving;
mod redis_timelines;
mod redlock;
mod redlock_faults;
mod redlock_holds;
mod redlock_waits;
mod semaphore_timelines;
mod slots;
mod timeline;
