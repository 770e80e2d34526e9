//! The proofs of this project.

#[cfg(target_os = "linux")]
mod cancel;
mod examples;
mod exhaustive;
#[cfg(target_os = "linux")]
mod places;
mod sim;
mod suite;
mod test_double;
mod tidy;
