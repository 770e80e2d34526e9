//! The proofs of this project.

mod examples;
mod exhaustive;
mod sim;
mod suite;
