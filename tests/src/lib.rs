//! What proves this project: the contract of a machine, checked; every short life of one; and
//! worlds of several processes whose schedule is a string of bytes.

pub mod advisory_model;
#[cfg(target_os = "linux")]
pub mod advisory_twin;
#[cfg(target_os = "linux")]
pub mod chaos;
pub mod check;
pub mod closure;
#[cfg(target_os = "linux")]
pub mod disk_twin;
pub mod entropy;
pub mod explore;
pub mod fuzz;
pub mod history;
mod limits;
pub mod memory_world;
#[cfg(target_os = "linux")]
pub mod postgres;
pub mod postgres_world;
#[cfg(target_os = "linux")]
mod process;
pub mod quorum_world;
#[cfg(target_os = "linux")]
pub mod redis;
pub mod redis_model;
#[cfg(target_os = "linux")]
pub mod redis_twin;
#[cfg(target_os = "linux")]
mod root;
pub mod seeds;
pub mod server_world;
pub mod service;
pub mod sightings;
pub mod simulate;
pub mod storage;
pub mod suite;
pub mod swarm;
pub mod trace;
pub mod world;
pub mod zoo;

/// The README, whose programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
