//! A list that is seldom longer than one.

/// Takes no memory of its own for its first item.
#[derive(Debug)]
pub(crate) struct Few<T> {
    first: Option<T>,
    others: Vec<T>,
}

impl<T> Few<T> {
    pub(crate) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.others.push(item);
        }
    }

    /// What a chain of two parts does, at half its price.
    #[inline]
    pub(crate) fn for_each(self, mut give: impl FnMut(T)) {
        if let Some(first) = self.first {
            give(first);
            self.others.into_iter().for_each(give);
        }
    }

    #[cfg(feature = "file")]
    pub(crate) fn find_mut(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.first.iter_mut().chain(&mut self.others).find(|item| is_it(item))
    }

    /// Takes one out; the order of the others may change.
    #[cfg(feature = "file")]
    pub(crate) fn remove(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Option<T> {
        if self.first.as_ref().is_some_and(&mut is_it) {
            return std::mem::replace(&mut self.first, self.others.pop());
        }
        let place = self.others.iter().position(is_it)?;
        Some(self.others.swap_remove(place))
    }

    #[cfg(feature = "redis")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.others)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

#[cfg(feature = "redis")]
impl<T> From<T> for Few<T> {
    fn from(item: T) -> Self {
        Self { first: Some(item), others: Vec::new() }
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}
