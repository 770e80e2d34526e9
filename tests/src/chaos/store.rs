//! What the lock protects: two sets that are read, added to in memory, and written again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// What workers have added: of each the numbers, as ranges, since most are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Elements(BTreeMap<u32, Vec<(u32, u32)>>);

/// A set that takes whatever is written.
pub(super) struct PlainSet {
    path: PathBuf,
}

/// A set that remembers the greatest fencing token that it was shown, and refuses smaller ones.
///
/// It asks for the token with a read as well: otherwise somebody whose lock is lost could write
/// between a read and a write of the next, and be forgotten though it was accepted.
pub(super) struct FencedSet {
    path: PathBuf,
    guard: PathBuf,
}

impl Elements {
    /// Adds a number that is greater than those which this worker added before.
    pub(super) fn add(&mut self, worker: u32, number: u32) {
        let ranges = self.0.entry(worker).or_default();
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }

    pub(super) fn contains(&self, worker: u32, number: u32) -> bool {
        let ranges = self.0.get(&worker).map_or(&[][..], Vec::as_slice);
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut elements = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let worker = words.next()?.parse().ok()?;
            let range = |word: &str| {
                let (first, last) = word.split_once('-')?;
                Some((first.parse().ok()?, last.parse().ok()?))
            };
            elements.0.insert(worker, words.map(range).collect::<Option<_>>()?);
        }
        Some(elements)
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (worker, ranges) in &self.0 {
            write!(f, "{worker}")?;
            ranges.iter().try_for_each(|(first, last)| write!(f, " {first}-{last}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl PlainSet {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("plain") }
    }

    pub(super) fn read(&self) -> io::Result<Elements> {
        read(&self.path)?.map_or_else(|| Ok(Elements::default()), |text| parsed(&text))
    }

    pub(super) fn write(&self, elements: &Elements) -> io::Result<()> {
        replace(&self.path, &elements.to_string())
    }
}

impl FencedSet {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("fenced"), guard: folder.join("guard") }
    }

    /// What is in the set; nothing for a token that is too old.
    pub(super) fn read(&self, token: u64) -> io::Result<Option<Elements>> {
        let _guard = self.guard()?;
        let (greatest, elements) = self.load()?;
        if token < greatest {
            return Ok(None);
        }
        self.store(token, &elements)?;
        Ok(Some(elements))
    }

    /// Whether it was accepted.
    pub(super) fn write(&self, token: u64, elements: &Elements) -> io::Result<bool> {
        let _guard = self.guard()?;
        let accepted = token >= self.load()?.0;
        if accepted {
            self.store(token, elements)?;
        }
        Ok(accepted)
    }

    /// What is in the set, for whoever judges it.
    pub(super) fn contents(&self) -> io::Result<Elements> {
        Ok(self.load()?.1)
    }

    fn load(&self) -> io::Result<(u64, Elements)> {
        let Some(text) = read(&self.path)? else { return Ok((0, Elements::default())) };
        let (token, elements) = text.split_once('\n').ok_or_else(torn)?;
        Ok((token.parse().map_err(|_| torn())?, parsed(elements)?))
    }

    fn store(&self, token: u64, elements: &Elements) -> io::Result<()> {
        replace(&self.path, &format!("{token}\n{elements}"))
    }

    /// One at a time, until it is dropped.
    fn guard(&self) -> io::Result<File> {
        let guard = File::options().create(true).append(true).open(&self.guard)?;
        rustix::fs::flock(&guard, FlockOperation::LockExclusive)?;
        Ok(guard)
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes all of it or, if this process is killed meanwhile, nothing.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(std::process::id().to_string());
    fs::write(&draft, text)?;
    fs::rename(draft, path)
}

fn parsed(text: &str) -> io::Result<Elements> {
    Elements::parse(text).ok_or_else(torn)
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the set is torn")
}
