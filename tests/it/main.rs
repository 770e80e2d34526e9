//! The proofs of this project.

mod exhaustive;
