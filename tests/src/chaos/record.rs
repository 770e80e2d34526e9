//! What a worker writes down, a line for each thing that it sees:
//!
//! | | |
//! | --- | --- |
//! | `asks LOCK` | it is about to acquire `mutex`, `read`, `write` or `permit` |
//! | `holds FENCE REMAINING` | it is let in; `-` for no token, and for a lock without a lease |
//! | `valid REMAINING` | it has looked, and the lock was its own |
//! | `lost WHY` | it has looked, and the lock was not |
//! | `begins` | it is about to read the sets |
//! | `plain NUMBER` | it has written its number into the plain set |
//! | `fenced NUMBER yes` | it has written its number into the other as well, or was refused |
//! | `leaves` | it is about to release |
//! | `left yes` | that is confirmed; or why it is not |
//! | `fails WHY` | it was not let in |
//!
//! Each begins with the time before whatever it tells of was asked, or after it was done.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The log of one worker.
pub(super) struct Log {
    file: File,
}

/// A line of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) at: u64,
    pub(super) word: &'a str,
    pub(super) rest: &'a str,
}

impl Log {
    pub(super) fn of(folder: &Path, worker: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path(folder, worker))?;
        Ok(Self { file })
    }

    /// Writes a line with one call, so that it is there or it is not.
    pub(super) fn say(&self, at: u64, what: fmt::Arguments<'_>) -> io::Result<()> {
        (&self.file).write_all(format!("{at} {what}\n").as_bytes())
    }
}

/// What a worker has written; nothing, if it did not come so far.
pub(super) fn read(folder: &Path, worker: u32) -> String {
    fs::read_to_string(path(folder, worker)).unwrap_or_default()
}

/// The lines of a log, up to one that was cut off.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive('\n').filter_map(|line| {
        let (at, rest) = line.strip_suffix('\n')?.split_once(' ')?;
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Line { at: at.parse().ok()?, word, rest })
    })
}

fn path(folder: &Path, worker: u32) -> PathBuf {
    folder.join(format!("worker-{worker}.log"))
}
