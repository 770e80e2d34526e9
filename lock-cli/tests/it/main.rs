//! Runs the program as its users do.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod answers;
mod bad_input;
mod doctor;
mod flock;
mod loss;
mod place;
mod redis;
mod run;
mod signals;
mod terminal;
