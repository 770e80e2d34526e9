//! One server, whether it is connected or not, and the task that keeps it so.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_engine::redis::{Census, Inbox, Parcel};
use lock_engine::{Clock, Sleep, Timers};
use lock_proto::{Fault, Instant, Jitter};

use super::connect::{Connected, Connector};
use super::line::{Line, Overdue};
use super::queue::Queue;

/// More parcels than this don't wait for a connection.
const MOST_WAITING: usize = 100_000;
/// The rests between two tries to connect, each drawn from the upper half of its range.
const RESTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// One server of a provider.
pub(super) struct Server {
    connector: Connector,
    /// Where it stands among those that vote, and who they are.
    census: Option<(usize, Census)>,
    inbox: Inbox,
    timers: Timers,
    connect_timeout: Duration,
    response_timeout: Duration,
    state: Mutex<State>,
    /// Set before the keeper is woken to see it.
    closing: AtomicBool,
}

struct State {
    phase: Phase,
    /// What waits for a connection.
    queue: Queue<Parcel>,
    generation: u64,
    /// The latest connection of which it is known that it was lost.
    lost: u64,
    /// Whether anybody ever listened.
    listened: bool,
    keeper: Option<Waker>,
    news: Vec<Waker>,
}

enum Phase {
    /// Not connected; why not, if it was tried.
    Down(Option<Fault>),
    Up(Arc<Line>),
    /// There is no keeper any more.
    Gone,
}

/// How a server stands.
pub(super) enum Standing {
    /// Nothing is known yet.
    Trying,
    Connected,
    Failed(Fault),
}

impl Server {
    pub(super) fn new(
        connector: Connector,
        census: Option<(usize, Census)>,
        inbox: &Inbox,
        timers: &Timers,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            connector,
            census,
            inbox: inbox.clone(),
            timers: timers.clone(),
            connect_timeout,
            response_timeout,
            state: Mutex::new(State {
                phase: Phase::Down(None),
                queue: Queue::new(),
                generation: 0,
                lost: 0,
                listened: false,
                keeper: None,
                news: Vec::new(),
            }),
            closing: AtomicBool::new(false),
        })
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(super) fn census(&self) -> Option<&(usize, Census)> {
        self.census.as_ref()
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a parcel, now or when there is a connection.
    pub(super) fn send(&self, parcel: Parcel) {
        let mut state = self.state();
        state.listened |= parcel.listens();
        match &state.phase {
            Phase::Up(line) => {
                let line = Arc::clone(line);
                drop(state);
                line.send(parcel);
            }
            Phase::Down(_) if state.queue.len() < MOST_WAITING => {
                let end = parcel.not_after();
                // Whoever keeps the server knows when the next is too late, unless this is the next.
                if state.queue.push(parcel, end) {
                    wake(state.keeper.take(), state);
                }
            }
            Phase::Down(_) => {
                drop(state);
                parcel.fail(Fault::not_sent("too many requests wait for the Redis server"));
            }
            Phase::Gone => {
                drop(state);
                parcel.fail(gone());
            }
        }
    }

    /// Subscribes to the inbox on each connection from now on.
    pub(super) fn listen(&self) {
        self.state().listened = true;
    }

    /// Ends the connection once everything that was sent is answered.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake_keeper();
    }

    /// The connection `generation` is lost.
    pub(super) fn lose(&self, generation: u64) {
        let mut state = self.state();
        state.lost = state.lost.max(generation);
        let current = matches!(&state.phase, Phase::Up(line) if line.generation == generation);
        if !current {
            return;
        }
        let Phase::Up(line) = std::mem::replace(&mut state.phase, Phase::Down(None)) else {
            return;
        };
        wake(state.keeper.take(), state);
        line.kill();
    }

    pub(super) fn wake_keeper(&self) {
        let mut state = self.state();
        wake(state.keeper.take(), state);
    }

    /// A request has ended; one who waits for the last of them may go on.
    pub(super) fn notice_end(&self) {
        if self.is_closing() {
            self.wake_keeper();
        }
    }

    /// How it stands; wakes `cx` when that changes.
    pub(super) fn standing(&self, cx: &Context<'_>) -> Standing {
        let mut state = self.state();
        match &state.phase {
            Phase::Up(_) => Standing::Connected,
            Phase::Down(Some(fault)) => Standing::Failed(fault.clone()),
            Phase::Gone => Standing::Failed(gone()),
            Phase::Down(None) => {
                if !state.news.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.news.push(cx.waker().clone());
                }
                Standing::Trying
            }
        }
    }

    /// The task that keeps it connected until it is closed.
    pub(super) async fn keep(self: Arc<Self>, mut jitter: Jitter) {
        let server = Keeper(Arc::clone(&self));
        let mut failures = 0;
        while !self.is_done() {
            let generation = self.next_generation();
            match self.try_to_connect(generation).await {
                Ok(connected) if self.take_up(&connected, generation) => {
                    failures = 0;
                    if connected.resubscribed {
                        self.inbox.resubscribed();
                    }
                    drop(connected);
                    // What was sent just before the end is answered on the same connection.
                    while self.is_up() && !self.is_done() {
                        self.watch(generation).await;
                    }
                }
                Ok(_) => failures += 1,
                Err(fault) => {
                    self.refuse(&fault);
                    failures += 1;
                }
            }
            if failures > 0 && !self.is_done() {
                let longest = RESTS.0.saturating_mul(1 << failures.min(10)).min(RESTS.1);
                let rest = self.timers.sleep(jitter.between(longest / 2, longest));
                self.attend(rest).await;
            }
        }
        drop(server);
    }

    fn next_generation(&self) -> u64 {
        let mut state = self.state();
        state.generation += 1;
        state.generation
    }

    async fn try_to_connect(self: &Arc<Self>, generation: u64) -> Result<Connected, Fault> {
        let listened = self.state().listened;
        let mut connecting = pin!(Connector::connect(self, generation, listened));
        let mut limit = self.timers.sleep(self.connect_timeout);
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = connecting.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            Pin::new(&mut limit).poll(cx).map(|()| {
                let limit = self.connect_timeout;
                Err(Fault::not_sent(format!(
                    "the server did not answer within {limit:?}: check the address, and whether a \
                     firewall or a missing rediss:// is in the way"
                )))
            })
        });
        self.attend(outcome).await
    }

    /// Waits for `future`; meanwhile what waits too long for a connection is sent back.
    async fn attend<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut alarm: Option<Sleep> = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(value);
            }
            self.state().keeper = Some(cx.waker().clone());
            alarm = self.expire().map(|at| self.timers.sleep_until(at));
            if let Some(alarm) = &mut alarm
                && Pin::new(alarm).poll(cx).is_ready()
            {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Sends back what has waited too long, and says when the next has.
    fn expire(&self) -> Option<Instant> {
        let (late, next) = {
            let mut state = self.state();
            (state.queue.take_late(Clock::System.now()), state.queue.next_end())
        };
        late.into_iter().for_each(Parcel::expire);
        // A parcel may still be sent at its very moment.
        next.map(|at| at + Duration::from_nanos(1))
    }

    /// Gives everything that waits to the new connection, in its order, and then goes on with it.
    fn take_up(&self, connected: &Connected, generation: u64) -> bool {
        loop {
            let waiting = {
                let mut state = self.state();
                if state.lost >= generation {
                    drop(state);
                    connected.line.kill();
                    return false;
                }
                if state.queue.is_empty() {
                    state.phase = Phase::Up(Arc::clone(&connected.line));
                    let news = std::mem::take(&mut state.news);
                    drop(state);
                    news.into_iter().for_each(Waker::wake);
                    return true;
                }
                state.queue.take()
            };
            for parcel in waiting {
                connected.line.send(parcel);
            }
        }
    }

    /// There is no connection, and what waits for one is told why.
    fn refuse(&self, fault: &Fault) {
        let (waiting, news) = {
            let mut state = self.state();
            state.phase = Phase::Down(Some(fault.clone()));
            (state.queue.take(), std::mem::take(&mut state.news))
        };
        for parcel in waiting {
            parcel.fail(fault.clone());
        }
        news.into_iter().for_each(Waker::wake);
    }

    /// Keeps the connection until it is lost, or everything is answered and nobody needs it any
    /// more: writes what waits for one another, and looks after what is overdue.
    async fn watch(&self, generation: u64) {
        let mut alarm: Option<Sleep> = None;
        let mut gave_way = false;
        poll_fn(|cx| {
            let mut ferried = false;
            loop {
                let (line, closing) = {
                    let mut state = self.state();
                    state.keeper = Some(cx.waker().clone());
                    match &state.phase {
                        Phase::Up(line) => (Arc::clone(line), self.is_closing()),
                        Phase::Down(_) | Phase::Gone => return Poll::Ready(()),
                    }
                };
                if !std::mem::replace(&mut ferried, true) {
                    line.ferry(cx, &mut gave_way);
                }
                if closing && line.is_idle() {
                    return Poll::Ready(());
                }
                // Nothing can be overdue before that.
                if let Some(alarm) = &mut alarm
                    && Pin::new(alarm).poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
                alarm = None;
                match line.overdue(self.response_timeout, Clock::System.now()) {
                    Overdue::Nothing => return Poll::Pending,
                    Overdue::Dead => self.lose(generation),
                    Overdue::LookAt(at) => alarm = Some(self.timers.sleep_until(at)),
                }
            }
        })
        .await;
    }

    /// Whether nobody needs it any more and nothing is left to do.
    fn is_done(&self) -> bool {
        let state = self.state();
        self.is_closing()
            && state.queue.is_empty()
            && match &state.phase {
                Phase::Up(line) => line.is_idle(),
                Phase::Down(_) | Phase::Gone => true,
            }
    }

    fn is_up(&self) -> bool {
        matches!(self.state().phase, Phase::Up(_))
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says so when the keeper ends, be it because its runtime does.
struct Keeper(Arc<Server>);

impl Drop for Keeper {
    fn drop(&mut self) {
        let (phase, waiting, news) = {
            let mut state = self.0.state();
            let phase = std::mem::replace(&mut state.phase, Phase::Gone);
            (phase, state.queue.take(), std::mem::take(&mut state.news))
        };
        if let Phase::Up(line) = phase {
            line.kill();
        }
        for parcel in waiting {
            parcel.fail(gone());
        }
        news.into_iter().for_each(Waker::wake);
    }
}

/// A task is woken when no lock is held.
fn wake(waker: Option<Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn gone() -> Fault {
    Fault::not_sent(
        "the runtime on which the provider was built has ended, or was built without I/O: build \
         the provider on one that lives as long as its locks",
    )
}
