//! The proofs of this project.

mod exhaustive;
mod sim;
