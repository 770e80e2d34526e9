//! What waits for a connection.

use std::collections::{BTreeMap, BTreeSet};

use lock_proto::Instant;

/// Items in the order in which they came, each until a moment of its own. There may be very many, and
/// to find those whose time is over takes no look at the others.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items: BTreeMap<u64, T>,
    /// The last moments, and whose they are.
    ends: BTreeSet<(Instant, u64)>,
    /// How many have come.
    count: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { items: BTreeMap::new(), ends: BTreeSet::new(), count: 0 }
    }

    /// Adds an item that may wait until `end`, and says whether that is before the end of all others.
    pub(super) fn push(&mut self, item: T, end: Instant) -> bool {
        let is_first = self.next_end().is_none_or(|next| end < next);
        self.items.insert(self.count, item);
        self.ends.insert((end, self.count));
        self.count += 1;
        is_first
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The last moment of the next whose time is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Takes those whose last moment is past.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<T> {
        let mut late = Vec::new();
        while let Some(&(end, number)) = self.ends.first()
            && end < now
        {
            self.ends.pop_first();
            late.extend(self.items.remove(&number));
        }
        late
    }

    /// Takes all, in their order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.ends.clear();
        std::mem::take(&mut self.items).into_values()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn whatever_waits_is_taken_in_the_order_in_which_it_came() {
        let mut queue = Queue::new();
        for (item, end) in [(1, 30), (2, 10), (3, 20)] {
            queue.push(item, at(end));
        }
        assert_eq!(queue.take().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(queue.is_empty() && queue.next_end().is_none());
    }

    #[test]
    fn whatever_has_waited_too_long_is_taken_after_its_last_moment() {
        let mut queue = Queue::new();
        assert!(queue.push(1, at(30)));
        assert!(queue.push(2, at(10)));
        assert!(!queue.push(3, at(10)));
        assert!(queue.take_late(at(10)).is_empty());
        assert_eq!(queue.take_late(at(11)), [2, 3]);
        assert_eq!(queue.next_end(), Some(at(30)));
        assert_eq!((queue.len(), queue.take().collect::<Vec<_>>()), (1, vec![1]));
    }
}
