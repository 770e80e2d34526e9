//! Which faults a run has.

use lock_proto::Fault;

use crate::entropy::Entropy;
use crate::trace::Trace;

/// A random half of the faults of a world: all of them at once hide bugs from each other.
#[derive(Clone, Copy, Debug)]
pub struct Swarm(usize);

impl Swarm {
    /// Draws it from the first bytes of a schedule.
    #[must_use]
    pub fn draw(entropy: &mut Entropy) -> Self {
        Self(entropy.pick(256) << 8 | entropy.pick(256))
    }

    /// Whether the run has the fault of that number, of 16.
    #[must_use]
    pub fn has(self, fault: usize) -> bool {
        self.0 >> fault & 1 == 1
    }
}

/// Why a Redis server that is there does not carry out a request, now and then.
pub(crate) fn unwilling(entropy: &mut Entropy, trace: &mut Trace) -> Option<Fault> {
    if !entropy.happens(12) {
        return None;
    }
    trace.saw("a server was unwilling");
    Some(match entropy.pick(2) {
        0 => Fault::refused("READONLY You can't write against a read only replica."),
        _ => Fault::not_sent("NOSCRIPT No matching script."),
    })
}
