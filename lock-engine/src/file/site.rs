//! The open files of one acquisition.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lock_proto::file::{File, Mode, Record, Reply};
use lock_proto::{Demand, Fault, LockId, LockName};
use rustix::fs::{FileType, FlockOperation, OFlags};
use rustix::io::Errno;

use super::identity::{self, Inode};
use super::link::FileLink;
use crate::engine::Engine;
use crate::few::Few;

/// How often a file may vanish between two ways of opening it before that is an error.
const MAX_OPENINGS: u32 = 64;

/// Bytes of a record whose name and owner are not unusually long.
const ORDINARY_RECORD: usize = 256;

pub(super) struct Site {
    /// The lock file; the others stand beside it.
    path: Arc<Path>,
    queue: LockName,
    demand: Demand,
    opened: Mutex<Few<Opened>>,
}

pub(super) struct Opened {
    file: File,
    /// Before `descriptor`, so that a watch ends before its file is closed.
    #[cfg(target_os = "linux")]
    watch: Option<super::watch::Watch>,
    descriptor: OwnedFd,
    path: Arc<Path>,
    inode: Inode,
}

impl Site {
    pub(super) fn new(path: Arc<Path>, queue: LockName, demand: Demand) -> Self {
        Self { path, queue, demand, opened: Mutex::default() }
    }

    pub(super) fn demand(&self) -> Demand {
        self.demand
    }

    /// What this process's tasks queue for.
    pub(super) fn queue(&self) -> &LockName {
        &self.queue
    }

    pub(super) fn create_directory(&self) -> Result<Reply, Fault> {
        self.path.parent().map_or(Ok(()), create_directory)?;
        Ok(Reply::Done)
    }

    /// Nudges `lock` when somebody closes `file`.
    #[cfg(target_os = "linux")]
    pub(super) fn watch(
        &self,
        file: File,
        engine: &Arc<Engine<FileLink>>,
        lock: LockId,
    ) -> Result<Reply, Fault> {
        let background = engine.background()?;
        self.with(file, |at| {
            let driven = Arc::downgrade(engine);
            let watch = background.watches().watch(background, &at.descriptor, driven, lock);
            at.watch = Some(watch.map_err(|errno| refused("watch", &at.path, errno))?);
            Ok(Reply::Done)
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn watch(
        &self,
        _: File,
        _: &Arc<Engine<FileLink>>,
        _: LockId,
    ) -> Result<Reply, Fault> {
        Err(Fault::not_sent("this system doesn't tell when a file is closed"))
    }

    pub(super) fn open(&self, file: File) -> Result<Reply, Fault> {
        let path = path_of(&self.path, file);
        let descriptor = match open_or_create(&path) {
            Ok(Some(descriptor)) => descriptor,
            Ok(None) => return Ok(Reply::NoDirectory),
            Err(errno) => return Err(refused("open the lock file", &path, errno)),
        };
        let (kind, inode) = identity::of_open(&descriptor)
            .map_err(|errno| refused("look at the lock file", &path, errno))?;
        if kind != FileType::RegularFile {
            let context = format!("{} is no regular file: choose another path", path.display());
            return Err(Fault::refused(context));
        }
        self.opened().push(Opened {
            file,
            #[cfg(target_os = "linux")]
            watch: None,
            descriptor,
            path,
            inode,
        });
        Ok(Reply::Done)
    }

    /// A machine asks one thing at a time, so nobody waits for the mutex meanwhile.
    pub(super) fn with(
        &self,
        file: File,
        ask: impl FnOnce(&mut Opened) -> Result<Reply, Fault>,
    ) -> Result<Reply, Fault> {
        match self.opened().find_mut(|opened| opened.file == file) {
            Some(opened) => ask(opened),
            None => Err(Fault::not_sent("the lock file is not open")),
        }
    }

    pub(super) fn close(&self, file: File) -> Result<Reply, Fault> {
        let closed = self.opened().remove(|opened| opened.file == file);
        if let Some(opened) = closed {
            // Whoever was just forked, by any thread, has the file open as well until it executes
            // its program, so closing alone would leave it locked meanwhile.
            let _ = rustix::fs::flock(&opened.descriptor, FlockOperation::Unlock);
        }
        Ok(Reply::Done)
    }

    fn opened(&self) -> MutexGuard<'_, Few<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    pub(super) fn try_lock(&self, mode: Mode) -> Result<Reply, Fault> {
        let operation = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            match rustix::fs::flock(&self.descriptor, operation) {
                Ok(()) => return Ok(Reply::Done),
                Err(Errno::WOULDBLOCK) => return Ok(Reply::Busy),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused("lock", &self.path, errno)),
            }
        }
    }

    pub(super) fn verify(&self) -> Result<Reply, Fault> {
        match identity::of_path(&self.path) {
            Ok(named) if named == self.inode => Ok(Reply::Done),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(Reply::Replaced),
            Err(errno) => {
                let context = format!("the lock file {} can't be looked at", self.path.display());
                Err(Fault::unknown(context).with_cause(io::Error::from(errno)))
            }
        }
    }

    pub(super) fn read(&self) -> Result<Reply, Fault> {
        let bytes = read_start(&self.descriptor)
            .map_err(|errno| refused("read the lock file", &self.path, errno))?;
        Ok(Reply::Contents { bytes, wall_micros: wall_micros() })
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<Reply, Fault> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::pwrite(&self.descriptor, &bytes[written..], written as u64) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused("write to the lock file", &self.path, errno)),
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn remove(&self) -> Result<Reply, Fault> {
        match rustix::fs::unlink(&*self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(Reply::Done),
            Err(errno) => Err(refused("delete the lock file", &self.path, errno)),
        }
    }
}

/// Makes `directory` and its parents; others may be doing the same.
pub(super) fn create_directory(directory: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(directory).map_err(|error| {
        // A NUL in the path is found before the system is asked.
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
        refused("make the directory", directory, errno)
    })
}

/// `lock_file`, or the file that stands beside it.
pub(super) fn path_of(lock_file: &Arc<Path>, file: File) -> Arc<Path> {
    if file == File::Lock {
        return Arc::clone(lock_file);
    }
    let mut path = OsString::from(&**lock_file);
    path.push(file.suffix());
    PathBuf::from(path).into()
}

/// The start of an open lock file; one call reads all of an ordinary record.
pub(super) fn read_start(descriptor: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; ORDINARY_RECORD];
    let mut read = 0;
    loop {
        match rustix::io::pread(&descriptor, &mut bytes[read..], read as u64) {
            Ok(count) => read += count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if read < bytes.len() || read == Record::MAX_BYTES {
            bytes.truncate(read);
            return Ok(bytes);
        }
        bytes.resize(Record::MAX_BYTES, 0);
    }
}

pub(super) fn wall_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Opens what is there before it creates: in a sticky directory Linux refuses to "create" a file
/// that somebody else owns (`fs.protected_regular`). `None` if there is no directory for it.
fn open_or_create(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let flags =
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let mut vanished = Errno::AGAIN;
    for _ in 0..MAX_OPENINGS {
        match rustix::fs::open(path, flags, mode) {
            Err(Errno::NOENT) => {}
            opened => return opened.map(Some),
        }
        match rustix::fs::open(path, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Err(Errno::EXIST) => vanished = Errno::AGAIN,
            // Some file systems say so of a directory that is there, and making it doesn't help;
            // but somebody may have made it just now.
            Err(Errno::NOENT) if path.parent().is_none_or(Path::is_dir) => vanished = Errno::NOENT,
            Err(Errno::NOENT) => return Ok(None),
            created => return created.map(Some),
        }
    }
    Err(vanished)
}

/// What could not be done with a file, and what to do about it.
pub(super) fn refused(what: &str, path: &Path, errno: Errno) -> Fault {
    let advice = match errno {
        Errno::ACCESS | Errno::PERM => "this user needs the right to read and write it",
        Errno::ROFS => "the file system is read-only: choose another directory",
        Errno::NOSPC | Errno::DQUOT => "free some space, or choose another directory",
        Errno::MFILE | Errno::NFILE => "raise the limit on open files (ulimit -n)",
        Errno::LOOP => "it is a symbolic link, which somebody may have planted: remove it",
        Errno::ISDIR => "it is a directory: choose another path",
        Errno::NOTDIR | Errno::EXIST => "a part of the path is a file and no directory",
        Errno::NOENT => "no file can be made there: choose another directory",
        Errno::AGAIN => "somebody keeps deleting it",
        Errno::INVAL => "the path has a character that the file system refuses",
        Errno::NAMETOOLONG => "the path is too long: choose a shorter directory",
        Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS => {
            "the file system has no flock: choose another directory"
        }
        _ => "see the cause",
    };
    Fault::refused(format!("can't {what} {}: {advice}", path.display()))
        .with_cause(io::Error::from(errno))
}
