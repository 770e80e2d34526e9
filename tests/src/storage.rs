//! What locks are for: a place that their holders write to.

use lock_proto::{Hub, LockId, Machine};

use crate::entropy::Entropy;
use crate::trace::Trace;

/// A store that is written to by whoever holds a lock, or held it.
///
/// It may refuse a write whose token is smaller than one that it has accepted. Whether or not it
/// does, no write may be accepted of a hold that was over before the hold of an accepted one was
/// asked for.
#[derive(Debug)]
pub struct Storage {
    fenced: bool,
    holds: Vec<Hold>,
    /// Writes that have not arrived, by the holds that sent them.
    on_the_way: Vec<HoldNumber>,
    greatest: u64,
    newest: Option<u64>,
}

/// Names a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldNumber(usize);

#[derive(Clone, Copy, Debug)]
struct Hold {
    fence: u64,
    asked_at: u64,
    over_at: Option<u64>,
}

impl Storage {
    /// A store that refuses older tokens if it is `fenced`.
    #[must_use]
    pub fn new(fenced: bool) -> Self {
        Self { fenced, holds: Vec::new(), on_the_way: Vec::new(), greatest: 0, newest: None }
    }

    /// Somebody who asked at `asked_at` holds the lock.
    pub fn begin(&mut self, asked_at: u64, fence: u64) -> HoldNumber {
        self.holds.push(Hold { fence, asked_at, over_at: None });
        HoldNumber(self.holds.len() - 1)
    }

    /// A hold is over, by its holder's clock, if it was not before.
    pub fn end(&mut self, hold: HoldNumber, at: u64) {
        self.holds[hold.0].over_at.get_or_insert(at);
    }

    /// Somebody of `hub` writes, without a look at whether it still has the lock; or what was written
    /// arrives. `hold` says which hold an attachment is of.
    pub(crate) fn disturb<M: Machine, A>(
        &mut self,
        hub: &mut Hub<M, A>,
        hold: impl Fn(&A) -> Option<HoldNumber>,
        entropy: &mut Entropy,
        trace: &mut Trace,
    ) {
        if !self.on_the_way.is_empty() && entropy.pick(2) == 0 {
            let chosen = entropy.pick(self.on_the_way.len());
            return self.arrive(chosen, trace);
        }
        let locks: Vec<LockId> = hub.locks().collect();
        let holds = locks.into_iter().filter_map(|lock| hold(hub.attachment(lock)?));
        let holds: Vec<HoldNumber> = holds.collect();
        if !holds.is_empty() {
            self.send(holds[entropy.pick(holds.len())]);
        }
    }

    /// Somebody writes, perhaps without a look at whether it still may.
    pub fn send(&mut self, hold: HoldNumber) {
        self.on_the_way.push(hold);
    }

    /// How many writes have not arrived.
    #[must_use]
    pub fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }

    /// One of the writes arrives.
    ///
    /// # Panics
    ///
    /// If it is accepted and must not be.
    pub fn arrive(&mut self, chosen: usize, trace: &mut Trace) {
        let Hold { fence, asked_at, over_at } = self.holds[self.on_the_way.swap_remove(chosen).0];
        let accepted = !self.fenced || fence >= self.greatest;
        trace.note(|| format!("a write of {fence} arrives: {accepted}"));
        if !accepted {
            return trace.saw("a write with an older token was refused");
        }
        let stale = over_at.zip(self.newest).is_some_and(|(over, newest)| over < newest);
        assert!(!stale, "storage: a write of {fence} after one of {}", self.greatest);
        self.greatest = self.greatest.max(fence);
        self.newest = self.newest.max(Some(asked_at));
    }
}
