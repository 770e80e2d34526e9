//! One client: its locks, its sessions, and what it believes.

use lock_proto::postgres::{PoolLimits, PostgresLock, SeatId, SessionId};
use lock_proto::redis::Side;
use lock_proto::{Event, Hub, Instant, LockError, LockId, LossReason, Succession};

use super::office::Office;
use super::{Flaw, Want, World};
use crate::storage::HoldNumber;
use crate::trace::Happening;

/// One incarnation of a client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) hub: Hub<PostgresLock, Belief>,
    pub(super) office: Office,
}

/// What a client believes of one lock.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    pub(super) want: Want,
    pub(super) site: SeatId,
    pub(super) state: State,
    /// Whether it waits for ever.
    pub(super) patient: bool,
    asked_at: u64,
    /// Which hold of the storage it is.
    pub(super) hold: Option<HoldNumber>,
    let_go: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Held,
    Over,
}

impl Belief {
    pub(super) fn new(want: Want, site: SeatId, patient: bool, asked_at: u64) -> Self {
        Self { want, site, state: State::Waiting, patient, asked_at, hold: None, let_go: false }
    }
}

impl Client {
    pub(super) fn new(limits: PoolLimits, flaw: Flaw) -> Self {
        Self { hub: Hub::new(), office: Office::new(limits, flaw) }
    }

    /// What its locks believe to hold, and on which sessions.
    pub(super) fn holds(&mut self) -> Vec<(Option<SessionId>, Want)> {
        let locks: Vec<LockId> = self.hub.locks().collect();
        let mut holds = Vec::new();
        for lock in locks {
            let Some(belief) = self.hub.attachment(lock) else { continue };
            if belief.state == State::Held {
                let seat = self.office.seats.get(&belief.site);
                holds.push((seat.and_then(|seat| seat.session), belief.want));
            }
        }
        holds
    }
}

impl World<'_> {
    /// The caller wants a lock no more.
    pub(super) fn let_go(&mut self, client: usize, lock: LockId) {
        let at = self.since_the_beginning();
        self.trace.happened(at, || Happening::LetGo { client, lock });
        if let Some(belief) = self.clients[client].hub.attachment(lock) {
            belief.state = State::Over;
            belief.let_go = true;
        }
        self.end_hold(client, lock);
    }

    /// What a client writes from now on it should not.
    pub(super) fn end_hold(&mut self, client: usize, lock: LockId) {
        let hold = self.clients[client].hub.attachment(lock).and_then(|belief| belief.hold);
        if let Some(hold) = hold {
            self.storage.end(hold, self.now);
        }
    }

    /// Tells a client's locks what there is to tell, and takes what they say.
    pub(super) fn settle(&mut self, client: usize) {
        let now = self.instant();
        loop {
            while let Some(succession) = self.clients[client].hub.poll_succession() {
                self.succeed(client, succession);
            }
            let locks: Vec<LockId> = self.clients[client].hub.locks().collect();
            for lock in locks {
                self.listen(client, lock);
            }
            let process = &mut self.clients[client];
            if let Some((origin, reply)) = process.office.poll_settled(now) {
                self.trace.note(|| {
                    format!("{:?} of {client}: {:?} -> {reply:?}", origin.lock, origin.verb)
                });
                self.trace.event();
                process.hub.handle_reply(origin.lock, origin.request, reply, now);
            } else if let Some(lock) = process.office.poll_loss() {
                self.trace.event();
                process.hub.disconnect(lock, LossReason::Disconnected, now);
            } else if let Some(lock) = process.office.poll_nudge() {
                self.trace.saw("somebody stood by for a session");
                self.trace.event();
                process.hub.nudge(lock, now);
            } else if !self.has_more(client) {
                return;
            }
        }
    }

    /// Whether a lock came to the front that was not heard.
    fn has_more(&mut self, client: usize) -> bool {
        let next = self.clients[client].hub.poll_succession();
        next.inspect(|succession| self.succeed(client, *succession)).is_some()
    }

    /// Takes what one lock says.
    fn listen(&mut self, client: usize, lock: LockId) {
        let now = self.instant();
        loop {
            while let Some(event) = self.clients[client].hub.poll_event(lock) {
                self.trace.note(|| format!("    {lock:?} of {client}: [{event:?}]"));
                let at = self.since_the_beginning();
                self.trace.told(at, client, lock, &event, |until| until.since(Instant::ZERO));
                self.believe(client, lock, &event);
            }
            let process = &mut self.clients[client];
            let Some(request) = process.hub.poll_request(lock) else { return };
            let Some(site) = process.hub.attachment(lock).map(|belief| belief.site) else { return };
            let (id, verb) = (request.id, request.command.verb);
            self.trace.note(|| format!("    {lock:?} of {client}: {verb:?}"));
            if let Some(reply) = process.office.carry_out(site, lock, request, now) {
                self.trace.note(|| format!("    {lock:?} of {client}: {verb:?} -> {reply:?}"));
                self.trace.event();
                process.hub.handle_reply(lock, id, reply, now);
            }
        }
    }

    /// What stands on a session for a lock that has left is now the follower's.
    fn succeed(&mut self, client: usize, succession: Succession) {
        let Succession { before, lock, inherits, .. } = succession;
        self.trace.note(|| format!("{lock:?} of {client} follows {before:?}: {inherits}"));
        let Client { hub, office } = &mut self.clients[client];
        let Some(site) = hub.attachment(lock).map(|heir| heir.site) else { return };
        if !inherits {
            return;
        }
        if let Some(left) = hub.attachment(before) {
            self.trace.saw("a lock was passed on within its process");
            let inherited = std::mem::replace(&mut left.site, site);
            office.redirect(inherited, lock);
            if let Some(heir) = hub.attachment(lock) {
                heir.site = inherited;
            }
        }
    }

    fn believe(&mut self, client: usize, lock: LockId, event: &Event) {
        let process = &mut self.clients[client];
        let Some(belief) = process.hub.attachment(lock) else { return };
        match event {
            Event::Acquired { fence, .. } => {
                assert!(!belief.let_go, "M6: {lock:?} is acquired after it was let go");
                belief.state = State::Held;
                let (want, site) = (belief.want, belief.site);
                self.trace.saw("a lock was acquired");
                let session = process.office.seats.get(&site).and_then(|seat| seat.session);
                let line = session.and_then(|session| process.office.lines.get(&session));
                let wire = line.and_then(|line| self.wires.get(&line.wire?));
                let lives = wire.is_some_and(|wire| wire.backend.is_some());
                if let (("orders", Side::Exclusive), Some(fence)) = (want.named(), fence) {
                    belief.hold = Some(self.storage.begin(belief.asked_at, *fence));
                }
                // Who was killed meanwhile comes late, and holds nothing.
                if let (Want::Lock(key, _), Some(fence), true) = (want, fence, lives) {
                    let last = self.last_fence.insert(key, *fence).unwrap_or(0);
                    assert!(*fence > last, "fence: {fence} after {last}");
                }
            }
            Event::Lost(_) => {
                belief.state = State::Over;
                self.trace.saw("a lock was lost");
                self.end_hold(client, lock);
            }
            Event::Failed(error) => {
                belief.state = State::Over;
                let ours = matches!(error, LockError::Backend(_) | LockError::Deadlock(_));
                assert!(self.meddled || !ours, "spurious: {error}");
                self.trace.saw(if error.is_timeout() { "a time-out" } else { "a failure" });
            }
            Event::Closed { clean } => {
                if !clean {
                    self.trace.saw("a lock closed in doubt");
                }
                let site = belief.site;
                process.office.forget(site);
                process.hub.forget(lock);
            }
            Event::Extended { .. } | Event::Warned { .. } => {}
            event @ (Event::Released | _) => panic!("M4: {event:?}"),
        }
    }
}
