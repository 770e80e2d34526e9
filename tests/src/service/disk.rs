//! A simulated file system: inodes, names, and `flock` per open description.

use std::collections::BTreeMap;

use lock_proto::file::{Command, File, Mode, Record, Reply};
use lock_proto::{Fault, LockId};

/// Who opens files: one lock of one process, which is named by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opener {
    pub(crate) process: u32,
    pub(crate) lock: LockId,
}

/// In what way a disk lies, to prove that the checks can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// In no way.
    None,
    /// The path always names the open file, whatever was deleted.
    AlwaysTheRightFile,
    /// A file that is locked can be locked.
    NeverBusy,
    /// The wall clock stands still.
    StoppedClock,
    /// Whoever closes a file loses its process's locks on it, as POSIX has it.
    ForgottenAtClose,
}

/// The files of one directory.
#[derive(Debug)]
pub struct Disk {
    lie: Lie,
    directory: bool,
    names: BTreeMap<File, usize>,
    inodes: Vec<Inode>,
    open: BTreeMap<(Opener, File), Description>,
    wall_micros: u64,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// Its name was taken by somebody who had not locked it.
    orphaned: bool,
}

#[derive(Debug)]
struct Description {
    inode: usize,
    locked: Option<Mode>,
    watched: bool,
    /// The path has truly named it.
    verified: bool,
    /// The path truly named it when it was last looked at.
    in_place: bool,
}

impl Disk {
    /// An empty directory, or none yet.
    #[must_use]
    pub fn new(lie: Lie, directory: bool) -> Self {
        Self {
            lie,
            directory,
            names: BTreeMap::new(),
            inodes: Vec::new(),
            open: BTreeMap::new(),
            wall_micros: 1_000_000,
        }
    }

    /// Carries out one command.
    pub fn execute(&mut self, opener: Opener, command: &Command) -> Result<Reply, Fault> {
        match command {
            Command::CreateDirectory => self.directory = true,
            Command::Open(file) => return Ok(self.open(opener, *file)),
            Command::TryLock(file, mode) => return self.try_lock(opener, *file, *mode),
            Command::Watch(file) => self.description(opener, *file)?.watched = true,
            Command::Verify(file) => return self.verify(opener, *file),
            Command::Read(file) => return self.read(opener, *file),
            Command::Write(file, bytes) => self.write(opener, *file, bytes)?,
            Command::Remove(file) => self.remove(opener, *file),
            Command::Close(file) => self.close(opener, *file),
            Command::Enter { .. } | Command::Leave => panic!("the disk keeps no queue"),
        }
        Ok(Reply::Done)
    }

    /// Writes half of it, as a full disk may.
    pub fn tear(&mut self, opener: Opener, file: File, bytes: &[u8]) {
        let half = &bytes[..bytes.len() / 2];
        assert!(Record::parse(half).is_some_and(|record| record.fence > 0), "the fence is first");
        self.write(opener, file, half).expect("a file that is written to is open");
    }

    /// Somebody deletes a file without asking.
    pub fn unlink(&mut self, file: File) -> bool {
        let removed = self.names.remove(&file);
        if let Some(inode) = removed {
            self.inodes[inode].orphaned = true;
        }
        removed.is_some()
    }

    /// Somebody deletes the whole directory without asking.
    pub fn unlink_directory(&mut self) {
        let files: Vec<File> = self.names.keys().copied().collect();
        for file in files {
            self.unlink(file);
        }
        self.directory = false;
    }

    /// The wall clock is set, forward or back.
    pub fn set_clock(&mut self, forward: bool, micros: u64) {
        let now = self.wall_micros;
        self.wall_micros = if forward { now + micros } else { now.saturating_sub(micros) };
    }

    /// Closes all that a killed process had open; says whom that wakes.
    pub fn kill(&mut self, process: u32) -> Vec<Opener> {
        let open = self.open.keys().filter(|(opener, _)| opener.process == process);
        let open: Vec<(Opener, File)> = open.copied().collect();
        let woken = open.iter().flat_map(|(opener, file)| self.watchers(*opener, *file)).collect();
        self.open.retain(|(opener, _), _| opener.process != process);
        woken
    }

    /// Who is told when `opener` closes `file`.
    #[must_use]
    pub fn watchers(&self, opener: Opener, file: File) -> Vec<Opener> {
        let Some(closed) = self.open.get(&(opener, file)) else {
            return Vec::new();
        };
        let others = self.open.iter().filter(|((other, _), description)| {
            *other != opener && description.watched && description.inode == closed.inode
        });
        others.map(|((other, _), _)| *other).collect()
    }

    /// Names the file that `opener` has open as `file`.
    #[must_use]
    pub fn inode(&self, opener: Opener, file: File) -> Option<usize> {
        self.open.get(&(opener, file)).map(|description| description.inode)
    }

    /// How many files `opener` has open.
    #[must_use]
    pub fn opened(&self, opener: Opener) -> usize {
        self.open.keys().filter(|(other, _)| *other == opener).count()
    }

    /// How many files, the gate aside, `opener` has locked.
    #[must_use]
    pub fn locked(&self, opener: Opener) -> usize {
        let files = self.open.iter().filter(|((other, file), description)| {
            *other == opener && *file != File::Gate && description.locked.is_some()
        });
        files.count()
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether somebody has deleted, without asking, a file of `opener` that it had found in place.
    #[must_use]
    pub fn is_robbed(&self, opener: Opener) -> bool {
        let mut files = self.open.iter().filter(|((other, _), _)| *other == opener);
        files.any(|((_, file), description)| {
            let named = self.names.get(file) == Some(&description.inode);
            *file != File::Gate
                && description.verified
                && !named
                && self.inodes[description.inode].orphaned
        })
    }

    fn open(&mut self, opener: Opener, file: File) -> Reply {
        if !self.directory {
            return Reply::NoDirectory;
        }
        let fresh = self.inodes.len();
        let inode = *self.names.entry(file).or_insert(fresh);
        if inode == fresh {
            self.inodes.push(Inode::default());
        }
        let description =
            Description { inode, locked: None, watched: false, verified: false, in_place: false };
        let before = self.open.insert((opener, file), description);
        assert!(before.is_none(), "{file:?} was opened twice by {opener:?}");
        Reply::Done
    }

    fn try_lock(&mut self, opener: Opener, file: File, mode: Mode) -> Result<Reply, Fault> {
        let inode = self.description(opener, file)?.inode;
        let held = self.open.iter().any(|(other, description)| {
            let exclusive = mode == Mode::Exclusive || description.locked == Some(Mode::Exclusive);
            *other != (opener, file)
                && description.inode == inode
                && description.locked.is_some()
                && exclusive
        });
        let refused = held && self.lie != Lie::NeverBusy;
        // Whoever asks for another kind of lock gives up the one that it has, before it is answered.
        self.description(opener, file)?.locked = (!refused).then_some(mode);
        Ok(if refused { Reply::Busy } else { Reply::Done })
    }

    fn close(&mut self, opener: Opener, file: File) {
        let closed = self.open.remove(&(opener, file));
        if let Some(closed) = closed.filter(|_| self.lie == Lie::ForgottenAtClose) {
            let open = self.open.iter_mut().filter(|((other, _), description)| {
                other.process == opener.process && description.inode == closed.inode
            });
            open.for_each(|(_, description)| description.locked = None);
        }
    }

    fn verify(&mut self, opener: Opener, file: File) -> Result<Reply, Fault> {
        let inode = self.description(opener, file)?.inode;
        let right = self.names.get(&file) == Some(&inode);
        let description = self.description(opener, file)?;
        description.verified |= right;
        description.in_place = right;
        let said = right || self.lie == Lie::AlwaysTheRightFile;
        Ok(if said { Reply::Done } else { Reply::Replaced })
    }

    fn read(&mut self, opener: Opener, file: File) -> Result<Reply, Fault> {
        let inode = self.description(opener, file)?.inode;
        if self.lie != Lie::StoppedClock {
            self.wall_micros += 1;
        }
        let mut bytes = self.inodes[inode].bytes.clone();
        bytes.truncate(Record::MAX_BYTES);
        Ok(Reply::Contents { bytes, wall_micros: self.wall_micros })
    }

    fn write(&mut self, opener: Opener, file: File, bytes: &[u8]) -> Result<(), Fault> {
        let inode = self.description(opener, file)?.inode;
        let contents = &mut self.inodes[inode].bytes;
        let length = contents.len().max(bytes.len());
        contents.resize(length, 0);
        contents[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Deletes whatever the path names, as `unlink` does: a stranger may have been faster.
    fn remove(&mut self, opener: Opener, file: File) {
        let description = self.open.get(&(opener, file));
        let in_place = description.is_some_and(|open| open.in_place && open.locked.is_some());
        let own = description.map(|open| open.inode);
        assert!(
            in_place || self.lie != Lie::None,
            "{opener:?} deletes {file:?}, which it has not found in place"
        );
        if let Some(inode) = self.names.remove(&file) {
            self.inodes[inode].orphaned |= own != Some(inode);
        }
    }

    fn description(&mut self, opener: Opener, file: File) -> Result<&mut Description, Fault> {
        self.open.get_mut(&(opener, file)).ok_or_else(|| Fault::refused("bad file descriptor"))
    }
}
