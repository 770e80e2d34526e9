//! How long a server may take to answer.

use core::time::Duration;

/// Before anything was measured.
const INITIAL: Duration = Duration::from_millis(250);
/// RFC 6298 says a second. Only a vote that hangs on one server waits so long, and a busy machine
/// or a name of a megabyte takes its time.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(1);
/// A patience that was doubled this often has reached the longest.
const MOST_DOUBLINGS: u32 = 3;

/// The round trip to one server, smoothed as TCP does ([RFC 6298]), and the patience that follows
/// from it: the mean and four times its variation, doubled after each silence.
///
/// [RFC 6298]: https://www.rfc-editor.org/rfc/rfc6298
#[derive(Clone, Debug, Default)]
pub struct RoundTrip {
    measured: Option<Measured>,
    doublings: u32,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    mean: Duration,
    variation: Duration,
}

impl RoundTrip {
    /// Nothing measured yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The server answered after `taken`.
    pub fn answered(&mut self, taken: Duration) {
        self.doublings = 0;
        self.measured = Some(match self.measured {
            None => Measured { mean: taken, variation: taken / 2 },
            Some(Measured { mean, variation }) => Measured {
                variation: variation / 4 * 3 + mean.abs_diff(taken) / 4,
                mean: mean / 8 * 7 + taken / 8,
            },
        });
    }

    /// The server did not answer.
    pub fn silent(&mut self) {
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
    }

    /// How long to wait for the next answer: from 200 ms to one second.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let once = self.measured.map_or(INITIAL, |Measured { mean, variation }| {
            mean.saturating_add(variation.saturating_mul(4))
        });
        once.max(SHORTEST).saturating_mul(1 << self.doublings).min(LONGEST)
    }
}
