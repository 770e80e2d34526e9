//! Locks on files: the least that one can do, and those of others.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use distributed_lock_core::{DistributedLock as _, LockHandle as _, LockProvider as _};
use distributed_lock_file::{FileDistributedLock, FileLockHandle, FileLockProvider};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxFlags, flock, open, statx};
use rustix::io::{pread, pwrite};

use crate::workload::{BlockingLockable, Lockable};

/// `open`, `flock` and `close`.
pub struct Flock(PathBuf);

impl Flock {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn open(&self) -> OwnedFd {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        open(&self.0, flags, Mode::from_raw_mode(0o644)).expect("the directory is ours")
    }
}

/// Tried once: nobody else has it.
impl Lockable for Flock {
    type Held = OwnedFd;

    async fn acquire(&self) -> OwnedFd {
        let file = self.open();
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");
        file
    }

    async fn release(&self, held: OwnedFd) {
        drop(held);
    }
}

/// The kernel lets the thread wait.
impl BlockingLockable for Flock {
    type Held = OwnedFd;

    fn acquire(&self) -> OwnedFd {
        let file = self.open();
        flock(&file, FlockOperation::LockExclusive).expect("no signal has a handler");
        file
    }

    fn release(&self, held: OwnedFd) {
        drop(held);
    }
}

/// The system calls without which a lock could be had on a file that somebody deleted, would mint no
/// fence, or would stay locked while a child of the process starts.
pub struct SafeFlock(pub Flock);

impl Lockable for SafeFlock {
    type Held = OwnedFd;

    async fn acquire(&self) -> OwnedFd {
        let file = self.0.open();
        let ino = StatxFlags::TYPE | StatxFlags::INO;
        let opened = statx(&file, "", AtFlags::EMPTY_PATH, ino).expect("it is open");
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");
        let named = statx(CWD, &self.0.0, AtFlags::SYMLINK_NOFOLLOW, ino).expect("it is there");
        assert_eq!(opened.stx_ino, named.stx_ino);
        let mut record = [0; 128];
        pread(&file, &mut record, 0).expect("it is readable");
        pwrite(&file, &record, 0).expect("it is writable");
        file
    }

    async fn release(&self, held: OwnedFd) {
        flock(&held, FlockOperation::Unlock).expect("it is locked");
    }
}

/// fs4, tried once.
pub struct Fs4(pub PathBuf);

impl Lockable for Fs4 {
    type Held = File;

    async fn acquire(&self) -> File {
        let file = File::options().create(true).truncate(false).write(true).open(&self.0);
        let file = file.expect("the directory is ours");
        fs4::FileExt::try_lock(&file).expect("nobody else has it");
        file
    }

    async fn release(&self, held: File) {
        fs4::FileExt::unlock(&held).expect("it is locked");
    }
}

/// The file locks of the standard library, tried once.
pub struct StdFile(pub PathBuf);

impl Lockable for StdFile {
    type Held = File;

    async fn acquire(&self) -> File {
        let file = File::options().create(true).truncate(false).write(true).open(&self.0);
        let file = file.expect("the directory is ours");
        file.try_lock().expect("nobody else has it");
        file
    }

    async fn release(&self, held: File) {
        held.unlock().expect("it is locked");
    }
}

/// distributed-lock-file.
pub struct DistributedFile(FileDistributedLock);

impl DistributedFile {
    pub fn new(directory: &Path, name: &str) -> Self {
        let provider = FileLockProvider::new(directory).expect("the directory is ours");
        Self(provider.create_lock(name))
    }
}

impl Lockable for DistributedFile {
    type Held = FileLockHandle;

    async fn acquire(&self) -> FileLockHandle {
        loop {
            // It fails when another deletes the file in between.
            if let Ok(held) = self.0.acquire(None).await {
                return held;
            }
        }
    }

    async fn release(&self, held: FileLockHandle) {
        let _ = held.release().await;
    }
}
