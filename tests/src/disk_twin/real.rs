//! The real one of the two directories.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use lock_proto::Fault;
use lock_proto::file::{Command, File, Mode, Record, Reply};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{FlockOperation, OFlags, Stat, fstat, lstat};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::service::disk::Opener;

/// A directory, and the files in it that are open.
pub(super) struct Real {
    parent: TempDir,
    /// One for all times: to close one takes longer than a hundred steps.
    inotify: OwnedFd,
    open: BTreeMap<(Opener, File), Opened>,
}

struct Opened {
    file: OwnedFd,
    /// As what inotify knows the file, if somebody wants to hear of its closes.
    watch: Option<i32>,
}

impl Real {
    pub(super) fn new() -> Self {
        let parent = TempDir::with_prefix("disk-").expect("the temporary directory is there");
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).expect("a descriptor is left");
        Self { parent, inotify, open: BTreeMap::new() }
    }

    /// Begins anew, with an empty directory or with none.
    pub(super) fn begin(&mut self, there: bool) {
        self.open.clear();
        self.unlink_directory();
        if there {
            fs::create_dir(self.directory()).expect("the parent is ours");
        }
    }

    pub(super) fn execute(&mut self, opener: Opener, command: &Command) -> Result<Reply, Fault> {
        let path = match command {
            Command::CreateDirectory => {
                fs::create_dir_all(self.directory()).expect("the parent is ours");
                return Ok(Reply::Done);
            }
            Command::Enter { .. } | Command::Leave => panic!("a directory keeps no queue"),
            Command::Open(file)
            | Command::TryLock(file, _)
            | Command::Watch(file)
            | Command::Verify(file)
            | Command::Read(file)
            | Command::Write(file, _)
            | Command::Remove(file)
            | Command::Close(file) => self.path(*file),
        };
        match command {
            Command::Open(file) => return self.open(opener, *file, &path),
            Command::Remove(_) => {
                let removed = fs::remove_file(path);
                assert!(removed.is_ok() || removed.is_err_and(|e| e.kind() == ErrorKind::NotFound));
            }
            Command::Close(file) => drop(self.open.remove(&(opener, *file))),
            Command::TryLock(file, mode) => return self.opened(opener, *file)?.try_lock(*mode),
            Command::Watch(file) => self.watch(opener, *file)?,
            Command::Verify(file) => {
                let same = is_named(&self.opened(opener, *file)?.file, &path);
                return Ok(if same { Reply::Done } else { Reply::Replaced });
            }
            Command::Read(file) => return Ok(self.opened(opener, *file)?.read()),
            Command::Write(file, bytes) => self.opened(opener, *file)?.write(bytes),
            Command::CreateDirectory | Command::Enter { .. } | Command::Leave => {}
        }
        Ok(Reply::Done)
    }

    /// Somebody deletes a file; whether it was there.
    pub(super) fn unlink(&self, file: File) -> bool {
        fs::remove_file(self.path(file)).is_ok()
    }

    pub(super) fn unlink_directory(&self) {
        let removed = fs::remove_dir_all(self.directory());
        assert!(removed.is_ok() || removed.is_err_and(|e| e.kind() == ErrorKind::NotFound));
    }

    /// Closes all that somebody has open.
    pub(super) fn kill(&mut self, opener: Opener) {
        self.open.retain(|(other, _), _| *other != opener);
    }

    /// Whether the path of a file that is open names it.
    pub(super) fn names(&self, opener: Opener, file: File) -> bool {
        let opened = self.open.get(&(opener, file));
        opened.is_some_and(|opened| is_named(&opened.file, &self.path(file)))
    }

    /// Hears of whatever was closed before.
    pub(super) fn forget_closes(&self) {
        self.closed();
    }

    /// Who was told of a close.
    pub(super) fn told(&self) -> BTreeSet<Opener> {
        let closed = self.closed();
        let hears = |opened: &Opened| opened.watch.is_some_and(|watch| closed.contains(&watch));
        let told = self.open.iter().filter(|(_, opened)| hears(opened));
        told.map(|((opener, _), _)| *opener).collect()
    }

    fn closed(&self) -> BTreeSet<i32> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let closing = ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE;
        let mut closed = BTreeSet::new();
        while let Ok(event) = events.next() {
            if event.events().intersects(closing) {
                closed.insert(event.wd());
            }
        }
        closed
    }

    fn watch(&mut self, opener: Opener, file: File) -> Result<(), Fault> {
        // By its descriptor, since the path may name another file by now.
        let path = format!("/proc/self/fd/{}", self.opened(opener, file)?.file.as_raw_fd());
        let closing = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let watch = inotify::add_watch(&self.inotify, path, closing).expect("the file is open");
        self.opened(opener, file)?.watch = Some(watch);
        Ok(())
    }

    fn open(&mut self, opener: Opener, file: File, path: &Path) -> Result<Reply, Fault> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::NOFOLLOW;
        match rustix::fs::open(path, flags, rustix::fs::Mode::from_raw_mode(0o600)) {
            Ok(descriptor) => {
                let opened = Opened { watch: None, file: descriptor };
                self.open.insert((opener, file), opened);
                Ok(Reply::Done)
            }
            Err(Errno::NOENT) => Ok(Reply::NoDirectory),
            Err(errno) => panic!("{}: {errno}", path.display()),
        }
    }

    fn opened(&mut self, opener: Opener, file: File) -> Result<&mut Opened, Fault> {
        self.open.get_mut(&(opener, file)).ok_or_else(|| Fault::refused("it is not open"))
    }

    fn path(&self, file: File) -> PathBuf {
        let mut name = OsString::from("a");
        name.push(file.suffix());
        self.directory().join(name)
    }

    fn directory(&self) -> PathBuf {
        self.parent.path().join("locks")
    }
}

impl Opened {
    fn try_lock(&self, mode: Mode) -> Result<Reply, Fault> {
        let operation = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&self.file, operation) {
            Ok(()) => Ok(Reply::Done),
            Err(Errno::WOULDBLOCK) => Ok(Reply::Busy),
            Err(errno) => panic!("flock: {errno}"),
        }
    }

    fn read(&self) -> Reply {
        let mut bytes = vec![0; Record::MAX_BYTES];
        let read = rustix::io::pread(&self.file, &mut bytes, 0).expect("it is open to be read");
        bytes.truncate(read);
        Reply::Contents { bytes, wall_micros: 0 }
    }

    fn write(&self, bytes: &[u8]) {
        let written = rustix::io::pwrite(&self.file, bytes, 0).expect("it is open to be written");
        assert_eq!(written, bytes.len(), "the disk has room");
    }
}

fn is_named(file: &OwnedFd, path: &Path) -> bool {
    let inode = |stat: Stat| (stat.st_dev, stat.st_ino);
    let open = fstat(file).expect("it is open");
    lstat(path).is_ok_and(|named| inode(named) == inode(open))
}
