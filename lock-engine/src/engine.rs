//! The hub behind its mutex: the one loop that drives every lock.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_proto::{
    AcquireOptions, Demand, Fault, Hub, Instant, LockError, LockId, LockInfo, LossReason, Progress,
    Request, RequestId, Succession,
};

use crate::attendance::{Attendance, Outcome, Wakers};
use crate::background::{Background, Driven};
use crate::link::Opened;
use crate::{Acquired, Address, Client, Clock, Loss, Pending, Status};

pub(crate) use crate::link::{Answer, Link, Step};

/// Every lock of one provider, over one [`Link`].
pub(crate) struct Engine<L: Link> {
    state: Mutex<State<L>>,
    link: L,
    clock: Clock,
    background: OnceLock<Arc<Background>>,
    /// For the background thread, which may not keep a provider alive.
    me: Weak<Self>,
}

struct State<L: Link> {
    hub: Hub<L::Machine, Attendance<L::Site>>,
    table: L::Table,
    /// How many locks have something left to do.
    open: usize,
    closing: bool,
    idle_wakers: Vec<Waker>,
}

/// What is left of a request, and for which site.
type Outside<L> = (<L as Link>::Site, <L as Link>::Errand);

impl<L: Link> Engine<L> {
    /// An engine on `clock`, over the link that `link` makes for it.
    pub(crate) fn with(clock: Clock, link: impl FnOnce(&Weak<Self>) -> L) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| {
            if let Clock::Manual(manual) = &clock {
                manual.register(me.clone());
            }
            Self {
                state: Mutex::new(State::new()),
                link: link(me),
                clock,
                background: OnceLock::new(),
                me: me.clone(),
            }
        })
    }

    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn link(&self) -> &L {
        &self.link
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The background thread, which nudges this engine's locks.
    pub(crate) fn background(&self) -> Result<&Arc<Background>, Fault> {
        if let Some(background) = self.background.get() {
            return Ok(background);
        }
        let background = Background::started()?;
        background.register(self.me.clone());
        Ok(self.background.get_or_init(|| background))
    }

    /// The link's own table.
    pub(crate) fn with_table<T>(&self, look: impl FnOnce(&mut L::Table) -> T) -> T {
        look(&mut self.state().table)
    }

    /// Lets every lock hear what the link has to tell.
    pub(crate) fn deliver(&self) -> Result<(), Fault> {
        self.drive(self.state(), None, self.clock.now(), |_| ()).1
    }

    /// Tells one lock the outcome of a request.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn answer(
        &self,
        lock: LockId,
        id: RequestId,
        reply: Result<crate::link::Reply<L>, Fault>,
    ) {
        // A deadline that can't be armed here is armed by the next call of a user, who is told.
        let _ = self.input(lock, |state, now| state.hub.handle_reply(lock, id, reply, now), |_| ());
    }

    /// Tells one lock what its backend says unasked.
    #[cfg(feature = "redis")]
    pub(crate) fn message(
        &self,
        lock: LockId,
        message: <L::Machine as lock_proto::Machine>::Message,
    ) {
        let _ = self.input(lock, |state, now| state.hub.message(lock, message, now), |_| ());
    }

    /// How many locks stand behind another, for each cohort.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn crowds<T>(
        &self,
        name: impl Fn(&<L::Machine as lock_proto::Machine>::Cohort) -> T,
    ) -> Vec<(T, usize)> {
        self.state().hub.crowds().map(|(cohort, behind)| (name(cohort), behind)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is, unless all is at rest, so that nothing depends on it: reading the clock takes
    /// longer than letting a lock go.
    #[inline]
    fn now_unless(&self, at_rest: bool, state: &State<L>) -> Instant {
        if at_rest { state.hub.now() } else { self.clock.now() }
    }

    /// Gives one lock an input, carries out what follows, and looks at what came of it.
    fn input<T>(
        &self,
        lock: LockId,
        record: impl FnOnce(&mut State<L>, Instant),
        look: impl FnOnce(&mut State<L>) -> T,
    ) -> (T, Result<(), Fault>) {
        let mut state = self.state();
        let now = self.clock.now();
        record(&mut state, now);
        self.drive(state, Some(lock), now, look)
    }

    /// Carries out every request of `lock`, and of the locks that hear of it; then looks.
    fn drive<'a, T>(
        &'a self,
        mut state: MutexGuard<'a, State<L>>,
        lock: Option<LockId>,
        mut now: Instant,
        look: impl FnOnce(&mut State<L>) -> T,
    ) -> (T, Result<(), Fault>) {
        let mut wakers = Wakers::default();
        let mut moved_up = Vec::new();
        let mut current = lock;
        loop {
            while let Some(succession) = state.hub.poll_succession() {
                state.redirect(succession, &self.link);
                moved_up.push(succession.lock);
            }
            if let Some(lock) = current {
                if let Some((id, (site, errand))) = state.attend(lock, &self.link, now, &mut wakers)
                {
                    drop(state);
                    let reply = self.link.carry_out(lock, &site, errand, now);
                    // What is computed takes no time; a system call may, and what it was told early
                    // is heard next, so a lease that ran out meanwhile may not pass for one that
                    // stands.
                    now = self.clock.now();
                    state = self.state();
                    if let Some(reply) = reply {
                        state.hub.handle_reply(lock, id, reply, now);
                    }
                    continue;
                }
                if state.hub.has_successions() {
                    continue;
                }
                state.forget_if_over(lock, &self.link);
            }
            current = moved_up.pop();
            if current.is_some() {
                continue;
            }
            let Some((other, answer)) = self.link.poll_answer(&mut state.table, now) else { break };
            state.apply(other, answer, now);
            current = Some(other);
        }
        if state.open == 0 {
            state.idle_wakers.drain(..).for_each(|waker| wakers.add(Some(waker)));
        }
        let deadline = state.poll_timeout(&self.link);
        let seen = look(&mut state);
        drop(state);
        wakers.wake();
        (seen, self.arm(deadline))
    }

    /// Sees to it that somebody drives when `deadline` comes.
    #[inline]
    fn arm(&self, deadline: Option<Instant>) -> Result<(), Fault> {
        match (&self.clock, deadline) {
            (Clock::System, Some(deadline)) => {
                self.background()?.wake_by(deadline);
                Ok(())
            }
            (Clock::Manual(_), _) | (_, None) => Ok(()),
        }
    }
}

impl<L: Link> State<L> {
    fn new() -> Self {
        Self {
            hub: Hub::new(),
            table: L::Table::default(),
            open: 0,
            closing: false,
            idle_wakers: Vec::new(),
        }
    }

    /// When time next matters to a lock, or to the link.
    fn poll_timeout(&self, link: &L) -> Option<Instant> {
        match (self.hub.poll_timeout(), link.poll_timeout(&self.table)) {
            (Some(locks), Some(link)) => Some(locks.min(link)),
            (locks, link) => locks.or(link),
        }
    }

    /// Carries out what one lock asks for as far as that is computed, and notes what it tells. What
    /// is left to be done outside of the engine's mutex, and for which site.
    fn attend(
        &mut self,
        lock: LockId,
        link: &L,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Option<(RequestId, Outside<L>)> {
        let Self { hub, table, open, .. } = self;
        let carry_out = |attendance: &mut Attendance<L::Site>, request: Request<_>, now| {
            if now > request.not_after {
                return Progress::Answered(Err(Fault::not_sent("it was too late to ask")));
            }
            match link.compute(table, lock, &attendance.site, request, now) {
                Step::Answered(reply) => Progress::Answered(reply),
                Step::Later => Progress::Later,
                Step::Outside(errand) => Progress::Outside((attendance.site.clone(), errand)),
            }
        };
        let note = |attendance: &mut Attendance<L::Site>, event| {
            let was_open = !attendance.closed;
            attendance.note(event, wakers);
            *open -= usize::from(was_open && attendance.closed);
        };
        hub.attend(lock, now, carry_out, note)
    }

    fn note_events(&mut self, lock: LockId, wakers: &mut Wakers) {
        while let Some(event) = self.hub.poll_event(lock) {
            if let Some(attendance) = self.hub.attachment(lock) {
                let was_open = !attendance.closed;
                attendance.note(event, wakers);
                self.open -= usize::from(was_open && attendance.closed);
            }
        }
    }

    /// Lets a lock that inherits hear what was for the lock before it.
    fn redirect(&mut self, succession: Succession, link: &L) {
        let Succession { before, lock, inherits, .. } = succession;
        if inherits
            && let Some(site) = self.hub.attachment(lock).map(|heir| heir.site.clone())
            && let Some(left) = self.hub.attachment(before)
        {
            let inherited = std::mem::replace(&mut left.site, site);
            link.redirect(&inherited, before, lock);
            if let Some(heir) = self.hub.attachment(lock) {
                heir.site = inherited;
            }
        }
    }

    fn apply(&mut self, lock: LockId, answer: Answer<L>, now: Instant) {
        match answer {
            Answer::Reply(id, reply) => self.hub.handle_reply(lock, id, reply, now),
            Answer::Loss(reason) => self.hub.disconnect(lock, reason, now),
        }
    }

    fn forget_if_over(&mut self, lock: LockId, link: &L) {
        let Some(attendance) = self.hub.attachment(lock) else { return };
        if attendance.closed && attendance.abandoned {
            link.forget(&attendance.site, lock);
            self.hub.forget(lock);
        }
    }

    /// Whether nobody will hear of anything, as far as we know: no time that comes matters, and no
    /// time that has passed.
    #[inline]
    fn is_at_rest(&self, link: &L) -> bool {
        self.hub.is_timeless()
            && !self.hub.has_successions()
            && self.idle_wakers.is_empty()
            && link.is_at_rest(&self.table)
    }

    /// Starts a lock; its fencing token if it is ours already.
    #[inline]
    fn start(&mut self, opened: L::Opened, now: Instant) -> (LockId, Option<u64>) {
        let Self { hub, table, open, .. } = self;
        *open += 1;
        let now = now.max(hub.now());
        let Some(grant) = opened.take(table, hub.next_id(), now) else {
            return (self.start_asking(opened, now), None);
        };
        let (machine, site) = opened.held(grant, now);
        (hub.start(machine, Attendance::held(site, grant), now), Some(grant.fence))
    }

    fn start_asking(&mut self, opened: L::Opened, now: Instant) -> LockId {
        let (machine, site) = opened.asking(now);
        self.hub.start(machine, Attendance::new(site), now)
    }

    /// Lets a lock that was not lost go, if nothing has to be asked for that.
    #[inline]
    fn give_back_at_once(&mut self, lock: LockId, link: &L, now: Instant) -> bool {
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

    fn poll_acquired(&mut self, lock: LockId, cx: &Context<'_>) -> Acquired {
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
    fn poll_released(
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

impl<L: Link> Driven for Engine<L> {
    fn tick(&self) {
        let now = self.clock.now();
        self.link.handle_timeout(now);
        // A deadline that can't be armed here is armed by the next call of a user, who is told.
        let _ = self.deliver();
        loop {
            let mut state = self.state();
            let Some(lock) = state.hub.poll_due(now) else { break };
            let _ = self.drive(state, Some(lock), now, |_| ());
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.state().poll_timeout(&self.link)
    }

    fn nudge(&self, lock: LockId) {
        let _ = self.input(lock, |state, now| state.hub.nudge(lock, now), |_| ());
    }
}

impl<L: Link> Client for Engine<L> {
    fn locate(&self, name: &str) -> Address {
        self.link.locate(name)
    }

    fn start(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        cx: &Context<'_>,
    ) -> Result<(LockId, Acquired), LockError> {
        let now = self.clock.now();
        let opened = self.link.open(address, demand, options, now)?;
        let mut state = self.state();
        if state.closing {
            return Err(LockError::Cancelled);
        }
        let (lock, taken) = state.start(opened, now);
        if let Some(fence) = taken
            && state.is_at_rest(&self.link)
        {
            return Ok((lock, Poll::Ready(Ok(Some(fence)))));
        }
        // Whoever has the lock asks for nothing more, but others may have heard of something.
        let asks = taken.is_none().then_some(lock);
        let look = |state: &mut State<L>| state.poll_acquired(lock, cx);
        let (outcome, armed) = self.drive(state, asks, now, look);
        if let Err(fault) = armed {
            self.abandon(lock);
            return Err(LockError::Backend(fault));
        }
        Ok((lock, outcome))
    }

    fn poll_acquired(&self, lock: LockId, cx: &Context<'_>) -> Acquired {
        self.state().poll_acquired(lock, cx)
    }

    fn release(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>> {
        let mut state = self.state();
        let at_rest = state.is_at_rest(&self.link);
        let now = self.now_unless(at_rest, &state);
        // Whatever can't be armed is not needed by a lock that is let go.
        if state.give_back_at_once(lock, &self.link, now) {
            if at_rest {
                return Poll::Ready(Ok(()));
            }
            return self.drive(state, None, now, |_| Poll::Ready(Ok(()))).0;
        }
        state.hub.release(lock, now);
        self.drive(state, Some(lock), now, |state| state.poll_released(lock, &self.link, cx)).0
    }

    fn poll_released(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>> {
        self.state().poll_released(lock, &self.link, cx)
    }

    fn abandon(&self, lock: LockId) {
        let mut state = self.state();
        let at_rest = state.is_at_rest(&self.link);
        let now = self.now_unless(at_rest, &state);
        if state.give_back_at_once(lock, &self.link, now) {
            if !at_rest {
                let _ = self.drive(state, None, now, |_| ());
            }
            return;
        }
        if let Some(attendance) = state.hub.attachment(lock) {
            attendance.abandoned = true;
        }
        state.hub.release(lock, now);
        let _ = self.drive(state, Some(lock), now, |_| ());
    }

    fn extend(&self, lock: LockId, ttl: Duration) {
        let prolong = |state: &mut State<L>, now| {
            if let Some(attendance) = state.hub.attachment(lock) {
                attendance.extended = false;
            }
            state.hub.extend(lock, ttl, now);
        };
        let _ = self.input(lock, prolong, |_| ());
    }

    fn poll_extended(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>> {
        let mut state = self.state();
        let Some(attendance) = state.hub.attachment(lock) else {
            return Poll::Ready(Err(LockError::Cancelled));
        };
        if let Some(reason) = &attendance.lost {
            return Poll::Ready(Err(LockError::LockLost(LossReason::clone(reason))));
        }
        if attendance.extended {
            return Poll::Ready(Ok(()));
        }
        attendance.wait(cx);
        Poll::Pending
    }

    fn status(&self, lock: LockId) -> Status {
        self.nudge(lock);
        let now = self.clock.now();
        let mut state = self.state();
        let held = state.hub.attachment(lock).filter(|attendance| {
            matches!(attendance.outcome, Outcome::Acquired(_))
                && !attendance.closed
                && attendance.lost.is_none()
                && attendance.valid_until.is_none_or(|until| now < until)
        });
        let remaining = match &held {
            Some(attendance) => attendance.valid_until.map(|until| until.since(now)),
            None => Some(Duration::ZERO),
        };
        Status { valid: held.is_some(), remaining }
    }

    fn loss(&self, lock: LockId) -> Loss {
        self.state().hub.attachment(lock).map(Attendance::loss).unwrap_or_default()
    }

    fn info(&self, address: &Address, demand: Demand) -> Pending<Result<LockInfo, LockError>> {
        self.link.info(self, address, demand, self.clock.now())
    }

    fn list(&self) -> Pending<Result<Vec<LockInfo>, LockError>> {
        self.link.list(self, self.clock.now())
    }

    fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.hub.disband();
        let mut wakers = Wakers::default();
        let locks: Vec<LockId> = state.hub.locks().collect();
        for &lock in &locks {
            state.note_events(lock, &mut wakers);
            let Some(attendance) = state.hub.attachment(lock) else { continue };
            match attendance.outcome {
                _ if attendance.closed || attendance.lost.is_some() => {}
                Outcome::Open => {
                    attendance.outcome = Outcome::Failed(Box::new(LockError::Cancelled))
                }
                Outcome::Acquired(_) => attendance.lose(LossReason::Closed, &mut wakers),
                Outcome::Failed(_) => {}
            }
        }
        drop(state);
        wakers.wake();
        for lock in locks {
            let _ = self.input(lock, |state, now| state.hub.release(lock, now), |_| ());
        }
    }

    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.open == 0 {
            return Poll::Ready(());
        }
        if !state.idle_wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.idle_wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
