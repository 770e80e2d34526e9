//! One thing to ask of the file system, and what can be its answer.

use alloc::vec::Vec;

use super::{Command, File, Mode, Reply};
use crate::Demand;

/// One thing to ask of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    CreateDirectory,
    Open(File),
    TryLock(File),
    Watch(File),
    /// Whether the file that was just locked, or is about to be deleted, is the right one.
    Verify(File),
    /// Whether the file that is held is still the right one.
    Probe(File),
    Read(File),
    Write(File),
    Remove(File),
    Close(File),
}

impl Step {
    /// The same in the backend's words.
    pub(super) fn command(self, demand: Demand, record: impl FnOnce() -> Vec<u8>) -> Command {
        let mode = match demand {
            Demand::Shared => Mode::Shared,
            Demand::Exclusive | Demand::Permits { .. } => Mode::Exclusive,
        };
        match self {
            Self::CreateDirectory => Command::CreateDirectory,
            Self::Open(file) => Command::Open(file),
            Self::TryLock(file) => Command::TryLock(file, mode),
            Self::Watch(file) => Command::Watch(file),
            Self::Verify(file) | Self::Probe(file) => Command::Verify(file),
            Self::Read(file) => Command::Read(file),
            Self::Write(file) => Command::Write(file, record()),
            Self::Remove(file) => Command::Remove(file),
            Self::Close(file) => Command::Close(file),
        }
    }

    /// The `reply`, if it can be the answer to this step.
    pub(super) fn checked(self, reply: Reply) -> Option<Reply> {
        let sensible = match self {
            Self::Open(_) => matches!(reply, Reply::Done | Reply::NoDirectory),
            Self::TryLock(_) => matches!(reply, Reply::Done | Reply::Busy),
            Self::Verify(_) | Self::Probe(_) => matches!(reply, Reply::Done | Reply::Replaced),
            Self::Read(_) => matches!(reply, Reply::Contents { .. }),
            Self::CreateDirectory
            | Self::Watch(_)
            | Self::Write(_)
            | Self::Remove(_)
            | Self::Close(_) => reply == Reply::Done,
        };
        sensible.then_some(reply)
    }
}
