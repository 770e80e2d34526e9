//! Who stands behind whom: an order of arrival for each thing that several locks want alike.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::LockId;

/// The locks of each cohort: one at its front, and the others behind it.
#[derive(Debug)]
pub(crate) struct Cohorts<K>(BTreeMap<K, Members>);

#[derive(Debug)]
struct Members {
    /// Most locks have nobody behind them.
    behind: Option<Box<Behind>>,
}

#[derive(Debug, Default)]
struct Behind {
    arrivals: u64,
    waiting: BTreeMap<u64, LockId>,
}

/// Where a lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// In no cohort.
    Alone,
    Front,
    /// Behind the front, in the order of the numbers.
    Behind(u64),
}

impl<K: Ord> Cohorts<K> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Puts `lock` at the end of a cohort.
    pub(crate) fn join(&mut self, cohort: K, lock: LockId) -> Seat {
        let Some(members) = self.0.get_mut(&cohort) else {
            self.0.insert(cohort, Members { behind: None });
            return Seat::Front;
        };
        let behind = members.behind.get_or_insert_default();
        let arrival = behind.arrivals;
        behind.arrivals += 1;
        behind.waiting.insert(arrival, lock);
        Seat::Behind(arrival)
    }

    /// Frees a seat; who comes to the front by that.
    pub(crate) fn leave(&mut self, cohort: &K, seat: Seat) -> Option<LockId> {
        let members = self.0.get_mut(cohort)?;
        match seat {
            Seat::Alone => None,
            Seat::Behind(arrival) => {
                members.behind.as_mut()?.waiting.remove(&arrival);
                None
            }
            Seat::Front => {
                let next = members.behind.as_mut().and_then(|behind| behind.waiting.pop_first());
                if next.is_none() {
                    self.0.remove(cohort);
                }
                next.map(|(_, lock)| lock)
            }
        }
    }

    /// Each cohort in which anybody stands behind the front, and how many do.
    pub(crate) fn crowds(&self) -> impl Iterator<Item = (&K, usize)> {
        self.0.iter().filter_map(|(cohort, members)| {
            let behind = members.behind.as_ref()?.waiting.len();
            (behind > 0).then_some((cohort, behind))
        })
    }
}
