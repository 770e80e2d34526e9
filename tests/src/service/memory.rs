//! What a lock table may answer.

use std::time::Duration;

use lock_proto::memory::{Command, MemoryLock, Reply};
use lock_proto::{Fault, FaultKind, Instant};

use crate::check::Checkable;

/// Whether a place in the table may be ours.
#[derive(Clone, Debug, Default)]
pub struct Place(bool);

impl Checkable for MemoryLock {
    type Remains = Place;

    fn replies(command: &Command, now: Instant) -> Vec<Reply> {
        let until = |ttl: &Option<Duration>| ttl.map(|ttl| now + ttl);
        match command {
            Command::Enter { wait, ttl, .. } => {
                let granted = Reply::Granted { fence: 1, valid_until: until(ttl) };
                let no = if *wait { Reply::Withdrawn } else { Reply::Busy };
                vec![granted, no, Reply::Left]
            }
            Command::Extend { ttl, .. } => {
                let extended = Reply::Extended { valid_until: Some(now + *ttl) };
                vec![extended, Reply::NotHeld, Reply::Busy]
            }
            Command::Leave { .. } => vec![Reply::Left, Reply::Busy],
        }
    }

    fn takes(command: &Command) -> bool {
        matches!(command, Command::Enter { .. } | Command::Extend { .. })
    }

    fn is_cancel(command: &Command) -> bool {
        matches!(command, Command::Leave { .. })
    }

    fn answered(place: &mut Place, command: &Command, reply: &Result<Reply, Fault>) {
        match command {
            Command::Enter { .. } => match reply {
                Ok(Reply::Busy | Reply::Withdrawn) => {}
                Ok(_) => place.0 = true,
                Err(fault) => place.0 |= fault.kind() == FaultKind::Unknown,
            },
            Command::Leave { .. } => place.0 &= !matches!(reply, Ok(Reply::Left)),
            Command::Extend { .. } => {}
        }
    }

    fn nothing_left(place: &Place) -> bool {
        !place.0
    }
}
