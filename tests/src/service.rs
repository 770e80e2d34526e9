//! What the machines talk to.

pub mod file;
pub mod memory;
