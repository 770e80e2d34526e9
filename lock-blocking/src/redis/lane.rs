//! One server: its queue, its connection, and the thread that serves them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use lock_engine::Clock;
use lock_engine::redis::{Parcel, Session, fault_of};
use lock_proto::{Fault, FaultKind};
use redis::{RedisError, RedisResult, ServerErrorKind, Value};

use super::ear::Ear;
use super::errand;
use super::line::Line;
use super::place::{Patience, Place};
use super::rests::Rests;

/// More parcels than this don't wait for one server.
const MOST_QUEUED: usize = 65_536;
/// More parcels than this are not written in one piece.
const BATCH: usize = 1024;
/// A caller that waits for less leaves talking to the lane: giving up a connection in the middle of
/// an answer costs everybody a new one.
const SHORTEST_TALK: Duration = Duration::from_millis(250);
/// A parcel that listens does not wait longer than this for the subscription: without messages a
/// waiter is let in when it asks again.
const LISTENING_WITHIN: Duration = Duration::from_millis(500);

/// One server.
///
/// A caller that waits anyway talks to an idle server itself. Everybody else puts parcels in the
/// queue, and the lane's thread takes all there are, writes them in one piece and settles each as
/// its replies come. Only the thread connects.
pub(super) struct Lane {
    place: Place,
    patience: Patience,
    ear: Arc<Ear>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Held by whoever talks to the server; the queue may be locked meanwhile, but not before.
    line: Mutex<Option<Line>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    started: bool,
    closed: bool,
}

struct Waiting {
    parcel: Parcel,
    since: Instant,
}

/// What the thread knows of the server between two connections.
struct Outlook {
    rests: Rests,
    /// Why there was no connection.
    last: Option<RedisError>,
}

impl Lane {
    pub(super) fn new(place: Place, patience: Patience, ear: &Arc<Ear>) -> Arc<Self> {
        Arc::new(Self {
            place,
            patience,
            ear: Arc::clone(ear),
            queue: Mutex::default(),
            changed: Condvar::new(),
            line: Mutex::default(),
        })
    }

    /// Takes a parcel, and sees to it that it is settled.
    pub(super) fn send(self: &Arc<Self>, parcel: Parcel) {
        if parcel.listens() {
            self.ear.start(self);
        }
        let unsent = match errand::left() {
            Some(left) if left >= SHORTEST_TALK => self.talk_here(parcel, left),
            Some(_) | None => Some(parcel),
        };
        if let Some(parcel) = unsent {
            self.enqueue(parcel);
        }
    }

    /// Lets the thread look at the queue again.
    pub(super) fn nudge(&self) {
        drop(self.queue());
        self.changed.notify_one();
    }

    /// Ends the thread, which sends before what can be sent at once.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_one();
    }

    /// Talks to the server on this thread for at most so long, unless somebody else does; gives the
    /// parcel back that is still to be sent.
    fn talk_here(&self, parcel: Parcel, left: Duration) -> Option<Parcel> {
        let mut line = match self.line.try_lock() {
            Ok(line) => line,
            Err(TryLockError::Poisoned(line)) => line.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(parcel),
        };
        let Some(open) = line.as_mut() else { return Some(parcel) };
        if !self.queue().waiting.is_empty() || parcel.listens() && !self.ear.hears() {
            return Some(parcel);
        }
        let session = Arc::clone(open.session());
        let replies = open.ask(&parcel, left);
        if is_over(&replies) {
            *line = None;
        }
        drop(line);
        parcel.replied(&session, replies)
    }

    fn enqueue(self: &Arc<Self>, parcel: Parcel) {
        let mut queue = self.queue();
        if queue.closed || queue.waiting.len() >= MOST_QUEUED {
            drop(queue);
            return parcel.fail(Fault::not_sent("too much waits for the Redis server already"));
        }
        queue.waiting.push_back(Waiting { parcel, since: Instant::now() });
        let started = std::mem::replace(&mut queue.started, true);
        drop(queue);
        self.changed.notify_one();
        if !started && let Err(fault) = self.start() {
            self.fail_all(&fault);
        }
    }

    fn start(self: &Arc<Self>) -> Result<(), Fault> {
        let lane = Arc::clone(self);
        let thread = thread::Builder::new().name("dlock-redis".into());
        let started = thread.spawn(move || lane.run(Outlook { rests: Rests::new(), last: None }));
        started.map(drop).map_err(|error| {
            self.queue().started = false;
            Fault::not_sent("no thread can be started: see the limit on threads (ulimit -u)")
                .with_cause(error)
        })
    }

    fn run(&self, mut outlook: Outlook) {
        loop {
            let mut queue = self.queue();
            let overdue = queue.take_overdue();
            if !overdue.is_empty() {
                drop(queue);
                overdue.into_iter().for_each(|parcel| outlook.expire(parcel));
                continue;
            }
            let hears = self.ear.hears();
            if queue.is_ready(hears) {
                drop(queue);
                self.serve(&mut outlook);
            } else if queue.closed {
                return;
            } else {
                let timeout = queue.next_deadline();
                drop(self.wait(queue, timeout));
            }
        }
    }

    /// Talks to the server, connects to it, or waits until that makes sense.
    fn serve(&self, outlook: &mut Outlook) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.is_none() {
            if let Some(left) = outlook.rests.left() {
                drop(line);
                return self.rest(left);
            }
            match Line::open(&self.place, self.patience) {
                Ok(open) => {
                    outlook.succeeded();
                    *line = Some(open);
                }
                Err(error) => {
                    drop(line);
                    return self.failed_to_connect(error, outlook);
                }
            }
        }
        let batch = self.queue().take_batch(self.ear.hears());
        if let Some(open) = line.as_mut()
            && !batch.is_empty()
            && !self.talk(open, batch)
        {
            *line = None;
        }
    }

    /// Writes parcels and settles each as its replies come; says whether the connection is good.
    fn talk(&self, line: &mut Line, batch: Vec<Parcel>) -> bool {
        let session = Arc::clone(line.session());
        let mut good = true;
        let (counts, mut broken) = match line.write(&batch) {
            Ok(counts) => (counts, None),
            Err(error) => (vec![0; batch.len()], Some(error)),
        };
        for (parcel, count) in batch.into_iter().zip(counts) {
            let replies = broken.clone().map_or_else(|| line.read(count), Err);
            good &= !is_over(&replies);
            if let Err(error) = &replies {
                broken.get_or_insert_with(|| error.clone());
            }
            self.settle(parcel, &session, replies);
        }
        good
    }

    fn settle(&self, parcel: Parcel, session: &Session, replies: RedisResult<Vec<Value>>) {
        // A waker that panics is its owner's bug, and may not end everybody else's lane.
        let replied = catch_unwind(AssertUnwindSafe(|| parcel.replied(session, replies)));
        if let Ok(Some(parcel)) = replied {
            let since = Instant::now();
            self.queue().waiting.push_front(Waiting { parcel, since });
        }
    }

    fn failed_to_connect(&self, error: RedisError, outlook: &mut Outlook) {
        outlook.rests.failed();
        let fault = fault_of(error.clone());
        outlook.last = Some(error);
        // A server that doesn't want us won't change its mind for those who wait.
        if fault.kind() == FaultKind::Refused || self.queue().closed {
            self.fail_all(&fault);
        }
    }

    fn rest(&self, left: Duration) {
        let queue = self.queue();
        if queue.closed {
            drop(queue);
            return self.fail_all(&Fault::not_sent("the locks were closed"));
        }
        let timeout = queue.next_deadline().map_or(left, |deadline| deadline.min(left));
        drop(self.wait(queue, Some(timeout)));
    }

    fn fail_all(&self, fault: &Fault) {
        let waiting = std::mem::take(&mut self.queue().waiting);
        waiting.into_iter().for_each(|waiting| waiting.parcel.fail(fault.clone()));
    }

    fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout(queue, timeout);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take_overdue(&mut self) -> Vec<Parcel> {
        let now = Clock::System.now();
        self.take(BATCH, |waiting| waiting.parcel.not_after() < now)
    }

    fn take_batch(&mut self, hears: bool) -> Vec<Parcel> {
        let now = Clock::System.now();
        self.take(BATCH, |waiting| waiting.parcel.not_after() >= now && waiting.is_ready(hears))
    }

    /// Takes up to so many of those that are meant, in their order.
    fn take(&mut self, most: usize, mut meant: impl FnMut(&Waiting) -> bool) -> Vec<Parcel> {
        let mut taken = Vec::new();
        let mut rest = VecDeque::new();
        for waiting in self.waiting.drain(..) {
            if taken.len() < most && meant(&waiting) {
                taken.push(waiting.parcel);
            } else {
                rest.push_back(waiting);
            }
        }
        self.waiting = rest;
        taken
    }

    fn is_ready(&self, hears: bool) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_ready(hears))
    }

    /// How long until a parcel is overdue or has waited for the subscription long enough.
    fn next_deadline(&self) -> Option<Duration> {
        let now = Clock::System.now();
        let deadlines = self.waiting.iter().map(|waiting| {
            // Past the last moment, not at it.
            let rest = waiting.parcel.not_after().since(now) + Duration::from_millis(1);
            waiting.listening_for().map_or(rest, |left| rest.min(left))
        });
        deadlines.min()
    }
}

impl Waiting {
    fn is_ready(&self, hears: bool) -> bool {
        hears || self.listening_for().is_none()
    }

    /// For how long it waits for the subscription still.
    fn listening_for(&self) -> Option<Duration> {
        let waits = self.parcel.listens();
        waits.then(|| LISTENING_WITHIN.checked_sub(self.since.elapsed())).flatten()
    }
}

impl Outlook {
    fn succeeded(&mut self) {
        self.rests.succeeded();
        self.last = None;
    }

    fn expire(&self, parcel: Parcel) {
        let Some(error) = &self.last else { return parcel.expire() };
        let fault = fault_of(error.clone());
        if fault.kind() == FaultKind::Unknown {
            let context = "there was no connection to the Redis server in time";
            return parcel.fail(Fault::not_sent(context).with_cause(error.clone()));
        }
        parcel.fail(fault);
    }
}

/// Whether the connection is of no use any more: broken, or to what is no master now.
fn is_over(replies: &RedisResult<Vec<Value>>) -> bool {
    let demoted = |reply: &Value| {
        matches!(reply, Value::ServerError(error)
            if error.kind() == Some(ServerErrorKind::ReadOnly))
    };
    replies.as_ref().map_or(true, |replies| replies.iter().any(demoted))
}
