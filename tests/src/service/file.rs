//! What a file system may answer.

use std::collections::BTreeSet;

use lock_proto::file::{Command, File, FileLock, Reply};
use lock_proto::{Fault, FaultKind, Instant};

use crate::check::Checkable;

/// The files that may be open, and whether the place in the queue may be ours.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    open: BTreeSet<File>,
    place: bool,
}

impl Checkable for FileLock {
    type Remains = Remains;

    fn replies(command: &Command, now: Instant) -> Vec<Reply> {
        let wall_micros = 1_000_000 + now.as_nanos() / 1_000;
        match command {
            Command::Enter { wait, .. } => {
                let no = if *wait { Reply::Withdrawn } else { Reply::Busy };
                vec![Reply::Done, no, Reply::Replaced]
            }
            Command::Open(_) => vec![Reply::Done, Reply::NoDirectory, Reply::Busy],
            Command::TryLock(..) => vec![Reply::Done, Reply::Busy, Reply::Replaced],
            Command::Verify(_) => vec![Reply::Done, Reply::Replaced, Reply::Busy],
            Command::Read(_) => vec![
                Reply::Contents { bytes: Vec::new(), wall_micros },
                Reply::Contents { bytes: b"#!/bin/sh\n".to_vec(), wall_micros },
                Reply::Done,
            ],
            Command::Leave
            | Command::CreateDirectory
            | Command::Watch(_)
            | Command::Write(..)
            | Command::Remove(_)
            | Command::Close(_) => vec![Reply::Done, Reply::Busy],
        }
    }

    fn takes(command: &Command) -> bool {
        matches!(command, Command::Enter { .. } | Command::Open(_) | Command::TryLock(..))
    }

    fn is_cancel(command: &Command) -> bool {
        *command == Command::Leave
    }

    fn answered(remains: &mut Remains, command: &Command, reply: &Result<Reply, Fault>) {
        match command {
            Command::Enter { .. } => {
                let refused = matches!(reply, Ok(Reply::Busy | Reply::Withdrawn));
                remains.place |= !refused && may_have_worked(reply);
            }
            Command::Leave => remains.place &= !matches!(reply, Ok(Reply::Done)),
            Command::Open(file) => {
                if !matches!(reply, Ok(Reply::NoDirectory)) && may_have_worked(reply) {
                    remains.open.insert(*file);
                }
            }
            Command::Close(file) => {
                if matches!(reply, Ok(Reply::Done)) {
                    remains.open.remove(file);
                }
            }
            Command::CreateDirectory
            | Command::TryLock(..)
            | Command::Watch(_)
            | Command::Verify(_)
            | Command::Read(_)
            | Command::Write(..)
            | Command::Remove(_) => {}
        }
    }

    fn nothing_left(remains: &Remains) -> bool {
        remains.open.is_empty() && !remains.place
    }
}

fn may_have_worked(reply: &Result<Reply, Fault>) -> bool {
    reply.as_ref().map_or_else(|fault| fault.kind() == FaultKind::Unknown, |_| true)
}
