//! A short queue that lives inside its machine and allocates nothing.

use core::fmt;

/// What a machine has to say and nobody has taken yet: at most `N` things, oldest first.
#[derive(Clone)]
pub(crate) struct Outbox<T, const N: usize> {
    items: [Option<T>; N],
    first: usize,
    len: usize,
}

impl<T, const N: usize> Outbox<T, N> {
    pub(crate) fn new() -> Self {
        Self { items: [const { None }; N], first: 0, len: 0 }
    }

    /// Appends `item`.
    ///
    /// # Panics
    ///
    /// If `N` items are waiting already: each machine states why it never has more.
    pub(crate) fn push(&mut self, item: T) {
        assert!(self.len < N, "an outbox never holds more than its bound");
        self.items[(self.first + self.len) % N] = Some(item);
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.items[self.first].take()?;
        self.first = (self.first + 1) % N;
        self.len -= 1;
        Some(item)
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for Outbox<T, N> {
    /// What waits in it, wherever in its ring that is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = (self.first..self.first + self.len).map(|place| place % N);
        f.debug_list().entries(places.filter_map(|place| self.items[place].as_ref())).finish()
    }
}
