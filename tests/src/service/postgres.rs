//! What a PostgreSQL server, and the sessions between it and a lock, may answer.

use std::collections::BTreeSet;

use lock_proto::postgres::{
    AdvisoryLock, Command, PermitLock, Permits, PostgresLock, Reply, Subject, Verb,
};
use lock_proto::{Fault, FaultKind, Instant};

use crate::check::Checkable;

/// What may be ours on a session.
#[derive(Clone, Debug, Default)]
pub struct Hold {
    /// Something that no answer has named: the lock, or any permits and the gate.
    unknown: bool,
    permits: BTreeSet<u32>,
    gate: bool,
    /// A session has gone, and the server may not have noticed.
    lingers: bool,
}

impl Hold {
    fn answered(&mut self, command: &Command, reply: &Result<Reply, Fault>) {
        let fault = reply.as_ref().err().map(Fault::kind);
        match (command.verb, fault) {
            (Verb::Cancel, _) | (_, Some(FaultKind::NotSent)) => {}
            (Verb::Close | Verb::Unlock, Some(FaultKind::Unknown)) | (Verb::Close, _) => {
                let lingers = !self.is_nothing();
                *self = Self { lingers, ..Self::default() };
            }
            (_, Some(FaultKind::Unknown)) => {
                *self = Self { lingers: true, ..Self::default() };
            }
            (Verb::Unlock, _) => {
                if let Ok(Reply::Unlocked(_)) = reply {
                    self.gave_back(&command.subject);
                }
            }
            (Verb::Try | Verb::Wait { .. }, _) => self.took(&command.subject, reply),
        }
    }

    fn gave_back(&mut self, subject: &Subject) {
        match subject {
            Subject::Lock(..) => self.unknown = false,
            Subject::Permits(Permits { doubt: true, .. }) => {
                *self = Self { lingers: self.lingers, ..Self::default() };
            }
            Subject::Permits(Permits { ours, inside, .. }) => {
                self.permits.retain(|permit| !ours.contains(permit));
                self.gate &= !inside;
            }
        }
    }

    fn took(&mut self, subject: &Subject, reply: &Result<Reply, Fault>) {
        match (subject, reply) {
            (_, Ok(Reply::Full | Reply::Soon)) => {}
            (Subject::Lock(..), Ok(Reply::Busy)) => self.unknown = false,
            (Subject::Permits(_), Ok(Reply::Busy)) => {}
            (Subject::Permits(permits), Ok(Reply::Took(took))) => {
                self.permits.extend(took);
                self.gate &= took.len() < permits.wanted as usize;
            }
            (Subject::Permits(_), Ok(Reply::Granted { .. })) => self.gate = true,
            // Errors and nonsense don't say that nothing was granted.
            (_, _) => self.unknown = true,
        }
    }

    fn is_nothing(&self) -> bool {
        !self.unknown && !self.gate && !self.lingers && self.permits.is_empty()
    }
}

fn replies(command: &Command) -> Vec<Reply> {
    let granted = Reply::Granted { fence: None };
    match (&command.subject, command.verb) {
        (Subject::Lock(..), Verb::Try) => {
            vec![granted, Reply::Busy, Reply::Full, Reply::Soon, Reply::Cancelled, Reply::Done]
        }
        (Subject::Permits(permits), Verb::Try) => {
            let free: Vec<u32> =
                (1..=permits.keys.limit()).filter(|it| !permits.ours.contains(it)).collect();
            let all = Reply::Took(free.iter().copied().take(permits.wanted as usize).collect());
            let few = if permits.inside { Reply::Took(Vec::new()) } else { Reply::Busy };
            vec![all, few, Reply::Full, Reply::Soon, Reply::Cancelled]
        }
        (_, Verb::Wait { .. }) => {
            let deadlock = Reply::Deadlock("process 7 waits for process 8".into());
            vec![granted, Reply::Expired, Reply::Cancelled, deadlock, Reply::Full]
        }
        (_, Verb::Unlock) => {
            vec![Reply::Unlocked(true), Reply::Unlocked(false), Reply::Cancelled]
        }
        (_, Verb::Cancel | Verb::Close) => vec![Reply::Done],
    }
}

macro_rules! checkable {
    ($($machine:ty),*) => {$(
        impl Checkable for $machine {
            type Remains = Hold;

            fn replies(command: &Command, _now: Instant) -> Vec<Reply> {
                replies(command)
            }

            fn takes(command: &Command) -> bool {
                matches!(command.verb, Verb::Try | Verb::Wait { .. })
            }

            fn is_cancel(command: &Command) -> bool {
                matches!(command.verb, Verb::Cancel | Verb::Close)
            }

            fn answered(hold: &mut Hold, command: &Command, reply: &Result<Reply, Fault>) {
                hold.answered(command, reply);
            }

            fn nothing_left(hold: &Hold) -> bool {
                hold.is_nothing()
            }
        }
    )*};
}

checkable!(AdvisoryLock, PermitLock, PostgresLock);
