//! Locks on the files of a directory.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lock_engine::{Client, FileOptions, Files, Target, open_files};
use lock_proto::LockError;

use crate::provider::sealed::HasClient;
use crate::{Lock, ReaderWriterLock};

/// Locks on the files of a directory, for the processes of one machine.
///
/// Each lock is a file, locked with `flock`: any other program that uses `flock` on it, flock(1)
/// among them, is excluded and excludes us. The kernel releases the locks of a process that ends,
/// however it ends. Files of mutexes and reader-writer locks have the names that
/// DistributedLock.FileSystem for .NET gives them.
///
/// Lock files are opened and locked where the future is polled, which takes a few microseconds on
/// a local file system. On a network file system it may take longer, and `flock` may not reach
/// other machines: don't put the directory there.
///
/// ```
/// use lock_blocking::prelude::*;
///
/// # fn example(directory: &std::path::Path) -> Result<(), LockError> {
/// let provider = FileLockProvider::builder().directory(directory).build()?;
/// let handle = provider.create_lock("orders").acquire(None)?;
/// // … nobody else on this machine is here …
/// handle.release()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FileLockProvider {
    files: Files,
    client: Arc<dyn Client>,
}

/// What a [`FileLockProvider`] is made of.
#[derive(Clone, Debug, Default)]
pub struct FileLockProviderBuilder {
    options: FileOptions,
}

impl FileLockProvider {
    /// The locks of `directory`, which is made if need be.
    ///
    /// # Errors
    ///
    /// As [`FileLockProviderBuilder::build`].
    pub fn new(directory: impl AsRef<Path>) -> Result<Self, LockError> {
        Self::builder().directory(directory).build()
    }

    /// A provider whose directory is to be chosen.
    #[must_use]
    pub fn builder() -> FileLockProviderBuilder {
        FileLockProviderBuilder::default()
    }

    /// The lock whose file is exactly `path`, in whichever directory. A file with contents of its
    /// own is locked and not written to, so its handles have no fencing token.
    #[must_use]
    pub fn create_lock_at(&self, path: impl AsRef<Path>) -> Lock {
        Lock::new(self.target_at(path.as_ref()))
    }

    /// The reader-writer lock whose file is exactly `path`; as
    /// [`create_lock_at`](Self::create_lock_at).
    #[must_use]
    pub fn create_reader_writer_lock_at(&self, path: impl AsRef<Path>) -> ReaderWriterLock {
        ReaderWriterLock::new(self.target_at(path.as_ref()))
    }

    fn target_at(&self, path: &Path) -> Target {
        Target::at(&self.client, self.files.locate_path(path))
    }
}

impl FileLockProviderBuilder {
    /// The directory of the lock files; required. It is made if need be.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.options.set_directory(directory.as_ref());
        self
    }

    /// Whether the file of an exclusive lock is deleted when it is released. Default: no, which is
    /// several times faster and lets fencing tokens rise whatever the clock does.
    #[must_use]
    pub fn delete_on_release(mut self, delete: bool) -> Self {
        self.options.set_remove_on_release(delete);
        self
    }

    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if no directory was named, or if everybody may delete others'
    /// files in it; [`LockError::Backend`] if it can't be made or opened.
    pub fn build(self) -> Result<FileLockProvider, LockError> {
        let files = open_files(&self.options)?;
        let client = files.client();
        Ok(FileLockProvider { files, client })
    }
}

impl fmt::Debug for FileLockProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLockProvider").finish_non_exhaustive()
    }
}

impl HasClient for FileLockProvider {
    fn client(&self) -> &Arc<dyn Client> {
        &self.client
    }
}
