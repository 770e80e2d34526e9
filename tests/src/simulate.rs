//! Every simulated world in one table, and what is done with it.
//!
//! A world drives real machines. An **event** is one input to a machine (a start, an answer, a
//! message, a time-out, a word of its caller), one command carried out by a model of a server, or one
//! thing that befalls the world: time passes, a connection breaks, somebody crashes. What a machine
//! hands out, and what the invariants look at, does not count.

mod machines;
mod many;
mod picture;
mod shrink;

use crate::seeds::Simulation;

pub use machines::machines;
pub use many::{Outcome, hunt, run_many};
pub use picture::draw;
pub use shrink::shrink;

/// Machines in a world of their own.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Machine {
    /// As it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// One run of it.
    pub simulation: Simulation,
    /// What many runs must have reached, or they prove little.
    pub rare_states: &'static [&'static str],
}

/// The machine of that name.
#[must_use]
pub fn machine(name: &str) -> Option<&'static Machine> {
    machines().iter().find(|machine| machine.name == name)
}
