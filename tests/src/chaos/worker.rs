//! A process that takes locks until it is told to stop.

use std::error::Error;
use std::io::stdin;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lock_blocking::{
    FileLockProvider, InMemoryLockProvider, LockError, LockHandle, LockProvider,
    PostgresLockProvider, RedisLockProvider,
};
use lock_proto::Seed;
use rustix::process::{Signal, getpid, kill_process};

use super::record::Log;
use super::store::{FencedSet, PlainSet};
use super::{LEASE, now};

/// What the parent says when everything is mended.
pub(super) const FINISH: &str = "finish";

/// The limit of the semaphore.
pub(super) const PERMITS: u32 = 2;

/// How long a worker waits for a lock, if not for ever as in its last round.
const TIMEOUTS_MS: [u64; 4] = [0, 300, 1000, 5000];

/// How long a worker rests between two rounds.
const LONGEST_REST: Duration = Duration::from_millis(3);

/// How long a worker rests that can't get on.
const REST: Duration = Duration::from_millis(20);

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a worker has one of these")]
pub enum Habit {
    /// It takes locks of all kinds until everything is mended, and then the mutex once more.
    Diligent,
    /// It takes the mutex until it has had it to the end.
    OnlyOnce,
    /// It takes the mutex once, stopping itself before it writes, and then once more if it has lost
    /// the lock meanwhile.
    StopsBeforeItsWrite,
}

struct Worker {
    provider: Box<dyn LockProvider>,
    habit: Habit,
    log: Log,
    number: u32,
    plain: PlainSet,
    fenced: FencedSet,
    /// What it has added to the sets.
    added: u32,
}

/// Does the work of one process: `arguments` are the URL of the locks, the folder of the sets and
/// logs, the number of the worker, the seed of its choices, and its [`Habit`].
///
/// # Errors
///
/// If the arguments make no sense, or the folder can't be written to.
pub fn work(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [url, folder, number, seed, habit] = arguments else {
        return Err("a worker needs a URL, a folder, a number, a seed and a habit".into());
    };
    let (folder, number) = (Path::new(folder), number.parse()?);
    let mended = listen();
    let mut worker = Worker {
        provider: open(url)?,
        habit: habit.parse()?,
        log: Log::of(folder, number)?,
        number,
        plain: PlainSet::new(folder),
        fenced: FencedSet::new(folder),
        added: 0,
    };
    let mut dice = Seed::from_bytes(seeded(seed.parse()?, number)).jitter();
    while worker.habit == Habit::Diligent && !mended.load(Ordering::SeqCst) {
        let choice = dice.next_u64();
        let timeout = TIMEOUTS_MS[(choice >> 8) as usize % TIMEOUTS_MS.len()];
        // Most hold the lock for a moment, and some for longer than a lease.
        let longest = match (choice >> 16) % 64 {
            0 => LEASE * 3 / 2,
            1..=6 => LEASE / 20,
            _ => LONGEST_REST,
        };
        let thought = dice.between(Duration::ZERO, longest);
        let lock = ["mutex", "mutex", "read", "write", "permit"][(choice & 255) as usize % 5];
        worker.round(lock, Some(Duration::from_millis(timeout)), thought)?;
        thread::sleep(dice.between(Duration::ZERO, LONGEST_REST));
    }
    while !worker.round("mutex", Some(Duration::from_secs(5)), Duration::ZERO)? {}
    Ok(())
}

/// Hears when everything is mended, and ends the process when the parent has ended.
fn listen() -> Arc<AtomicBool> {
    let mended = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&mended);
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            heard.fetch_or(line == FINISH, Ordering::SeqCst);
        }
        std::process::exit(1);
    });
    mended
}

/// The locks at `url`, as soon as they can be reached.
fn open(url: &str) -> Result<Box<dyn LockProvider>, LockError> {
    loop {
        match try_open(url) {
            Err(LockError::Connection(_)) => thread::sleep(REST),
            opened => return opened,
        }
    }
}

fn try_open(url: &str) -> Result<Box<dyn LockProvider>, LockError> {
    let (short, long) = (Duration::from_millis(500), Duration::from_secs(1));
    Ok(match url.split_once(':') {
        Some(("memory", _)) => Box::new(InMemoryLockProvider::new()),
        Some(("file", path)) => Box::new(FileLockProvider::new(path)?),
        Some(("postgres", _)) => {
            let builder = PostgresLockProvider::builder().url(url).fencing(true);
            Box::new(builder.connect_timeout(long).max_connections(4).build()?)
        }
        _ => {
            let builder = RedisLockProvider::builder().url(url).expiry(LEASE);
            Box::new(builder.connect_timeout(long).response_timeout(short).build()?)
        }
    })
}

impl Worker {
    /// Acquires a lock, works and releases it; whether it was let in and had the lock to the end.
    fn round(
        &mut self,
        lock: &str,
        timeout: Option<Duration>,
        thought: Duration,
    ) -> Result<bool, Box<dyn Error>> {
        self.log.say(now(), format_args!("asks {lock}"))?;
        let held = match self.acquire(lock, timeout) {
            Ok(held) => held,
            Err(error) => {
                self.log.say(now(), format_args!("fails {}", told(&error)))?;
                if !matches!(error, LockError::Timeout(_)) {
                    thread::sleep(REST);
                }
                return Ok(false);
            }
        };
        let (at, remaining) = (now(), remaining(&held));
        let fence = held.fence().map_or_else(|| "-".to_owned(), |fence| fence.to_string());
        self.log.say(at, format_args!("holds {fence} {remaining}"))?;
        if lock == "mutex" {
            self.add(&held, thought)?;
        } else {
            thread::sleep(thought);
        }
        self.look(&held)?;
        self.log.say(now(), format_args!("leaves"))?;
        let released = held.release();
        let said = released.as_ref().map_or_else(told, |()| "yes".to_owned());
        self.log.say(now(), format_args!("left {said}"))?;
        Ok(released.is_ok())
    }

    fn acquire(&self, lock: &str, timeout: Option<Duration>) -> Result<LockHandle, LockError> {
        match lock {
            "mutex" => self.provider.create_lock("m").acquire(timeout),
            "read" => self.provider.create_reader_writer_lock("rw").acquire_read(timeout),
            "write" => self.provider.create_reader_writer_lock("rw").acquire_write(timeout),
            _ => self.provider.create_semaphore("s", PERMITS).acquire(timeout),
        }
    }

    /// Adds the next number to both sets, if the lock still seems to be held.
    fn add(&mut self, held: &LockHandle, thought: Duration) -> Result<(), Box<dyn Error>> {
        self.added += 1;
        let (worker, number, token) = (self.number, self.added, held.fence().unwrap_or(0));
        self.log.say(now(), format_args!("begins"))?;
        let mut plain = self.plain.read()?;
        let fenced = self.fenced.read(token)?;
        thread::sleep(thought);
        if !self.look(held)? {
            return Ok(());
        }
        if self.habit == Habit::StopsBeforeItsWrite {
            self.habit = Habit::OnlyOnce;
            kill_process(getpid(), Signal::STOP)?;
        }
        plain.add(worker, number);
        self.plain.write(&plain)?;
        self.log.say(now(), format_args!("plain {number}"))?;
        let accepted = match fenced {
            Some(mut fenced) => {
                fenced.add(worker, number);
                self.fenced.write(token, &fenced)?
            }
            None => false,
        };
        let accepted = if accepted { "yes" } else { "no" };
        self.log.say(now(), format_args!("fenced {number} {accepted}"))?;
        Ok(())
    }

    /// Says whether the lock is held, and for how long.
    fn look(&self, held: &LockHandle) -> Result<bool, Box<dyn Error>> {
        let (at, remaining) = (now(), remaining(held));
        let valid = held.is_valid();
        if valid {
            self.log.say(at, format_args!("valid {remaining}"))?;
        } else {
            let reason = held.lost_token().reason();
            let reason = reason.map_or_else(|| "nobody says why".to_owned(), |why| why.to_string());
            self.log.say(at, format_args!("lost {reason}"))?;
        }
        Ok(valid)
    }
}

/// For how many nanoseconds the lock is held without being prolonged.
fn remaining(held: &LockHandle) -> String {
    held.remaining().map_or_else(|| "-".to_owned(), |left| left.as_nanos().to_string())
}

/// An error on one line.
fn told(error: &LockError) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}").replace('\n', " ")
}

fn seeded(seed: u64, worker: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&worker.to_le_bytes());
    bytes
}

impl Habit {
    const ALL: [Self; 3] = [Self::Diligent, Self::OnlyOnce, Self::StopsBeforeItsWrite];

    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Diligent => "diligent",
            Self::OnlyOnce => "once",
            Self::StopsBeforeItsWrite => "stops",
        }
    }
}

impl FromStr for Habit {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|habit| habit.name() == name);
        found.ok_or_else(|| format!("nobody has the habit {name:?}"))
    }
}
