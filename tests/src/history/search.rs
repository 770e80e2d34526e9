//! The search for an order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Hold, Operation, Unexplained};

/// How many situations are looked at before the search is given up.
const MOST_SITUATIONS: usize = 5_000_000;

/// What is looked for an order of.
pub(super) struct Search {
    permits: u32,
    /// What is known to have happened, by the time of its call.
    certain: Vec<Operation>,
    /// Who may have entered without having been told, by the time of the call.
    uncertain: Vec<Operation>,
    /// From when on those may be gone who never said that they left.
    unseen: BTreeMap<Hold, Operation>,
}

/// Where an order has led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Situation {
    /// How much of the certain operations is behind without a gap.
    first: usize,
    /// Which of the certain operations are behind besides.
    ahead: BTreeSet<usize>,
    /// Which of the uncertain operations are behind.
    entered: BTreeSet<usize>,
    inside: BTreeMap<Hold, u32>,
    fence: u64,
}

/// What can come next.
#[derive(Clone, Copy)]
enum Next {
    Certain(usize),
    Uncertain(usize),
    Gone(Hold),
    /// Everybody is, and may be again.
    AllGone(usize),
}

impl Search {
    pub(super) fn new(permits: u32, operations: &[Operation]) -> Self {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| operation.called);
        // Somebody who perhaps was inside explains why another was refused, and nothing else.
        let matters = operations.iter().any(|one| matches!(one.action, Action::Refused { .. }));
        let (certain, open): (Vec<_>, Vec<_>) =
            operations.into_iter().partition(|operation| operation.returned.is_some());
        let (mut uncertain, mut unseen) = (Vec::new(), BTreeMap::new());
        for operation in open {
            match operation.action {
                Action::Enter { .. } if matters => uncertain.push(operation),
                Action::Leave => drop(unseen.insert(operation.hold, operation)),
                Action::Enter { .. } | Action::Refused { .. } | Action::Forget { .. } => {}
            }
        }
        Self { permits, certain, uncertain, unseen }
    }

    pub(super) fn run(&self) -> Result<(), Unexplained> {
        let mut farthest = Situation::default();
        if self.certain.is_empty() {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        let mut path = vec![(self.next(&farthest), farthest.clone())];
        while let Some((choices, situation)) = path.last_mut() {
            let Some(next) = choices.pop() else {
                path.pop();
                continue;
            };
            let Some(after) = self.take(situation, next) else { continue };
            if after.first == self.certain.len() {
                return Ok(());
            }
            if known.len() == MOST_SITUATIONS {
                return Err(self.unexplained(&farthest, true));
            }
            if known.insert(after.clone()) {
                if after.progress() > farthest.progress() {
                    farthest = after.clone();
                }
                path.push((self.next(&after), after));
            }
        }
        Err(self.unexplained(&farthest, false))
    }

    /// What may come next as far as its time is concerned: last, and so to be tried first, what
    /// returned soonest.
    fn next(&self, situation: &Situation) -> Vec<Next> {
        let mut horizon = u64::MAX;
        let mut certain = Vec::new();
        for (index, operation) in self.certain.iter().enumerate().skip(situation.first) {
            if operation.called > horizon {
                break;
            }
            if !situation.ahead.contains(&index) {
                let returned = operation.returned.unwrap_or(u64::MAX);
                horizon = horizon.min(returned);
                certain.push((returned, index));
            }
        }
        certain.retain(|(_, index)| self.certain[*index].called <= horizon);
        certain.sort_unstable_by(|one, other| other.cmp(one));
        let begun = |operation: &Operation| operation.called <= horizon;
        let uncertain = self.uncertain.iter().take_while(|operation| begun(operation)).enumerate();
        let uncertain = uncertain.map(|(index, _)| index);
        let absent = uncertain.filter(|index| !situation.entered.contains(index));
        let gone = situation.inside.keys().filter(|hold| self.unseen.get(hold).is_some_and(begun));
        let mut next: Vec<Next> = absent.map(Next::Uncertain).collect();
        next.extend(gone.map(|hold| Next::Gone(*hold)));
        for (_, index) in certain {
            next.push(Next::Certain(index));
            if matches!(self.certain[index].action, Action::Forget { .. }) {
                next.push(Next::AllGone(index));
            }
        }
        next
    }

    /// The situation afterwards, if a lock would allow it.
    fn take(&self, situation: &Situation, next: Next) -> Option<Situation> {
        let mut after = situation.clone();
        match next {
            Next::Gone(hold) => drop(after.inside.remove(&hold)),
            Next::AllGone(index) => {
                after.inside.clear();
                if self.certain[index].action == (Action::Forget { fences: true }) {
                    after.fence = 0;
                }
            }
            Next::Uncertain(index) => {
                self.apply(&self.uncertain[index], &mut after)?;
                after.entered.insert(index);
            }
            Next::Certain(index) => {
                self.apply(&self.certain[index], &mut after)?;
                after.ahead.insert(index);
                while after.ahead.remove(&after.first) {
                    after.first += 1;
                }
            }
        }
        Some(after)
    }

    fn apply(&self, operation: &Operation, to: &mut Situation) -> Option<()> {
        let taken: u32 = to.inside.values().sum();
        let room = |permits: u32| permits <= self.permits - taken;
        match operation.action {
            Action::Enter { permits, fence } => {
                let rises = fence.is_none_or(|fence| fence > to.fence);
                if !room(permits) || !rises {
                    return None;
                }
                to.fence = fence.unwrap_or(to.fence);
                to.inside.insert(operation.hold, permits);
            }
            Action::Leave => drop(to.inside.remove(&operation.hold)),
            Action::Refused { permits } => {
                if room(permits) {
                    return None;
                }
            }
            Action::Forget { .. } => {}
        }
        Some(())
    }

    fn unexplained(&self, situation: &Situation, gave_up: bool) -> Unexplained {
        let stuck = self.next(situation).into_iter().filter_map(|next| match next {
            Next::Certain(index) => Some(self.certain[index]),
            Next::Uncertain(index) => Some(self.uncertain[index]),
            Next::Gone(hold) => self.unseen.get(&hold).copied(),
            Next::AllGone(_) => None,
        });
        Unexplained {
            inside: situation.inside.keys().copied().collect(),
            fence: situation.fence,
            stuck: stuck.collect(),
            gave_up,
        }
    }
}

impl Situation {
    fn progress(&self) -> usize {
        self.first + self.ahead.len()
    }
}
