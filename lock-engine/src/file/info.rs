//! Who holds the locks of a directory, without disturbing them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lock_proto::file::{File, Record};
use lock_proto::{Demand, Fault, Holder, LockInfo};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::site::{path_of, read_start, refused, wall_micros};

/// Who holds the lock whose file is `path`, and how many of this process wait in `queued`.
pub(super) fn of_lock(
    path: &Arc<Path>,
    name: &str,
    demand: Demand,
    queued: &LockInfo,
) -> Result<LockInfo, Fault> {
    let mut info = LockInfo::free();
    info.name = Some(name.to_owned());
    if let Demand::Permits { .. } = demand {
        for permit in permits_of(path)? {
            look_at(&path_of(path, File::Permit(permit)), &mut info)?;
        }
    } else {
        look_at(path, &mut info)?;
    }
    // Other processes' waiters leave no trace.
    info.waiters = queued.waiters.filter(|_| queued.locked);
    Ok(info)
}

/// Every lock of `directory` whose file was not deleted.
pub(super) fn of_directory(directory: &Path) -> Result<Vec<LockInfo>, Fault> {
    let mut locks: BTreeMap<Vec<u8>, LockInfo> = BTreeMap::new();
    for file in files_of(directory)? {
        if let Some(lock) = lock_of(&file) {
            look_at(&directory.join(file), locks.entry(lock).or_insert_with(LockInfo::free))?;
        }
    }
    Ok(locks.into_values().collect())
}

/// The permits of the semaphore beside `lock_file` whose files are there; any may be missing.
fn permits_of(lock_file: &Path) -> Result<BTreeSet<u32>, Fault> {
    let (Some(directory), Some(lock)) = (lock_file.parent(), lock_file.file_name()) else {
        return Ok(BTreeSet::new());
    };
    let permit_of = |file: OsString| {
        let ending = file.as_encoded_bytes().strip_prefix(lock.as_encoded_bytes())?;
        std::str::from_utf8(ending).ok()?.strip_prefix(".permit")?.parse().ok()
    };
    Ok(files_of(directory)?.into_iter().filter_map(permit_of).collect())
}

/// The regular files of `directory`, which may not be there yet.
fn files_of(directory: &Path) -> Result<Vec<OsString>, Fault> {
    let unreadable = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        refused("list the directory", directory, errno)
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // What is planted there is no lock, and may not keep the locks from being shown.
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.file_name());
        }
    }
    Ok(files)
}

/// The file name less the permit's ending; `None` if the file is no lock's.
fn lock_of(file: &OsStr) -> Option<Vec<u8>> {
    let file = file.to_str()?;
    let (lock, permit) = file.rsplit_once(".permit").unwrap_or((file, "0"));
    let permit = permit.parse::<u32>().is_ok();
    let kind = if lock.len() == file.len() { "" } else { ".permit" };
    (permit && lock.ends_with(".lock")).then(|| format!("{lock}{kind}").into_bytes())
}

/// Adds what one file says to `info`, if there is such a file.
fn look_at(path: &Path, info: &mut LockInfo) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(refused("open the lock file", path, errno)),
    };
    let bytes = read_start(&file).map_err(|errno| refused("read the lock file", path, errno))?;
    let record = Record::parse(&bytes).unwrap_or_default();
    if info.name.is_none() && record.pid != 0 {
        info.name = Some(record.name.clone());
    }
    let seen = Seen::of(&file).map_err(|errno| refused("lock", path, errno))?;
    info.locked |= seen != Seen::Free;
    // Readers don't sign.
    if seen == Seen::Exclusive && record.pid != 0 {
        let held = Duration::from_micros(wall_micros().saturating_sub(record.since));
        let mut holder = Holder::default();
        holder.owner = record.owner;
        holder.host = Some(record.host);
        holder.pid = Some(record.pid);
        holder.held_for = Some(held);
        holder.fence = Some(record.fence);
        info.holders.push(holder);
    }
    Ok(())
}

/// How a file is locked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Free,
    Shared,
    Exclusive,
}

impl Seen {
    /// The kernel's list of locks is asked first: trying a lock that nobody holds takes it for about
    /// a microsecond, in which somebody else's single try would fail.
    fn of(file: &OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(file)?;
        let (device, inode) = (stat.st_dev, stat.st_ino);
        let listed = std::fs::read_to_string("/proc/locks").ok().and_then(|locks| {
            let listed =
                listed(&locks, rustix::fs::major(device), rustix::fs::minor(device), inode);
            listed.filter(|seen| *seen != Self::Free)
        });
        // The list leaves out the locks of other containers, and names devices in its own way on
        // some file systems; only what it shows is certain.
        listed.map_or_else(|| Self::probe(file), Ok)
    }

    fn probe(file: &OwnedFd) -> Result<Self, Errno> {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                rustix::fs::flock(file, FlockOperation::Unlock)?;
                Ok(Self::Free)
            }
            Err(Errno::WOULDBLOCK) => Ok(Self::Exclusive),
            Err(errno) => Err(errno),
        }
    }
}

/// What `/proc/locks` says of one file; see proc(5).
fn listed(locks: &str, major: u32, minor: u32, inode: u64) -> Option<Seen> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    let mut kinds = locks.lines().filter_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF; those that wait have an arrow.
        let mut words = line.split_ascii_whitespace().skip(1);
        (words.next()? == "FLOCK").then_some(())?;
        let kind = words.nth(1)?;
        (words.nth(1)? == place).then_some(kind)
    });
    match kinds.next()? {
        "WRITE" => Some(Seen::Exclusive),
        _ => Some(Seen::Shared),
    }
}
