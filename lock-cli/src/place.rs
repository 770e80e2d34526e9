//! Where the locks are, and which one is meant.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lock_blocking::{
    AcquireOptions, FileLockProvider, Lock, LockError, LockHandle, LockInfo, LockProvider,
    PostgresLockProvider, ReaderWriterLock, RedisLockProvider, Semaphore,
};

use crate::cli::{PlaceArgs, WhichArgs};
use crate::exit::Failure;

const URL_VARIABLE: &str = "DLOCK_URL";
const DIRECTORY: &str = "distributed-lock";
/// How long connecting to servers may take, unless the whole command may take no longer, and then
/// at least so long as one try needs.
const CONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// One lock, and how much of it is wanted.
#[derive(Clone)]
pub(crate) struct Wanted {
    provider: Arc<dyn LockProvider>,
    label: OsString,
    share: Share,
}

#[derive(Clone)]
enum Share {
    All(Lock),
    Reading(ReaderWriterLock),
    Permit(Semaphore),
}

impl Wanted {
    /// Finds the lock that `which` means, for which the caller waits for at most `timeout`.
    pub(crate) fn find(which: &WhichArgs, timeout: Option<Duration>) -> Result<Self, Failure> {
        if let Some(path) = &which.file {
            return Self::at(path, which.shared);
        }
        let provider: Arc<dyn LockProvider> = open(&which.place, timeout)?.into();
        let name = which.name.as_deref().unwrap_or_default();
        let share = match which.permits {
            Some(limit) => Share::Permit(provider.create_semaphore(name, limit)),
            None if which.shared => Share::Reading(provider.create_reader_writer_lock(name)),
            None => Share::All(provider.create_lock(name)),
        };
        Ok(Self { provider, label: name.into(), share })
    }

    fn at(path: &Path, shared: bool) -> Result<Self, Failure> {
        let absolute = std::path::absolute(path)
            .map_err(|_| Failure::Usage("--file needs the path of a file".to_owned()))?;
        let parent = absolute.parent().filter(|_| absolute.file_name().is_some());
        let directory = parent.ok_or_else(|| {
            Failure::Usage(format!("--file {} is no path of a file", path.display()))
        })?;
        let files = FileLockProvider::new(directory)?;
        let share = if shared {
            Share::Reading(files.create_reader_writer_lock_at(&absolute))
        } else {
            Share::All(files.create_lock_at(&absolute))
        };
        Ok(Self { provider: Arc::new(files), label: absolute.into(), share })
    }

    /// What the lock is called: its name, or the path of its file.
    pub(crate) fn label(&self) -> &OsStr {
        &self.label
    }

    pub(crate) fn acquire(&self, options: AcquireOptions) -> Result<LockHandle, LockError> {
        match &self.share {
            Share::All(lock) => lock.acquire_with(options),
            Share::Reading(lock) => lock.acquire_read_with(options),
            Share::Permit(semaphore) => semaphore.acquire_with(options),
        }
    }

    pub(crate) fn info(&self) -> Result<LockInfo, LockError> {
        match &self.share {
            Share::All(lock) => lock.info(),
            Share::Reading(lock) => lock.info(),
            Share::Permit(semaphore) => semaphore.info(),
        }
    }

    /// Ends whoever waits for it, and leaves nothing behind.
    pub(crate) fn close(&self) {
        self.provider.close();
    }
}

/// Opens the place that the command line, or the environment, names, within `timeout`.
pub(crate) fn open(
    place: &PlaceArgs,
    timeout: Option<Duration>,
) -> Result<Box<dyn LockProvider>, Failure> {
    let Some(url) = url(place)? else {
        return Ok(Box::new(FileLockProvider::new(default_directory()?)?));
    };
    match scheme(&url) {
        Scheme::Memory => {
            let problem =
                "a memory: lock excludes nobody outside this process: use file:///directory";
            Err(Failure::Usage(problem.to_owned()))
        }
        Scheme::Redis => {
            let servers = RedisLockProvider::builder().url(&url).connect_timeout(connect(timeout));
            Ok(Box::new(servers.build()?))
        }
        Scheme::Postgres => {
            let server = PostgresLockProvider::builder().url(&url);
            Ok(Box::new(server.connect_timeout(connect(timeout)).build()?))
        }
        Scheme::Other => Ok(lock_blocking::connect(&url)?),
    }
}

fn connect(timeout: Option<Duration>) -> Duration {
    timeout.map_or(CONNECT.1, |timeout| timeout.clamp(CONNECT.0, CONNECT.1))
}

/// The URL that the command line, or the environment, gives.
pub(crate) fn url(place: &PlaceArgs) -> Result<Option<String>, Failure> {
    let variable = || std::env::var_os(URL_VARIABLE).filter(|url| !url.is_empty());
    let Some(url) = place.url.clone().or_else(variable) else { return Ok(None) };
    let url = url.into_string();
    let odd = |_| Failure::Usage("the URL is not UTF-8: write odd bytes as %XX".to_owned());
    url.map(Some).map_err(odd)
}

/// What a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// This process.
    Memory,
    /// Redis servers.
    Redis,
    /// A PostgreSQL server.
    Postgres,
    /// Files, or nothing that is known.
    Other,
}

pub(crate) fn scheme(url: &str) -> Scheme {
    let scheme = url.split([':', '+']).next().unwrap_or_default().to_ascii_lowercase();
    match scheme.as_str() {
        "memory" => Scheme::Memory,
        "redis" | "rediss" | "valkey" | "valkeys" | "unix" => Scheme::Redis,
        "postgres" | "postgresql" => Scheme::Postgres,
        _ => Scheme::Other,
    }
}

/// The user's own directory, by the [XDG] rules: a path that is not absolute counts as none.
///
/// [XDG]: https://specifications.freedesktop.org/basedir-spec/latest/
fn default_directory() -> Result<PathBuf, Failure> {
    let absolute = |variable: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_RUNTIME_DIR")
        .or_else(|| absolute("XDG_STATE_HOME"))
        .or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let base = base.ok_or_else(|| {
        let problem = "none of XDG_RUNTIME_DIR, XDG_STATE_HOME and HOME says where the locks are: \
                       give --url, as in --url file:///var/lock/app";
        Failure::Usage(problem.to_owned())
    })?;
    Ok(base.join(DIRECTORY))
}
