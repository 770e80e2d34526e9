//! Rare states that a good schedule reaches.

/// What was seen, and how often.
#[derive(Clone, Debug, Default)]
pub struct Sightings(Vec<(&'static str, u64)>);

impl Sightings {
    /// Notes that `state` was reached.
    pub fn saw(&mut self, state: &'static str) {
        self.add(state, 1);
    }

    /// Takes over what others have seen.
    pub fn merge(&mut self, others: &Self) {
        for (state, times) in &others.0 {
            self.add(state, *times);
        }
    }

    /// How often `state` was reached.
    #[must_use]
    pub fn count(&self, state: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == state).map_or(0, |(_, times)| *times)
    }

    /// Every state that was reached and how often, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.0.clone();
        all.sort_unstable();
        all
    }

    /// Checks that each of `states` was reached.
    ///
    /// # Panics
    ///
    /// If one never was: then the schedules prove nothing about it.
    pub fn must_have_seen(&self, states: &[&str]) {
        for state in states {
            assert!(self.count(state) > 0, "never seen: {state}; only {:?}", self.0);
        }
    }

    /// There are few states, and each is a literal: most are told apart by where they stand.
    fn add(&mut self, state: &'static str, times: u64) {
        let known = self.0.iter_mut().find(|(known, _)| {
            std::ptr::eq::<str>(*known, state) || (known.len() == state.len() && *known == state)
        });
        match known {
            Some((_, count)) => *count += times,
            None => self.0.push((state, times)),
        }
    }
}
