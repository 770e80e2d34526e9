//! Which file a path names, and which is open.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

/// Device and number, which an open file keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

/// What is open, and of what kind it is.
pub(super) fn of_open(file: impl AsFd) -> Result<(FileType, Inode), Errno> {
    look(file, Path::new(""), AtFlags::EMPTY_PATH)
}

/// What `path` names, without following a symbolic link in the last place.
pub(super) fn of_path(path: &Path) -> Result<Inode, Errno> {
    look(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|(_, inode)| inode)
}

/// Asks for no times: a file whose times were asked for has them written to the disk by the next
/// write, which takes that write three times as long.
#[cfg(target_os = "linux")]
fn look(at: impl AsFd, path: &Path, flags: AtFlags) -> Result<(FileType, Inode), Errno> {
    use rustix::fs::{StatxFlags, makedev, statx};

    match statx(&at, path, flags, StatxFlags::TYPE | StatxFlags::INO) {
        Ok(found) => {
            let device = makedev(found.stx_dev_major, found.stx_dev_minor);
            let kind = FileType::from_raw_mode(found.stx_mode.into());
            Ok((kind, Inode { device, number: found.stx_ino }))
        }
        Err(Errno::NOSYS) => look_at_all(at, path, flags),
        Err(errno) => Err(errno),
    }
}

#[cfg(not(target_os = "linux"))]
fn look(at: impl AsFd, path: &Path, flags: AtFlags) -> Result<(FileType, Inode), Errno> {
    look_at_all(at, path, flags)
}

fn look_at_all(at: impl AsFd, path: &Path, flags: AtFlags) -> Result<(FileType, Inode), Errno> {
    let stat = rustix::fs::statat(at, path, flags)?;
    let inode = Inode { device: stat.st_dev, number: stat.st_ino };
    Ok((FileType::from_raw_mode(stat.st_mode), inode))
}
