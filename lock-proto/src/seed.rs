//! All the randomness that a machine will ever use.

use core::fmt;
use core::time::Duration;

/// Random bytes, drawn from the operating system by the adapter.
///
/// A machine is a pure function of its options, its seed and its inputs, so a recorded run can
/// be replayed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The seed's own sequence of numbers.
    #[must_use]
    pub fn jitter(&self) -> Jitter {
        let mut state = [0; 8];
        state.copy_from_slice(&self.0[..8]);
        Jitter { state: u64::from_le_bytes(state) }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Numbers that need to be spread, not secret.
///
/// [SplitMix64](https://prng.di.unimi.it/splitmix64.c): every 64-bit number once per period.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration between `shortest` and `longest`, both included.
    ///
    /// If `longest` is shorter than `shortest` the answer is `shortest`; the range is cut at 584
    /// years.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let spread = longest.saturating_sub(shortest).as_nanos().min(u128::from(u64::MAX));
        let drawn = (u128::from(self.next_u64()) * (spread + 1)) >> 64;
        shortest + Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX))
    }
}
