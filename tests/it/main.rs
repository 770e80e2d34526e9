//! The proofs of this project.

#[cfg(target_os = "linux")]
mod bad_input;
mod bounds;
#[cfg(target_os = "linux")]
mod cancel;
#[cfg(target_os = "linux")]
mod chaos;
mod closure;
#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod disk;
mod early_answers;
#[cfg(target_os = "linux")]
mod endings;
mod examples;
mod exhaustive;
mod fuzz;
mod history;
#[cfg(target_os = "linux")]
mod places;
#[cfg(target_os = "linux")]
mod postgres_bad_input;
#[cfg(target_os = "linux")]
mod postgres_chaos;
#[cfg(target_os = "linux")]
mod postgres_examine;
#[cfg(target_os = "linux")]
mod postgres_fences;
#[cfg(target_os = "linux")]
mod postgres_model;
#[cfg(target_os = "linux")]
mod postgres_own;
#[cfg(target_os = "linux")]
mod postgres_servers;
mod quorum;
#[cfg(target_os = "linux")]
mod redis_async;
#[cfg(target_os = "linux")]
mod redis_bad_input;
#[cfg(target_os = "linux")]
mod redis_blocking;
#[cfg(target_os = "linux")]
mod redis_chaos;
#[cfg(target_os = "linux")]
mod redis_examine;
#[cfg(target_os = "linux")]
mod redis_peers;
#[cfg(target_os = "linux")]
mod redis_scripts;
#[cfg(target_os = "linux")]
mod redis_servers;
mod sim;
mod simulated_histories;
mod suite;
mod test_double;
mod test_double_async;
mod theorems;
mod tidy;
#[cfg(target_os = "linux")]
mod worker;
mod zoo;
