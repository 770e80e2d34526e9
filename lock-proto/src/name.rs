//! What a lock is called.

use alloc::format;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;

use crate::LockError;

/// The checked name of a lock; cheap to clone.
///
/// Every text of at most [`LockName::MAX_BYTES`] is a name, the empty one, slashes, NULs and dots
/// included: each backend encodes it so that no two names meet. Names differ by case, and are
/// neither trimmed nor normalised.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LockName(Arc<str>);

impl LockName {
    /// The longest name in bytes: 1 MiB.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if it is longer than [`LockName::MAX_BYTES`].
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, LockError> {
        let name = name.into();
        if name.len() > Self::MAX_BYTES {
            let problem = format!(
                "it is {} bytes long and may have {}; use a digest of it instead",
                name.len(),
                Self::MAX_BYTES
            );
            return Err(LockError::InvalidName(problem.into()));
        }
        Ok(Self(name))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for LockName {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // Whoever looks a lock up again and again brings the very name that was stored.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for LockName {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
