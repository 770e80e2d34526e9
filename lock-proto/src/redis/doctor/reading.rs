//! What one server says of itself.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Fault, Instant};

/// What was read from one server.
#[derive(Clone, Debug)]
pub struct Reading {
    server: String,
    info: Result<String, Fault>,
    settings: Vec<(String, String)>,
    clocks: Vec<ClockReading>,
}

/// A server's answer to `TIME`, and when that was on the clock of whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three moments, and there is no fourth")]
pub struct ClockReading {
    /// When it was asked.
    pub asked: Instant,
    /// When it had answered.
    pub answered: Instant,
    /// What its wall clock showed in between: the time since 1970.
    pub time: Duration,
}

impl Reading {
    /// What the server answers to `INFO`, or why it doesn't. `server` is what findings call it.
    #[must_use]
    pub fn new(server: &str, info: Result<String, Fault>) -> Self {
        Self { server: server.to_string(), info, settings: Vec::new(), clocks: Vec::new() }
    }

    /// Adds a pair of what the server answers to `CONFIG GET`. Of use is `appendfsync`.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_string(), value.to_string()));
        self
    }

    /// Adds what the clock showed, after what it showed before. The rate of a clock shows from
    /// the first to the last, which are best a second apart.
    #[must_use]
    pub fn with_clock(mut self, clock: ClockReading) -> Self {
        self.clocks.push(clock);
        self
    }

    /// What findings call the server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Why the server says nothing of itself.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.info.as_ref().err()
    }

    /// A field of `INFO`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.info.as_ref().ok()?.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    }

    pub(super) fn clocks(&self) -> &[ClockReading] {
        &self.clocks
    }

    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        let pair = self.settings.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.field(name).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The version of Redis that the server is, or is like.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.field("redis_version")?.split('.');
        let mut number = || numbers.next()?.parse().ok();
        Some((number()?, number()?))
    }
}
