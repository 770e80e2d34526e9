//! What came out of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::backend::Backend;

/// What came out of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Whose locks they were.
    pub backend: Backend,
    /// The seed of the nemesis.
    pub seed: u64,
    /// How often each lock was held.
    pub holds: BTreeMap<&'static str, usize>,
    /// What was done, and how often.
    pub faults: BTreeMap<&'static str, usize>,
    /// How many holders were told that their lock was lost.
    pub lost: usize,
    /// How many elements were added to the plain set.
    pub written: usize,
    /// How many of those were wiped out by somebody who had lost the lock, or because of whom it
    /// was lost.
    pub wiped_out: usize,
    /// How many elements the fenced set refused.
    pub refused: usize,
    /// How many elements it lost because two holders had the same token, where that may be.
    pub repeated: usize,
    /// What is not as it is promised.
    pub violations: Vec<String>,
    /// Where the logs are, if something is not.
    pub folder: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(backend: Backend) -> Self {
        Self {
            backend,
            seed: 0,
            holds: BTreeMap::new(),
            faults: BTreeMap::new(),
            lost: 0,
            written: 0,
            wiped_out: 0,
            refused: 0,
            repeated: 0,
            violations: Vec::new(),
            folder: None,
        }
    }

    pub(super) fn blame(&mut self, violation: String) {
        self.violations.push(violation);
    }

    pub(super) fn count_fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    pub(super) fn count_holds(&mut self, lock: &'static str, count: usize) {
        *self.holds.entry(lock).or_default() += count;
    }

    /// The same, with the folder if it is worth a look.
    pub(super) fn kept(self, seed: u64, folder: TempDir) -> Self {
        let folder = (!self.violations.is_empty()).then(|| folder.keep());
        Self { seed, folder, ..self }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} with seed {}", self.backend, self.seed)?;
        let listed = |counts: &BTreeMap<&str, usize>| {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "  holds: {}", listed(&self.holds))?;
        writeln!(f, "  faults: {}", listed(&self.faults))?;
        let Self { lost, written, wiped_out, refused, repeated, .. } = self;
        writeln!(f, "  told of a loss: {lost}")?;
        writeln!(f, "  written without a token: {written}, of which wiped out: {wiped_out}")?;
        writeln!(f, "  refused because of a token: {refused}; lost to the same token: {repeated}")?;
        write!(f, "  violations: {}", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  - {violation}"))?;
        match &self.folder {
            Some(folder) => write!(f, "\n  the logs are in {}", folder.display()),
            None => Ok(()),
        }
    }
}
