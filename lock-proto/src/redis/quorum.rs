//! What several servers say together: integer arithmetic.

use core::time::Duration;

use super::options::drift;
use crate::Instant;

/// The most servers that one lock may stand on.
pub const MAX_SERVERS: usize = 9;

/// How many of `servers` are more than half of them.
pub(crate) const fn majority(servers: usize) -> usize {
    servers / 2 + 1
}

/// Until when what a request took for `ttl` is certainly ours, if the request was handed out at
/// `asked` (R2).
pub(crate) fn valid_until(asked: Instant, ttl: Duration) -> Instant {
    asked + ttl.saturating_sub(drift(ttl))
}

/// What one server has said in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// It still owes the answer to an earlier request, or was not asked: what it says does not
    /// count.
    Absent,
    /// It was absent, and has answered the earlier request since: it is there, and has no say.
    Late,
    /// It was asked.
    Asked,
    /// The lock is ours.
    Yes,
    /// A higher ballot would make it ours.
    Almost,
    /// Somebody is before us, and the highest ballot it has seen.
    No { highest: u64 },
    /// It answered with an error.
    Refused,
    /// It could not be asked, or has not answered in time.
    Silent,
}

impl Voice {
    fn is_there(self) -> bool {
        matches!(self, Self::Late | Self::Yes | Self::Almost | Self::No { .. })
    }
}

/// What all servers have said in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    voices: [Voice; MAX_SERVERS],
    servers: usize,
}

/// What follows from a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Open,
    Won,
    /// A majority would say yes to a higher ballot.
    Almost,
    Lost,
}

impl Tally {
    /// Nobody has been asked.
    pub(crate) fn new(servers: usize) -> Self {
        Self { voices: [Voice::Absent; MAX_SERVERS], servers }
    }

    pub(crate) fn of(&self, server: usize) -> Voice {
        self.voices[server]
    }

    pub(crate) fn set(&mut self, server: usize, voice: Voice) {
        self.voices[server] = voice;
    }

    /// Records what a server said. Of one that is absent it is about an earlier round, and shows only
    /// that it is there.
    pub(crate) fn hear(&mut self, server: usize, voice: Voice) {
        match self.of(server) {
            Voice::Absent if voice.is_there() => self.set(server, Voice::Late),
            Voice::Absent | Voice::Late => {}
            Voice::Asked
            | Voice::Yes
            | Voice::Almost
            | Voice::No { .. }
            | Voice::Refused
            | Voice::Silent => self.set(server, voice),
        }
    }

    /// Decided as soon as the answers that are missing can't change it.
    pub(crate) fn verdict(&self) -> Verdict {
        let quorum = majority(self.servers);
        let yes = self.count(|voice| voice == Voice::Yes);
        let almost = yes + self.count(|voice| voice == Voice::Almost);
        let asked = self.count(|voice| voice == Voice::Asked);
        if yes >= quorum {
            Verdict::Won
        } else if yes + asked >= quorum {
            Verdict::Open
        } else if almost >= quorum {
            Verdict::Almost
        } else if almost + asked >= quorum {
            Verdict::Open
        } else {
            Verdict::Lost
        }
    }

    /// Whether a majority has said that the lock is another's.
    pub(crate) fn denied(&self) -> bool {
        self.count(|voice| matches!(voice, Voice::No { .. })) >= majority(self.servers)
    }

    /// Whether a majority has answered with errors.
    pub(crate) fn refused(&self) -> bool {
        self.count(|voice| voice == Voice::Refused) >= majority(self.servers)
    }

    /// Whether a majority is there.
    pub(crate) fn reached(&self) -> bool {
        self.count(Voice::is_there) >= majority(self.servers)
    }

    /// Whether so few servers could answer that they could not have made a majority. One that was
    /// asked and has not answered yet may do so: a vote can be lost before that.
    pub(crate) fn unreachable(&self) -> bool {
        self.count(|voice| voice == Voice::Asked || voice.is_there()) < majority(self.servers)
    }

    /// Whether one holder has a majority: one ballot stands on all of it.
    pub(crate) fn held_by_one(&self) -> bool {
        let quorum = majority(self.servers);
        self.all().iter().any(|voice| {
            matches!(voice, Voice::No { .. }) && self.count(|other| other == *voice) >= quorum
        })
    }

    fn count(&self, counts: impl Fn(Voice) -> bool) -> usize {
        self.all().iter().filter(|voice| counts(**voice)).count()
    }

    fn all(&self) -> &[Voice] {
        &self.voices[..self.servers]
    }
}
