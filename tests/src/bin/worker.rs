//! A process that takes locks, for the tests that need several. It reads commands from its standard
//! input and answers each with one line:
//!
//! - `open DIRECTORY`, `open-deleting DIRECTORY`: `opened`; file locks
//! - `open-redis URL`, `open-postgres URL`: `opened`
//! - `acquire WHAT TIMEOUT NAME`: `held FENCE` or `busy`; WHAT is `lock`, `read`, `write`, `at` (an
//!   exact file) or `PERMITS/LIMIT`, TIMEOUT is in milliseconds or `-`
//! - `release`: `released`; the newest lock
//! - `status`: `valid REMAINING` or `invalid REMAINING`
//! - `extend MILLISECONDS`: `extended`
//! - `lost MILLISECONDS`: `lost REASON`
//! - `rounds COUNT NAME DIRECTORY`: `done`, if nobody else was ever inside
//! - `spawn FIFO`: `spawned`; a child that waits until somebody writes to it
//! - `chdir DIRECTORY`: `changed`
//! - `delete FILE`: `deleted`
//! - `starve`: `starved`; no more files can be opened, until `feed`: `fed`
//! - `exit`: nothing; it ends without a release
//!
//! What can't be done is `error VARIANT|MESSAGE|SOURCE`.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Write as _, stdin, stdout};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lock_blocking::{
    FileLockProvider, LockError, LockHandle, LockProvider, PostgresLockProvider, RedisLockProvider,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Answer = Result<String, Box<dyn Error>>;

#[derive(Default)]
struct Worker {
    provider: Option<Provider>,
    held: Vec<LockHandle>,
    limit: Option<Rlimit>,
}

enum Provider {
    Files(FileLockProvider),
    Redis(RedisLockProvider),
    Postgres(PostgresLockProvider),
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut worker = Worker::default();
    for line in stdin().lines() {
        let line = line?;
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if command == "exit" {
            std::mem::forget(worker);
            return Ok(());
        }
        let answer = worker.carry_out(command, rest).unwrap_or_else(|error| tell(&*error));
        let mut output = stdout().lock();
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn tell(error: &(dyn Error + 'static)) -> String {
    let kind = match error.downcast_ref::<LockError>() {
        Some(LockError::Timeout(_)) => return "busy".to_owned(),
        Some(error) => format!("{error:?}"),
        None => "Other".to_owned(),
    };
    let kind = kind.split([' ', '(', '{']).next().unwrap_or_default();
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    format!("error {kind}|{error}|{source}")
}

impl Worker {
    fn carry_out(&mut self, command: &str, rest: &str) -> Answer {
        let answer = match command {
            "open" => self.open(rest, false)?,
            "open-deleting" => self.open(rest, true)?,
            "open-redis" => {
                self.provider = Some(Provider::Redis(RedisLockProvider::new(rest)?));
                "opened".to_owned()
            }
            "open-postgres" => {
                self.provider = Some(Provider::Postgres(PostgresLockProvider::new(rest)?));
                "opened".to_owned()
            }
            "acquire" => {
                let held = self.acquire(rest)?;
                let fence = held.fence().map_or_else(|| "-".to_owned(), |fence| fence.to_string());
                self.held.push(held);
                format!("held {fence}")
            }
            "release" => {
                self.held.pop().ok_or("nothing is held")?.release()?;
                "released".to_owned()
            }
            "status" => {
                let held = self.newest()?;
                let valid = if held.is_valid() { "valid" } else { "invalid" };
                format!("{valid} {:?}", held.remaining())
            }
            "extend" => {
                self.newest()?.extend(Duration::from_millis(rest.parse()?))?;
                "extended".to_owned()
            }
            "lost" => {
                let bound = Duration::from_millis(rest.parse()?);
                let reason = self.newest()?.lost_token().changed(Some(bound));
                format!("lost {:?}", reason.ok_or("it is not lost")?)
            }
            "rounds" => self.rounds(rest)?,
            "spawn" => {
                // Left alone on purpose: it outlives its parent.
                let child = Command::new("cat").arg(rest).spawn()?;
                format!("spawned {}", child.id())
            }
            "chdir" => {
                std::env::set_current_dir(rest)?;
                "changed".to_owned()
            }
            "delete" => {
                fs::remove_file(rest)?;
                "deleted".to_owned()
            }
            "starve" => self.starve()?,
            "feed" => {
                setrlimit(Resource::Nofile, self.limit.take().ok_or("nobody starves")?)?;
                "fed".to_owned()
            }
            _ => return Err(format!("a worker can't {command}").into()),
        };
        Ok(answer)
    }

    fn open(&mut self, directory: &str, delete: bool) -> Answer {
        let builder = FileLockProvider::builder().directory(directory).delete_on_release(delete);
        self.provider = Some(Provider::Files(builder.build()?));
        Ok("opened".to_owned())
    }

    fn acquire(&self, rest: &str) -> Result<LockHandle, Box<dyn Error>> {
        let provider = self.provider()?;
        let [what, timeout, name] = words(rest)?;
        let timeout = match timeout {
            "-" => None,
            milliseconds => Some(Duration::from_millis(milliseconds.parse()?)),
        };
        let handle = match what {
            "lock" => provider.create_lock(name).acquire(timeout),
            "at" => match &self.provider {
                Some(Provider::Files(files)) => files.create_lock_at(name).acquire(timeout),
                _ => return Err("only a file is at a place".into()),
            },
            "read" => provider.create_reader_writer_lock(name).acquire_read(timeout),
            "write" => provider.create_reader_writer_lock(name).acquire_write(timeout),
            permits => {
                let (permits, limit) = permits.split_once('/').ok_or("no such lock")?;
                let semaphore = provider.create_semaphore(name, limit.parse()?);
                semaphore.acquire_many(permits.parse()?, timeout)
            }
        };
        Ok(handle?)
    }

    fn rounds(&self, rest: &str) -> Answer {
        let [rounds, name, directory] = words(rest)?;
        let lock = self.provider()?.create_lock(name);
        for _ in 0..rounds.parse()? {
            let held = lock.acquire(None)?;
            count_alone(Path::new(directory))?;
            held.release()?;
        }
        Ok("done".to_owned())
    }

    /// As many files as are open already are all that may be.
    fn starve(&mut self) -> Answer {
        let limit = getrlimit(Resource::Nofile);
        let next = fs::File::open("/dev/null")?.as_raw_fd();
        let current = Some(next.try_into()?);
        setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })?;
        self.limit = Some(limit);
        Ok("starved".to_owned())
    }

    fn provider(&self) -> Result<&dyn LockProvider, Box<dyn Error>> {
        match &self.provider {
            Some(Provider::Files(files)) => Ok(files),
            Some(Provider::Redis(redis)) => Ok(redis),
            Some(Provider::Postgres(postgres)) => Ok(postgres),
            None => Err("nothing is open".into()),
        }
    }

    fn newest(&self) -> Result<&LockHandle, Box<dyn Error>> {
        Ok(self.held.last().ok_or("nothing is held")?)
    }
}

/// Reads, adds one and writes, which is lost if two do it at once; the marker tells of it.
fn count_alone(directory: &Path) -> Result<(), Box<dyn Error>> {
    let (marker, counter) = (directory.join("inside"), directory.join("counter"));
    OpenOptions::new().write(true).create_new(true).open(&marker)?;
    let count: u64 = fs::read_to_string(&counter)?.parse()?;
    fs::write(&counter, (count + 1).to_string())?;
    Ok(fs::remove_file(marker)?)
}

/// The first two words, and the rest.
fn words(rest: &str) -> Result<[&str; 3], Box<dyn Error>> {
    let mut words = rest.splitn(3, ' ');
    let mut next = || words.next().ok_or("three words are needed");
    Ok([next()?, next()?, next()?])
}
