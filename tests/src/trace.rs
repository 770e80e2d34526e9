//! What happened in a run.

use std::fmt::Debug;

use crate::sightings::Sightings;

/// How much happened in one run or in many, which rare states were reached, and, if anybody wants
/// to read it, each step. Dropped by a panic, it prints the last steps.
#[derive(Debug)]
pub struct Trace {
    events: u64,
    sightings: Sightings,
    /// `None` if nobody reads them.
    steps: Option<Vec<String>>,
}

/// Enough to see what led to a failure.
const SHOWN: usize = 120;

impl Trace {
    /// One that keeps no steps, which are dear.
    #[must_use]
    pub fn silent() -> Self {
        Self { events: 0, sightings: Sightings::default(), steps: None }
    }

    /// Counts one event: see [`crate::simulate`] for what is one.
    pub fn event(&mut self) {
        self.events += 1;
    }

    /// Notes that a rare state was reached.
    pub fn saw(&mut self, state: &'static str) {
        self.sightings.saw(state);
    }

    /// Records one step.
    pub fn note(&mut self, step: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(step());
        }
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The rare states that were reached.
    #[must_use]
    pub fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// All steps; none of a silent one.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        self.steps.as_deref().unwrap_or_default()
    }
}

/// One that keeps each step.
impl Default for Trace {
    fn default() -> Self {
        let mut trace = Self::silent();
        trace.steps = Some(Vec::new());
        trace
    }
}

impl Drop for Trace {
    #[expect(clippy::print_stderr, reason = "the steps are for whoever reads the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in self.steps().iter().skip(self.steps().len().saturating_sub(SHOWN)) {
                eprintln!("{step}");
            }
        }
    }
}

/// The debug form, for comparing what has no equality.
#[must_use]
pub fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}
