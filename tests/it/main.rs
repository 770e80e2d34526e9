//! The proofs of this project.

#[cfg(target_os = "linux")]
mod bad_input;
#[cfg(target_os = "linux")]
mod cancel;
#[cfg(target_os = "linux")]
mod crash;
mod examples;
mod exhaustive;
#[cfg(target_os = "linux")]
mod places;
mod sim;
mod suite;
mod test_double;
mod tidy;
#[cfg(target_os = "linux")]
mod worker;
