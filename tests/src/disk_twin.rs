//! A real directory and the model of one, on which the same is done and which must agree.
//!
//! Everybody's files are open in this one process: whom `flock` lets in, and whom inotify tells of a
//! close, the kernel decides by open descriptions and inodes, and not by processes.

mod real;

use std::collections::{BTreeMap, BTreeSet};

use lock_proto::file::{Command, File, FileLock, FileLockOptions, Identity, Mode, Record, Reply};
use lock_proto::{AcquireOptions, Demand, Fault, Hub, Instant, LockId, LockName, Seed};

use crate::entropy::Entropy;
use crate::service::disk::{Disk, Lie, Opener};
use crate::sightings::Sightings;
use crate::trace::Trace;
use real::Real;

/// How many bytes choose the steps of one directory's life.
const BYTES: usize = 400;

const FILES: [File; 2] = [File::Lock, File::Permit(0)];

/// A directory and its model.
struct Twin<'a> {
    seed: u64,
    model: Disk,
    real: &'a mut Real,
    openers: Vec<Opener>,
    /// What is open.
    open: BTreeMap<(Opener, File), Known>,
    steps: u64,
    trace: Trace,
}

/// What whoever has a file open knows of it.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    locked: bool,
    in_place: bool,
}

/// Compares at least so many random steps, from `seed` on; says how many it were.
///
/// # Panics
///
/// If the model and the file system differ, or too little happened.
#[must_use]
pub fn compare_steps(steps: u64, mut seed: u64) -> u64 {
    let mut sightings = Sightings::default();
    let mut compared = 0;
    let mut real = Real::new();
    while compared < steps {
        let mut entropy = Entropy::from_seed(seed, BYTES);
        let mut twin = Twin::new(seed, &mut entropy, &mut real);
        while let Some(choice) = entropy.choose(64) {
            twin.step(choice, &mut entropy, &mut sightings);
        }
        compared += twin.steps;
        seed += 1;
    }
    sightings.must_have_seen(&[
        "a close that somebody hears of",
        "a deleted directory",
        "a file that is busy",
        "a file that was replaced",
        "a lock that is traded for another kind",
        "a lock that is lost in a trade",
        "a record",
        "a stranger's file deleted",
    ]);
    compared
}

impl<'a> Twin<'a> {
    fn new(seed: u64, entropy: &mut Entropy, real: &'a mut Real) -> Self {
        let there = entropy.pick(4) > 0;
        real.begin(there);
        let lock = some_lock();
        let openers =
            (0..2 + entropy.pick(3)).map(|number| Opener { process: number as u32, lock });
        Self {
            seed,
            model: Disk::new(Lie::None, there),
            real,
            openers: openers.collect(),
            open: BTreeMap::new(),
            steps: 0,
            trace: Trace::default(),
        }
    }

    fn step(&mut self, choice: usize, entropy: &mut Entropy, sightings: &mut Sightings) {
        let opener = self.openers[entropy.pick(self.openers.len())];
        let file = FILES[entropy.pick(FILES.len())];
        let mode = [Mode::Exclusive, Mode::Exclusive, Mode::Shared][entropy.pick(3)];
        self.steps += 1;
        match choice {
            0 => return self.delete_directory(sightings),
            1 | 2 => return self.unlink(file),
            3 => return self.kill(opener, sightings),
            _ => {}
        }
        let command = match choice {
            4..=6 => Command::CreateDirectory,
            7..=20 => Command::Open(file),
            21..=33 => Command::TryLock(file, mode),
            34..=43 => Command::Verify(file),
            44..=47 => Command::Read(file),
            48..=51 => Command::Write(file, record(entropy)),
            52..=54 => Command::Watch(file),
            55..=57 => Command::Remove(file),
            _ => Command::Close(file),
        };
        self.ask(opener, command, sightings);
    }

    /// Asks both, unless no machine would.
    fn ask(&mut self, opener: Opener, command: Command, sightings: &mut Sightings) {
        let file = match command {
            Command::CreateDirectory | Command::Enter { .. } | Command::Leave => None,
            Command::Open(file)
            | Command::TryLock(file, _)
            | Command::Watch(file)
            | Command::Verify(file)
            | Command::Read(file)
            | Command::Write(file, _)
            | Command::Remove(file)
            | Command::Close(file) => Some(file),
        };
        let known = file.and_then(|file| self.open.get(&(opener, file)).copied());
        let removable = known.is_some_and(|known| known.locked && known.in_place);
        if matches!(command, Command::Open(_)) && known.is_some()
            || matches!(command, Command::Remove(_)) && !removable
        {
            return;
        }
        self.trace.note(|| format!("{} {command:?}", opener.process));
        let closed = file.filter(|_| matches!(command, Command::Close(_)));
        let woken = closed.map(|file| self.model.watchers(opener, file)).unwrap_or_default();
        let named = file.is_some_and(|file| self.real.names(opener, file));
        self.real.forget_closes();
        let expected = self.model.execute(opener, &command);
        let seen = self.real.execute(opener, &command);
        self.trace.note(|| format!("    {seen:?}"));
        let seed = self.seed;
        assert_eq!(word(&seen), word(&expected), "seed {seed}: the file system, and its model");
        self.check_woken(&woken, sightings);
        if let Some(state) = state(&command, &seen, known.unwrap_or_default(), named) {
            sightings.saw(state);
        }
        if let (Some(file), Ok(reply)) = (file, seen) {
            self.learn((opener, file), &command, &reply);
        }
    }

    fn learn(&mut self, key: (Opener, File), command: &Command, reply: &Reply) {
        let done = *reply == Reply::Done;
        match command {
            Command::Open(_) if done => drop(self.open.insert(key, Known::default())),
            Command::Close(_) => drop(self.open.remove(&key)),
            Command::TryLock(..) | Command::Verify(_) => {
                let known = self.open.entry(key).or_default();
                let taught = matches!(command, Command::Verify(_));
                *if taught { &mut known.in_place } else { &mut known.locked } = done;
            }
            Command::Open(_)
            | Command::Watch(_)
            | Command::Read(_)
            | Command::Write(..)
            | Command::Remove(_)
            | Command::CreateDirectory
            | Command::Enter { .. }
            | Command::Leave => {}
        }
    }

    fn delete_directory(&mut self, sightings: &mut Sightings) {
        self.trace.note(|| "somebody deletes the directory".to_owned());
        self.model.unlink_directory();
        self.real.unlink_directory();
        sightings.saw("a deleted directory");
    }

    fn unlink(&mut self, file: File) {
        self.trace.note(|| format!("somebody deletes {file:?}"));
        let (seed, there) = (self.seed, self.real.unlink(file));
        assert_eq!(there, self.model.unlink(file), "seed {seed}: whether it was there");
    }

    fn kill(&mut self, opener: Opener, sightings: &mut Sightings) {
        self.trace.note(|| format!("{} dies", opener.process));
        self.real.forget_closes();
        let woken = self.model.kill(opener.process);
        self.real.kill(opener);
        self.open.retain(|(other, _), _| *other != opener);
        self.check_woken(&woken, sightings);
    }

    fn check_woken(&self, expected: &[Opener], sightings: &mut Sightings) {
        let expected: BTreeSet<Opener> = expected.iter().copied().collect();
        let seen = self.real.told();
        assert_eq!(seen, expected, "seed {}: who hears of a close, and who should", self.seed);
        if !seen.is_empty() {
            sightings.saw("a close that somebody hears of");
        }
    }
}

/// What must have been met, or the steps prove nothing.
fn state(
    command: &Command,
    seen: &Result<Reply, Fault>,
    known: Known,
    named: bool,
) -> Option<&'static str> {
    match (command, seen.as_ref().ok()?) {
        (Command::TryLock(..), Reply::Done) if known.locked => {
            Some("a lock that is traded for another kind")
        }
        (Command::TryLock(..), Reply::Busy) if known.locked => {
            Some("a lock that is lost in a trade")
        }
        (Command::TryLock(..), Reply::Busy) => Some("a file that is busy"),
        (Command::Verify(_), Reply::Replaced) => Some("a file that was replaced"),
        (Command::Read(_), Reply::Contents { bytes, .. }) if !bytes.is_empty() => Some("a record"),
        (Command::Remove(_), Reply::Done) if !named => Some("a stranger's file deleted"),
        _ => None,
    }
}

/// An answer, less the clock and the words of an error.
fn word(reply: &Result<Reply, Fault>) -> Result<Reply, ()> {
    match reply {
        Ok(Reply::Contents { bytes, .. }) => {
            Ok(Reply::Contents { bytes: bytes.clone(), wall_micros: 0 })
        }
        Ok(reply) => Ok(reply.clone()),
        Err(_) => Err(()),
    }
}

/// Something to write, sometimes longer than what will be read.
fn record(entropy: &mut Entropy) -> Vec<u8> {
    let length = [1, 20, 600, Record::MAX_BYTES, Record::MAX_BYTES + 9][entropy.pick(5)];
    vec![b'a' + entropy.pick(26) as u8; length]
}

/// Names a lock, as only a hub can.
fn some_lock() -> LockId {
    let name = LockName::new("a").expect("a short name");
    let settings = FileLockOptions::new(Identity::new("host", 7));
    let (options, seed) = (AcquireOptions::new(), Seed::from_bytes([0; 32]));
    let machine = FileLock::new(name, Demand::Exclusive, &options, settings, &seed, Instant::ZERO);
    Hub::new().start(machine.expect("the options are the usual ones"), (), Instant::ZERO)
}
