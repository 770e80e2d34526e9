//! What happened in a run, printed when it fails.

use std::fmt::Debug;

/// The steps of one run. Dropped by a panic, it prints them.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<String>,
}

/// Enough to see what led to a failure.
const SHOWN: usize = 120;

impl Trace {
    /// Records one step.
    pub fn note(&mut self, step: impl FnOnce() -> String) {
        self.steps.push(step());
    }

    /// All of them.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }
}

impl Drop for Trace {
    #[expect(clippy::print_stderr, reason = "the steps are for whoever reads the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in self.steps.iter().skip(self.steps.len().saturating_sub(SHOWN)) {
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
