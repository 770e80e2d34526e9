//! Whom to nudge when a file is closed.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lock_proto::LockId;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::background::{Background, Driven};

/// Closes that are read at once, so that somebody who closes files without end can't keep the thread
/// from its deadlines.
const MAX_EVENTS: usize = 1024;

/// The process's one inotify descriptor: closing one costs more than all its watches.
pub(crate) struct Watches {
    inotify: OwnedFd,
    waiting: Mutex<BTreeMap<i32, Vec<Waiting>>>,
}

struct Waiting {
    driven: Weak<dyn Driven>,
    lock: LockId,
}

/// One lock's wish to hear of one file; ends when it is dropped.
pub(super) struct Watch {
    background: Arc<Background>,
    descriptor: i32,
    /// Each provider counts its locks for itself, so only both together tell them apart.
    driven: Weak<dyn Driven>,
    lock: LockId,
}

impl Watches {
    pub(crate) fn new() -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, waiting: Mutex::new(BTreeMap::new()) })
    }

    /// Nudges `lock` whenever somebody closes the file that `file` has open.
    pub(super) fn watch(
        &self,
        background: &Arc<Background>,
        file: &OwnedFd,
        driven: Weak<dyn Driven>,
        lock: LockId,
    ) -> Result<Watch, Errno> {
        // By its descriptor, since the path may name another file by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let closing = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let mut waiting = self.waiting();
        let descriptor = inotify::add_watch(&self.inotify, path, closing)?;
        waiting.entry(descriptor).or_default().push(Waiting { driven: driven.clone(), lock });
        Ok(Watch { background: Arc::clone(background), descriptor, driven, lock })
    }

    /// Everybody who is to hear of a file that was closed.
    pub(crate) fn closed_files(&self) -> Vec<(Arc<dyn Driven>, LockId)> {
        let mut descriptors = Vec::new();
        let mut overflowed = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        for _ in 0..MAX_EVENTS {
            let Ok(event) = events.next() else { break };
            overflowed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            descriptors.push(event.wd());
        }
        descriptors.sort_unstable();
        descriptors.dedup();
        let waiting = self.waiting();
        let concerned = waiting
            .iter()
            .filter(|(descriptor, _)| overflowed || descriptors.binary_search(descriptor).is_ok());
        concerned
            .flat_map(|(_, waiting)| waiting)
            .filter_map(|waiting| Some((waiting.driven.upgrade()?, waiting.lock)))
            .collect()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<i32, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Watches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watches = self.background.watches();
        let mut waiting = watches.waiting();
        let Some(of_file) = waiting.get_mut(&self.descriptor) else { return };
        let mine = of_file.iter().position(|waiting| {
            waiting.lock == self.lock && Weak::ptr_eq(&waiting.driven, &self.driven)
        });
        if let Some(mine) = mine {
            of_file.swap_remove(mine);
        }
        if of_file.is_empty() {
            waiting.remove(&self.descriptor);
            // A file that was deleted has taken its watch along.
            let _ = inotify::remove_watch(&watches.inotify, self.descriptor);
        }
    }
}
