//! What the machines talk to.

pub mod disk;
pub mod file;
pub mod memory;
pub mod postgres;
pub mod redis;
pub mod redlock;
