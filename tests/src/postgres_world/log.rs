//! The server's log, from which fences come, and who follows it.

use super::{Flaw, World};

/// By how many bits a timeline stands before the numbers of its transactions.
const TRANSACTION_BITS: u32 = 48;

/// Where a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    timeline: u64,
    transaction: u64,
}

/// A log, how much of it is on disk, and how much of it each standby has received.
#[derive(Debug, Default)]
pub(super) struct Log {
    end: Position,
    on_disk: u64,
    standbys: [Position; 2],
}

impl World<'_> {
    /// The fence of a transaction that waits until its message in the log is on disk.
    pub(super) fn mint(&mut self) -> u64 {
        self.log.end.transaction += 1;
        if self.flaw != Flaw::LeavesLogInMemory {
            self.flush();
        }
        self.log.end.timeline << TRANSACTION_BITS | self.log.end.transaction
    }

    fn flush(&mut self) {
        self.log.on_disk = self.log.end.transaction;
    }

    /// The log goes on its way: to the disk, and to a standby.
    pub(super) fn replicate(&mut self) {
        self.flush();
        let chosen = self.entropy.pick(self.log.standbys.len());
        self.log.standbys[chosen] = self.log.end;
    }

    /// After a crash, either the server begins where its disk ends, or a standby takes over, which
    /// may lack the last transactions. It must have heard of the promotion before: two that have not
    /// call what they write alike.
    pub(super) fn recover(&mut self) {
        let chosen = self.entropy.pick(2 * self.log.standbys.len());
        let standby = self.log.standbys.get(chosen).copied();
        let hears = |it: &Position| it.timeline == self.log.end.timeline;
        let ready = |it: &Position| hears(it) || self.flaw == Flaw::PromotesStrangers;
        let Some(Position { timeline, transaction }) = standby.filter(ready) else {
            self.log.end.transaction = self.log.on_disk;
            return;
        };
        self.trace.saw("a standby was promoted");
        if transaction < self.log.on_disk {
            self.trace.saw("a standby that lacked transactions was promoted");
        }
        let at = self.since_the_beginning();
        self.trace.fault(at, || format!("a standby takes over, at {timeline}, {transaction}"));
        self.log.end = Position { timeline: timeline + 1, transaction };
        self.log.on_disk = transaction;
    }
}
