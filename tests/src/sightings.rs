//! Rare states that a good schedule reaches.

use std::collections::BTreeMap;

/// What was seen, and how often.
#[derive(Clone, Debug, Default)]
pub struct Sightings(BTreeMap<&'static str, u64>);

impl Sightings {
    /// Notes that `state` was reached.
    pub fn saw(&mut self, state: &'static str) {
        *self.0.entry(state).or_default() += 1;
    }

    /// Checks that each of `states` was reached.
    ///
    /// # Panics
    ///
    /// If one never was: then the schedules prove nothing about it.
    pub fn must_have_seen(&self, states: &[&str]) {
        for state in states {
            assert!(self.0.contains_key(state), "never seen: {state}; only {:?}", self.0);
        }
    }
}
