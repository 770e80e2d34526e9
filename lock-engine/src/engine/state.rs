//! What the engine's mutex guards.

use std::task::{Context, Poll, Waker};

use lock_proto::{
    Fault, Hub, Instant, LockError, LockId, Progress, Request, RequestId, Succession,
};

use super::{Answer, Link, Step};
use crate::Acquired;
use crate::attendance::{Attendance, Outcome, Wakers};
use crate::few::Few;
use crate::link::Opened as _;

/// Every lock of one provider, and what its link keeps for them.
pub(super) struct State<L: Link> {
    pub(super) hub: Hub<L::Machine, Attendance<L::Site>>,
    pub(super) table: L::Table,
    /// How many locks have something left to do.
    pub(super) open: usize,
    pub(super) closing: bool,
    pub(super) idle_wakers: Vec<Waker>,
}

/// What is to be sent, and whose it is.
pub(super) type Post<L> = Few<(LockId, <L as Link>::Letter)>;

impl<L: Link> State<L> {
    pub(super) fn new() -> Self {
        Self {
            hub: Hub::new(),
            table: L::Table::default(),
            open: 0,
            closing: false,
            idle_wakers: Vec::new(),
        }
    }

    /// When time next matters to a lock, or to the link.
    pub(super) fn poll_timeout(&self, link: &L) -> Option<Instant> {
        match (self.hub.poll_timeout(), link.poll_timeout(&self.table)) {
            (Some(locks), Some(link)) => Some(locks.min(link)),
            (locks, link) => locks.or(link),
        }
    }

    /// Carries out what one lock asks for as far as that is computed, and notes what it tells. What
    /// is left to be done outside of the engine's mutex.
    pub(super) fn attend(
        &mut self,
        lock: LockId,
        link: &L,
        now: Instant,
        wakers: &mut Wakers,
        post: &mut Post<L>,
    ) -> Option<(RequestId, L::Errand)> {
        let Self { hub, table, open, .. } = self;
        let carry_out = |attendance: &mut Attendance<L::Site>, request: Request<_>, now| {
            if now > request.not_after {
                return Progress::Answered(Err(Fault::not_sent("it was too late to ask")));
            }
            match link.compute(table, lock, &attendance.site, request, now) {
                Step::Answered(reply) => Progress::Answered(reply),
                Step::Later => Progress::Later,
                Step::Outside(errand) => Progress::Outside(errand),
                Step::Send(letter) => {
                    post.push((lock, letter));
                    Progress::Later
                }
            }
        };
        let note = |attendance: &mut Attendance<L::Site>, event| {
            let was_open = !attendance.closed;
            attendance.note(event, wakers);
            *open -= usize::from(was_open && attendance.closed);
        };
        hub.attend(lock, now, carry_out, note)
    }

    pub(super) fn site_of(&mut self, lock: LockId) -> Option<L::Site> {
        self.hub.attachment(lock).map(|attendance| attendance.site.clone())
    }

    pub(super) fn note_events(&mut self, lock: LockId, wakers: &mut Wakers) {
        while let Some(event) = self.hub.poll_event(lock) {
            if let Some(attendance) = self.hub.attachment(lock) {
                let was_open = !attendance.closed;
                attendance.note(event, wakers);
                self.open -= usize::from(was_open && attendance.closed);
            }
        }
    }

    /// Lets a lock that inherits hear what was for the lock before it.
    pub(super) fn redirect(&mut self, succession: Succession, link: &L) {
        let Succession { before, lock, inherits, .. } = succession;
        if inherits
            && let Some(site) = self.site_of(lock)
            && let Some(left) = self.hub.attachment(before)
        {
            let inherited = std::mem::replace(&mut left.site, site);
            link.redirect(&inherited, before, lock);
            if let Some(heir) = self.hub.attachment(lock) {
                heir.site = inherited;
            }
        }
    }

    pub(super) fn apply(&mut self, lock: LockId, answer: Answer<L>, now: Instant) {
        match answer {
            Answer::Reply(id, reply) => self.hub.handle_reply(lock, id, reply, now),
            Answer::Loss(reason) => self.hub.disconnect(lock, reason, now),
        }
    }

    pub(super) fn forget_if_over(&mut self, lock: LockId, link: &L) {
        let Some(attendance) = self.hub.attachment(lock) else { return };
        if attendance.closed && attendance.abandoned {
            link.forget(&attendance.site, lock);
            self.hub.forget(lock);
        }
    }

    /// Whether nobody will hear of anything, as far as we know: no time that comes matters, and no
    /// time that has passed.
    #[inline]
    pub(super) fn is_at_rest(&self, link: &L) -> bool {
        self.hub.is_timeless()
            && !self.hub.has_successions()
            && self.idle_wakers.is_empty()
            && link.is_at_rest(&self.table)
    }

    /// Starts a lock; its fencing token if it is ours already.
    #[inline]
    pub(super) fn start(&mut self, opened: L::Opened, now: Instant) -> (LockId, Option<u64>) {
        let Self { hub, table, open, .. } = self;
        *open += 1;
        let now = now.max(hub.now());
        let Some(grant) = opened.take(table, hub.next_id(), now) else {
            return (self.start_asking(opened, now), None);
        };
        let (machine, site) = opened.held(grant, now);
        (hub.start(machine, Attendance::held(site, grant), now), Some(grant.fence))
    }

    pub(super) fn start_asking(&mut self, opened: L::Opened, now: Instant) -> LockId {
        let (machine, site) = opened.asking(now);
        self.hub.start(machine, Attendance::new(site), now)
    }

    /// Lets a lock that was not lost go, if nothing has to be asked for that.
    #[inline]
    pub(super) fn give_back_at_once(&mut self, lock: LockId, link: &L, now: Instant) -> bool {
        let Self { hub, table, open, .. } = self;
        let given = hub.forget_if(lock, now, |machine, attendance, now| {
            let site = &attendance.site;
            let over =
                attendance.is_held() && link.give_back_at_once(table, lock, site, machine, now);
            if over {
                link.forget(&attendance.site, lock);
            }
            over
        });
        *open -= usize::from(given);
        given
    }

    pub(super) fn poll_acquired(&mut self, lock: LockId, cx: &Context<'_>) -> Acquired {
        let Some(attendance) = self.hub.attachment(lock) else {
            return Poll::Ready(Err(LockError::Cancelled));
        };
        match &attendance.outcome {
            Outcome::Acquired(fence) => Poll::Ready(Ok(*fence)),
            Outcome::Failed(error) => Poll::Ready(Err(LockError::clone(error))),
            Outcome::Open => {
                attendance.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Who was told that the lock is released asks no more about it.
    pub(super) fn poll_released(
        &mut self,
        lock: LockId,
        link: &L,
        cx: &Context<'_>,
    ) -> Poll<Result<(), LockError>> {
        let Some(attendance) = self.hub.attachment(lock) else { return Poll::Ready(Ok(())) };
        if !attendance.released {
            attendance.wait(cx);
            return Poll::Pending;
        }
        attendance.abandoned = true;
        let lost = attendance.lost.clone();
        if attendance.closed {
            link.forget(&attendance.site, lock);
            self.hub.forget(lock);
        }
        Poll::Ready(lost.map_or(Ok(()), |reason| Err(LockError::LockLost(*reason))))
    }
}
