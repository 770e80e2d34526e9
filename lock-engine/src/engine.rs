//! The hub behind its mutex: the one loop that drives every lock.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_proto::{
    AcquireOptions, Demand, Fault, Hub, Instant, LockError, LockId, LockInfo, LossReason, Machine,
    Request, RequestId, Succession,
};

use crate::attendance::{Attendance, Outcome, Wakers};
use crate::background::{Background, Driven};
use crate::{Acquired, Address, Client, Clock, Loss, Pending, Status};

/// Carries out one backend's commands, and decides nothing.
pub(crate) trait Link: Sized + Send + Sync + 'static {
    /// The machine whose commands these are.
    type Machine: Machine<Command: Send, Reply: Send, Cohort: Send> + Send;
    /// What the link keeps for one lock.
    type Site: Clone + Send;
    /// What the link keeps for all locks behind the engine's mutex.
    type Table: Default + Send;
    /// What carrying out a request takes outside of that mutex.
    type Errand;

    /// Where the lock `name` is.
    fn locate(&self, name: &str) -> Address;

    /// A machine for one acquisition, and what belongs to it.
    fn open(
        &self,
        address: &Address,
        demand: Demand,
        options: &AcquireOptions,
        now: Instant,
    ) -> Result<(Self::Machine, Self::Site), LockError>;

    /// Carries one request out as far as that is computed; the engine's mutex is held.
    fn compute(
        &self,
        table: &mut Self::Table,
        lock: LockId,
        site: &Self::Site,
        request: Request<<Self::Machine as Machine>::Command>,
        now: Instant,
    ) -> Step<Self>;

    /// Carries the rest of a request out, which may take system calls; `None` if the answer comes
    /// from [`Link::poll_answer`], or from elsewhere.
    fn carry_out(
        &self,
        lock: LockId,
        site: &Self::Site,
        errand: Self::Errand,
        now: Instant,
    ) -> Option<Result<Reply<Self>, Fault>>;

    /// Takes the next thing that a lock is to hear of. Called with the engine's mutex held, so that
    /// each lock hears in order.
    fn poll_answer(&self, table: &mut Self::Table, now: Instant) -> Option<(LockId, Answer<Self>)>;

    /// When time next matters to the link.
    fn poll_timeout(&self, table: &Self::Table) -> Option<Instant>;

    /// Lets time pass, outside of the engine's mutex.
    fn handle_timeout(&self, _now: Instant) {}

    /// What comes for the lock `before`, and for its site, is for `lock` from now on.
    fn redirect(&self, _site: &Self::Site, _before: LockId, _lock: LockId) {}

    /// Nobody will hear of `lock`, and of its site, again.
    fn forget(&self, _site: &Self::Site, _lock: LockId) {}

    /// Who holds a lock.
    fn info(
        &self,
        engine: &Engine<Self>,
        address: &Address,
        demand: Demand,
        now: Instant,
    ) -> Pending<Result<LockInfo, LockError>>;

    /// The locks that are known.
    fn list(
        &self,
        engine: &Engine<Self>,
        now: Instant,
    ) -> Pending<Result<Vec<LockInfo>, LockError>>;
}

type Reply<L> = <<L as Link>::Machine as Machine>::Reply;

/// How far a request got without a system call.
pub(crate) enum Step<L: Link> {
    Answered(Result<Reply<L>, Fault>),
    /// The answer comes from [`Link::poll_answer`].
    Later,
    #[cfg_attr(
        not(any(feature = "file", feature = "postgres", feature = "redis")),
        expect(dead_code, reason = "memory needs no system calls")
    )]
    Outside(L::Errand),
}

/// What a link tells a lock later, or unasked.
pub(crate) enum Answer<L: Link> {
    Reply(RequestId, Result<Reply<L>, Fault>),
    Loss(LossReason),
}

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
    pub(crate) fn answer(&self, lock: LockId, id: RequestId, reply: Result<Reply<L>, Fault>) {
        // A deadline that can't be armed here is armed by the next call of a user, who is told.
        let _ = self.input(lock, |state, now| state.hub.handle_reply(lock, id, reply, now), |_| ());
    }

    /// Tells one lock what its backend says unasked.
    #[cfg(feature = "redis")]
    pub(crate) fn message(&self, lock: LockId, message: <L::Machine as Machine>::Message) {
        let _ = self.input(lock, |state, now| state.hub.message(lock, message, now), |_| ());
    }

    /// How many locks stand behind another, for each cohort.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn crowds<T>(
        &self,
        name: impl Fn(&<L::Machine as Machine>::Cohort) -> T,
    ) -> Vec<(T, usize)> {
        self.state().hub.crowds().map(|(cohort, behind)| (name(cohort), behind)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
                if let Some(request) = state.hub.poll_request(lock) {
                    state = self.carry_out(state, lock, request, &mut now, &mut wakers);
                    continue;
                }
                state.note_events(lock, &mut wakers);
                state.forget_if_over(lock, &self.link, &mut wakers);
            }
            current = moved_up.pop();
            if current.is_some() {
                continue;
            }
            let Some((other, answer)) = self.link.poll_answer(&mut state.table, now) else { break };
            state.apply(other, answer, now);
            current = Some(other);
        }
        let deadline = state.poll_timeout(&self.link);
        let seen = look(&mut state);
        drop(state);
        wakers.wake();
        (seen, self.arm(deadline))
    }

    fn carry_out<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<L>>,
        lock: LockId,
        request: Request<<L::Machine as Machine>::Command>,
        now: &mut Instant,
        wakers: &mut Wakers,
    ) -> MutexGuard<'a, State<L>> {
        let id = request.id;
        let State { hub, table, .. } = &mut *state;
        let Some(Attendance { site, .. }) = hub.attachment(lock) else {
            return state;
        };
        let step = if *now > request.not_after {
            Step::Answered(Err(Fault::not_sent("it was too late to ask")))
        } else {
            self.link.compute(table, lock, site, request, *now)
        };
        let reply = match step {
            Step::Answered(reply) => reply,
            Step::Later => return state,
            Step::Outside(errand) => {
                let site = site.clone();
                // Whoever looks meanwhile is to see what is known.
                state.note_events(lock, wakers);
                drop(state);
                let reply = self.link.carry_out(lock, &site, errand, *now);
                // What is computed takes no time; a system call may, and what it was told early is
                // heard next, so a lease that ran out meanwhile may not pass for one that stands.
                *now = self.clock.now();
                state = self.state();
                let Some(reply) = reply else { return state };
                reply
            }
        };
        state.hub.handle_reply(lock, id, reply, *now);
        state
    }

    /// Sees to it that somebody drives when `deadline` comes.
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

    fn note_events(&mut self, lock: LockId, wakers: &mut Wakers) {
        while let Some(event) = self.hub.poll_event(lock) {
            if let Some(attendance) = self.hub.attachment(lock) {
                let open = !attendance.closed;
                attendance.note(event, wakers);
                self.open -= usize::from(open && attendance.closed);
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

    fn forget_if_over(&mut self, lock: LockId, link: &L, wakers: &mut Wakers) {
        let Some(attendance) = self.hub.attachment(lock) else { return };
        if !attendance.closed {
            return;
        }
        if attendance.abandoned {
            link.forget(&attendance.site, lock);
            self.hub.forget(lock);
        }
        if self.open == 0 {
            for waker in self.idle_wakers.drain(..) {
                wakers.add(Some(waker));
            }
        }
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
        Poll::Ready(lost.map_or(Ok(()), |reason| Err(LockError::LockLost(reason))))
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
        let (machine, site) = self.link.open(address, demand, options, now)?;
        let mut state = self.state();
        if state.closing {
            return Err(LockError::Cancelled);
        }
        let lock = state.hub.start(machine, Attendance::new(site), now);
        state.open += 1;
        let look = |state: &mut State<L>| state.poll_acquired(lock, cx);
        let (outcome, armed) = self.drive(state, Some(lock), now, look);
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
        let let_go = |state: &mut State<L>, now| state.hub.release(lock, now);
        // Whatever can't be armed is not needed by a lock that is let go.
        self.input(lock, let_go, |state| state.poll_released(lock, &self.link, cx)).0
    }

    fn poll_released(&self, lock: LockId, cx: &Context<'_>) -> Poll<Result<(), LockError>> {
        self.state().poll_released(lock, &self.link, cx)
    }

    fn abandon(&self, lock: LockId) {
        let let_go = |state: &mut State<L>, now| {
            if let Some(attendance) = state.hub.attachment(lock) {
                attendance.abandoned = true;
            }
            state.hub.release(lock, now);
        };
        let _ = self.input(lock, let_go, |_| ());
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
            return Poll::Ready(Err(LockError::LockLost(reason.clone())));
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
