//! The hub behind its mutex: the one loop that drives every lock.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use lock_proto::{AcquireOptions, Demand, Fault, Instant, LockError, LockId, LockInfo, LossReason};

use self::state::{Post, State};

use crate::attendance::{Attendance, Outcome, Wakers};
use crate::background::{Background, Driven};
use crate::few::Few;
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
        self.drive(self.state(), None, self.clock.now(), unseen).1
    }

    /// Tells locks the outcomes of requests, one after another.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn answer(&self, outcomes: impl IntoIterator<Item = Settled<L>>) {
        let mut state = self.state();
        let mut now = self.clock.now();
        let (mut wakers, mut post) = (Wakers::default(), Few::default());
        for (lock, id, reply) in outcomes {
            state.hub.handle_reply(lock, id, reply, now);
            (state, now) = self.settle(state, Some(lock), now, &mut wakers, &mut post);
        }
        // A deadline that can't be armed here is armed by the next call of a user, who is told.
        let _ = self.conclude(state, now, wakers, post, unseen);
    }

    /// Tells one lock what its backend says unasked.
    #[cfg(feature = "redis")]
    pub(crate) fn message(
        &self,
        lock: LockId,
        message: <L::Machine as lock_proto::Machine>::Message,
    ) {
        self.input(lock, |state, now| state.hub.message(lock, message, now));
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

    /// Gives one lock an input, and carries out what follows.
    fn input(&self, lock: LockId, record: impl FnOnce(&mut State<L>, Instant)) {
        let mut state = self.state();
        let now = self.clock.now();
        record(&mut state, now);
        let _ = self.drive(state, Some(lock), now, unseen);
    }

    /// Carries out every request of `lock`, and of the locks that hear of it; then looks.
    fn drive<'a, T>(
        &'a self,
        mut state: MutexGuard<'a, State<L>>,
        lock: Option<LockId>,
        mut now: Instant,
        look: impl FnMut(&mut State<L>) -> Poll<T>,
    ) -> (Poll<T>, Result<(), Fault>) {
        let (mut wakers, mut post) = (Wakers::default(), Few::default());
        (state, now) = self.settle(state, lock, now, &mut wakers, &mut post);
        self.conclude(state, now, wakers, post, look)
    }

    /// Looks, and sends what was posted after that, since its answer comes another time; if it came
    /// early, and as long as there was nothing to be seen, looks again.
    fn conclude<'a, T>(
        &'a self,
        mut state: MutexGuard<'a, State<L>>,
        mut now: Instant,
        mut wakers: Wakers,
        mut post: Post<L>,
        mut look: impl FnMut(&mut State<L>) -> Poll<T>,
    ) -> (Poll<T>, Result<(), Fault>) {
        let mut seen = Poll::Pending;
        loop {
            if state.open == 0 {
                state.idle_wakers.drain(..).for_each(|waker| wakers.push(waker));
            }
            let deadline = state.poll_timeout(&self.link);
            if seen.is_pending() {
                seen = look(&mut state);
            }
            drop(state);
            let posts = !post.is_empty();
            let letters = std::mem::take(&mut post);
            letters.for_each(|(lock, letter)| self.link.send(lock, letter, now));
            if !posts || !self.link.has_news() {
                wakers.wake();
                return (seen, self.arm(deadline));
            }
            // Sending may take system calls: a lease that ran out meanwhile may not pass for one
            // that stands.
            now = self.clock.now();
            (state, now) = self.settle(self.state(), None, now, &mut wakers, &mut post);
        }
    }

    /// Carries out every request of `lock`, and of the locks that hear of it, but for what is to be
    /// sent; until when that took.
    fn settle<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<L>>,
        mut current: Option<LockId>,
        mut now: Instant,
        wakers: &mut Wakers,
        post: &mut Post<L>,
    ) -> (MutexGuard<'a, State<L>>, Instant) {
        let mut moved_up = Vec::new();
        loop {
            while let Some(succession) = state.hub.poll_succession() {
                state.redirect(succession, &self.link);
                moved_up.push(succession.lock);
            }
            if let Some(lock) = current {
                (state, now) = self.carry_out(state, lock, now, wakers, post);
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
        (state, now)
    }

    /// Carries out the requests of one lock, until it has none or another takes its place.
    #[inline]
    fn carry_out<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<L>>,
        lock: LockId,
        mut now: Instant,
        wakers: &mut Wakers,
        post: &mut Post<L>,
    ) -> (MutexGuard<'a, State<L>>, Instant) {
        while let Some((id, errand)) = state.attend(lock, &self.link, now, wakers, post) {
            // Read each time: while the mutex is let go, another lock may inherit the site.
            let site = state.site_of(lock).expect("who has requests has a site");
            drop(state);
            let reply = self.link.carry_out(lock, &site, errand, now);
            // What is computed takes no time; a system call may, and what it was told early is heard
            // next.
            now = self.clock.now();
            state = self.state();
            if let Some(reply) = reply {
                state.hub.handle_reply(lock, id, reply, now);
            }
        }
        (state, now)
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

/// The outcome of a request, and whose it was.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) type Settled<L> = (LockId, lock_proto::RequestId, Result<crate::link::Reply<L>, Fault>);

/// Nobody waits for what is to be seen.
fn unseen<S>(_: &mut S) -> Poll<()> {
    Poll::Ready(())
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
            let _ = self.drive(state, Some(lock), now, unseen);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.state().poll_timeout(&self.link)
    }

    fn nudge(&self, lock: LockId) {
        self.input(lock, |state, now| state.hub.nudge(lock, now));
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
                let _ = self.drive(state, None, now, unseen);
            }
            return;
        }
        if let Some(attendance) = state.hub.attachment(lock) {
            attendance.abandoned = true;
        }
        state.hub.release(lock, now);
        let _ = self.drive(state, Some(lock), now, unseen);
    }

    fn extend(&self, lock: LockId, ttl: Duration) {
        let prolong = |state: &mut State<L>, now| {
            if let Some(attendance) = state.hub.attachment(lock) {
                attendance.extended = false;
            }
            state.hub.extend(lock, ttl, now);
        };
        self.input(lock, prolong);
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
            self.input(lock, |state, now| state.hub.release(lock, now));
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
