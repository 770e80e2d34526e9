//! Giving back what may be ours on one server.

use core::time::Duration;

use super::call::Reply;
use super::cohort::Legacy;
use super::phase::Dirt;
use crate::{Deadline, Fault, FaultKind, Instant, RequestId, Timer};

/// Then what remains is left to its lease.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// A release that failed is tried again after this, and after twice as long each further time.
const PAUSE: Duration = Duration::from_millis(50);
/// A request that was lost has arrived by then, if it ever does; the server forgets afterwards that
/// its token is refused.
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// When a release is repeated, after a request that was lost.
const REPEAT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct Leaving {
    asked: Option<RequestId>,
    /// What was asked for, as long as nobody has taken it to carry it out.
    unsent: Option<Release>,
    ask_at: Instant,
    give_up_at: Instant,
    tries: u32,
    confirmed: bool,
    repeated: bool,
    refused: bool,
    /// Whether nobody is known to wait.
    plain: bool,
    pub(super) legacy: Legacy,
}

/// How a lock is given back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Release {
    /// Without a look at who is next.
    Plain,
    /// The server is to refuse our token for so long.
    Full { refuse_for: Option<Duration> },
}

impl Leaving {
    pub(super) fn new(legacy: Legacy, now: Instant) -> Self {
        Self {
            plain: true,
            legacy,
            asked: None,
            unsent: None,
            ask_at: now,
            give_up_at: now + LEAVE_WITHIN,
            tries: 0,
            confirmed: false,
            repeated: false,
            refused: false,
        }
    }

    /// Whether all is over, and then whether nothing of ours is left. `overtaken` is a request to
    /// take the lock that has no answer yet.
    pub(super) fn over(&mut self, dirty: Dirt, overtaken: bool, now: Instant) -> Option<bool> {
        if now >= self.give_up_at {
            return Some(false);
        }
        if overtaken || self.asked.is_some() {
            return None;
        }
        match dirty {
            Dirt::None => Some(true),
            Dirt::Ours | Dirt::Doubtful if self.refused => Some(false),
            Dirt::Ours | Dirt::Doubtful if !self.confirmed => None,
            Dirt::Ours => Some(true),
            Dirt::Doubtful if self.repeated => Some(false),
            Dirt::Doubtful => {
                self.repeated = true;
                self.confirmed = false;
                self.ask_at = now + REPEAT;
                None
            }
        }
    }

    /// Whether to ask for the release at `now`.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.asked.is_none() && !self.confirmed && !self.refused && now >= self.ask_at
    }

    /// For how long the server must refuse our token.
    pub(super) fn refuse_for(dirty: Dirt, overtaken: bool) -> Option<Duration> {
        (overtaken || dirty == Dirt::Doubtful).then_some(ARRIVES_WITHIN)
    }

    /// Whether the lock may be given back without a look at who is next.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Asks for the release.
    pub(super) fn ask(&mut self, id: RequestId, release: Release) {
        self.asked = Some(id);
        self.unsent = Some(release);
    }

    /// Takes the release that was asked for, and says until when it is of use.
    pub(super) fn hand_out(&mut self) -> Option<(RequestId, Release, Instant)> {
        let release = self.unsent.take()?;
        self.asked.map(|id| (id, release, self.give_up_at))
    }

    /// Records an answer, if it is that to the release.
    pub(super) fn answered(
        &mut self,
        id: RequestId,
        reply: &Result<Reply, Fault>,
        now: Instant,
    ) -> bool {
        if self.asked.take_if(|asked| *asked == id).is_none() {
            return false;
        }
        match reply {
            Ok([2, ..]) if self.plain => {
                self.plain = false;
                self.ask_at = now;
            }
            Ok(_) => self.confirmed = true,
            Err(fault) if fault.kind() == FaultKind::Refused => self.refused = true,
            Err(_) => {
                self.ask_at = now + PAUSE * (1 << self.tries.min(5));
                self.tries += 1;
            }
        }
        true
    }

    /// Takes the release back, if nobody has taken it yet.
    pub(super) fn call_off(&mut self) -> bool {
        self.unsent.take().is_some()
    }

    /// Something of ours may have come after the release.
    pub(super) fn ask_again(&mut self, now: Instant) {
        self.confirmed = false;
        self.ask_at = now;
    }

    pub(super) fn deadline(&self) -> Deadline {
        let waits = self.asked.is_none() && !self.confirmed && !self.refused;
        let ask_at = if waits { self.ask_at } else { Instant::FAR_FUTURE };
        Deadline::new(ask_at.min(self.give_up_at), Timer::Retry)
    }
}
