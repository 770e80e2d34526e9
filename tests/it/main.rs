//! The proofs of this project.

mod examples;
mod exhaustive;
mod places;
mod sim;
mod suite;
mod tidy;
