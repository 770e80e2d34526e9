//! Locks on the files of a directory.

mod identity;
mod info;
mod link;
mod site;
#[cfg(target_os = "linux")]
mod watch;

#[cfg(target_os = "linux")]
pub(crate) use watch::Watches;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use lock_proto::file::FileLockOptions;
use lock_proto::{Fault, LockError};
use rustix::fs::{Mode, OFlags};

use crate::client::FilePlace;
use crate::engine::Engine;
use crate::{Address, Client, Clock, seeds};
use link::FileLink;

/// What a provider of file locks is made of.
#[derive(Clone, Debug, Default)]
pub struct FileOptions {
    directory: Option<PathBuf>,
    remove_on_release: bool,
}

impl FileOptions {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The directory of the lock files.
    pub fn set_directory(&mut self, directory: &Path) {
        self.directory = Some(directory.to_owned());
    }

    /// Whether lock files are deleted when they are released.
    pub fn set_remove_on_release(&mut self, remove: bool) {
        self.remove_on_release = remove;
    }
}

/// The locks of one directory; every clone is the same.
#[derive(Clone)]
pub struct Files {
    engine: Arc<Engine<FileLink>>,
}

/// Opens the locks of the directory that `options` name, and makes it if need be.
///
/// # Errors
///
/// [`LockError::InvalidConfig`] if no directory is named or it can't be trusted,
/// [`LockError::Backend`] if it can't be made.
pub fn open(options: &FileOptions) -> Result<Files, LockError> {
    let Some(directory) = &options.directory else {
        return Err(invalid("it is required: name the directory of the lock files"));
    };
    if directory.as_os_str().is_empty() {
        return Err(invalid("it is empty: name the directory of the lock files"));
    }
    let absolute = std::path::absolute(directory).map_err(|error| {
        LockError::Backend(Fault::refused("the working directory is gone").with_cause(error))
    })?;
    site::create_directory(&absolute).map_err(LockError::Backend)?;
    check_directory(&absolute)?;
    let settings =
        FileLockOptions::new(seeds::identity()).with_remove_on_release(options.remove_on_release);
    let seed = seeds::drawn()?;
    let engine = Engine::with(Clock::System, |engine: &Weak<Engine<FileLink>>| {
        FileLink::new(absolute.into(), settings, &seed, engine.clone())
    });
    Ok(Files { engine })
}

impl Files {
    /// The locks, for the adapters.
    #[must_use]
    pub fn client(&self) -> Arc<dyn Client> {
        Arc::clone(&self.engine) as Arc<dyn Client>
    }

    /// The lock whose file is exactly `path`.
    #[must_use]
    pub fn locate_path(&self, path: &Path) -> Address {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = path.to_string_lossy().into_owned();
        Address { file: Some(FilePlace::new(path)), ..Address::named(&name) }
    }
}

/// In a directory where everybody may replace everybody's files, a lock file proves nothing.
fn check_directory(directory: &Path) -> Result<(), LockError> {
    let open = rustix::fs::open(
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let stat = open.and_then(rustix::fs::fstat).map_err(|errno| {
        LockError::Backend(site::refused("open the directory", directory, errno))
    })?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(invalid(
            "everybody may delete the lock files of others in it: take the right to write from \
             others (chmod o-w), or set the sticky bit (chmod +t)",
        ));
    }
    Ok(())
}

fn invalid(problem: &'static str) -> LockError {
    LockError::InvalidConfig { option: "directory", problem: problem.into() }
}
