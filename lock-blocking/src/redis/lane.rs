//! One server: its connection, and the thread that serves who waits for it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::Duration;

use lock_engine::Clock;
use lock_engine::redis::{Parcel, Session};
use lock_proto::Fault;
use redis::{RedisError, RedisResult, Value};

use super::cluster::{Map, moved};
use super::ear::Ear;
use super::errand;
use super::line::Line;
use super::place::{Patience, Place, unconnected};
use super::queue::{Piece, Queue, Report, Standing, Waiting};
use super::rests::Rests;
use crate::wait::{Bench, gathering, take_seat};

/// More parcels than this don't wait for one server.
const MOST_WAITING: usize = 100_000;
/// More pieces than this are not unanswered.
const MOST_UNANSWERED: usize = 32;
/// A caller that waits for less leaves talking to the lane: giving up a connection in the middle of
/// an answer costs everybody a new one.
const SHORTEST_TALK: Duration = Duration::from_millis(250);

/// One server.
///
/// A caller that waits anyway talks to an idle server itself. Everybody else puts parcels in the
/// queue, from where the lane's thread writes them in pieces and settles each as its replies come;
/// then it wakes all together whom the answers to one piece are for. To connect, which may take
/// long, there is a thread each time.
pub(super) struct Lane {
    place: Place,
    patience: Patience,
    ear: Arc<Ear>,
    /// Where the other nodes are, if this is one of a cluster's.
    map: Weak<Map>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Held by whoever talks to the server; the queue may be locked meanwhile, but not before.
    line: Mutex<Option<Line>>,
}

impl Lane {
    /// A server that is connected to from now on, until the lane is [closed](Self::close).
    pub(super) fn start(
        place: Place,
        patience: Patience,
        ear: &Arc<Ear>,
        map: Weak<Map>,
        report: Option<Report>,
    ) -> Result<Arc<Self>, Fault> {
        let lane = Arc::new(Self {
            place,
            patience,
            ear: Arc::clone(ear),
            map,
            queue: Mutex::new(Queue::new(report)),
            changed: Condvar::new(),
            line: Mutex::default(),
        });
        let running = Arc::clone(&lane);
        let thread = thread::Builder::new().name("dlock-redis".into());
        thread.spawn(move || running.run()).map_err(no_thread)?;
        Ok(lane)
    }

    /// Takes a parcel that was sent elsewhere so often, and sees to it that it is settled: on this
    /// thread if its caller waits anyway and the server is idle.
    pub(super) fn send(self: &Arc<Self>, parcel: Parcel, hops: u32) {
        self.listen(&parcel);
        if let Some(waiting) = errand::put_off(self, Waiting::new(parcel, hops)) {
            self.enqueue(waiting);
        }
    }

    /// Takes a parcel that was sent elsewhere so often, and sees to it that it is settled later.
    pub(super) fn post(self: &Arc<Self>, parcel: Parcel, hops: u32) {
        self.listen(&parcel);
        self.enqueue(Waiting::new(parcel, hops));
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

    /// Takes parcels whose sender waits for at most so long, and talks to the server on this thread
    /// unless somebody else does.
    pub(super) fn talk(&self, parcels: Vec<Waiting>, left: Duration) {
        let rest = if left < SHORTEST_TALK { parcels } else { self.talk_here(parcels, left) };
        let bench = rest.into_iter().filter_map(|waiting| self.enqueue(waiting)).last();
        bench.into_iter().for_each(take_seat);
    }

    /// Talks to an idle server; gives back what is still to be sent.
    fn talk_here(&self, parcels: Vec<Waiting>, left: Duration) -> Vec<Waiting> {
        let mut line = match self.line.try_lock() {
            Ok(line) => line,
            Err(TryLockError::Poisoned(line)) => line.into_inner(),
            Err(TryLockError::WouldBlock) => return parcels,
        };
        let Some(open) = line.as_mut() else { return parcels };
        let (now, hears) = (Clock::System.now(), self.ear.hears());
        let sendable = |waiting: &Waiting| waiting.is_ready(hears) && !waiting.is_overdue(now);
        if !self.queue().waiting.is_empty() || !parcels.iter().all(sendable) {
            return parcels;
        }
        let session = Arc::clone(open.session());
        let replies = open.ask(parcels.iter().map(|waiting| &waiting.parcel), left);
        if open.is_over() {
            self.hang_up(&mut line);
        }
        drop(line);
        for (waiting, replies) in parcels.into_iter().zip(replies) {
            self.settle(waiting, &session, replies);
        }
        Vec::new()
    }

    fn listen(self: &Arc<Self>, parcel: &Parcel) {
        if parcel.listens() {
            self.ear.start(self);
        }
    }

    /// Puts a parcel in the queue, and says where its sender may wait.
    pub(super) fn enqueue(&self, waiting: Waiting) -> Option<Arc<Bench>> {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            waiting.parcel.fail(closed());
            return None;
        }
        if queue.waiting.len() >= MOST_WAITING {
            drop(queue);
            let fault = Fault::not_sent("too many requests wait for the Redis server");
            waiting.parcel.fail(fault);
            return None;
        }
        let bench = queue.add(waiting);
        // Telling somebody who does not wait costs a system call as well.
        let sleeping = std::mem::take(&mut queue.sleeping);
        drop(queue);
        if sleeping {
            self.changed.notify_one();
        }
        Some(bench)
    }

    fn run(self: &Arc<Self>) {
        let mut rests = Rests::new();
        let mut dialled = false;
        loop {
            let mut queue = self.queue();
            let overdue = queue.take_overdue();
            if !overdue.is_empty() {
                drop(queue);
                overdue.into_iter().for_each(|waiting| waiting.parcel.expire());
                continue;
            }
            let up = matches!(queue.standing, Standing::Up);
            if up && queue.is_ready(self.ear.hears()) {
                drop(queue);
                self.serve();
            } else if queue.closed {
                drop(queue);
                return self.end();
            } else if let Some(outcome) = queue.take_dialled() {
                drop(queue);
                self.dialled(outcome, &mut rests);
            } else if matches!(queue.standing, Standing::Down) && rests.left().is_none() {
                queue.standing = Standing::Dialling;
                drop(queue);
                self.dial(std::mem::replace(&mut dialled, true));
            } else {
                let rest = rests.left().filter(|_| matches!(queue.standing, Standing::Down));
                let timeout = queue.next_deadline().into_iter().chain(rest).min();
                drop(self.wait(queue, timeout));
            }
        }
    }

    /// Sends what waits, until all of it is answered. A full piece is written before the answers to
    /// the last are heard, so that the server works meanwhile.
    fn serve(&self) {
        let mut line = self.line();
        let Some(open) = line.as_mut() else { return };
        let mut unanswered = VecDeque::new();
        loop {
            while unanswered.len() < MOST_UNANSWERED
                && !open.is_over()
                && let Some(piece) = self.next_piece(!unanswered.is_empty())
            {
                let counts = open.write(piece.iter().map(|waiting| &waiting.parcel));
                unanswered.push_back((piece, counts));
            }
            let Some((piece, counts)) = unanswered.pop_front() else { break };
            gathering(|| self.hear(open, piece.into_iter().zip(counts)));
        }
        if open.is_over() {
            self.hang_up(&mut line);
        }
    }

    /// Settles parcels as their replies come, of which there are so many to each.
    fn hear(&self, line: &mut Line, piece: impl Iterator<Item = (Waiting, usize)>) {
        let session = Arc::clone(line.session());
        for (waiting, count) in piece {
            let replies = line.read(count);
            self.settle(waiting, &session, replies);
        }
    }

    /// Takes what is to be written next, if there is anything; others may be unanswered.
    fn next_piece(&self, unanswered: bool) -> Option<Vec<Waiting>> {
        let Piece { aboard, overdue } = self.queue().take_piece(unanswered, self.ear.hears());
        overdue.into_iter().for_each(|waiting| waiting.parcel.expire());
        (!aboard.is_empty()).then_some(aboard)
    }

    fn settle(&self, waiting: Waiting, session: &Session, replies: RedisResult<Vec<Value>>) {
        let Waiting { parcel, hops, .. } = waiting;
        if let Some(map) = self.map.upgrade()
            && let Some(node) = moved(&replies, hops)
        {
            return map.redirect(parcel, hops + 1, node, &self.place);
        }
        // A waker that panics is its owner's bug, and may not end everybody else's lane.
        let again = catch_unwind(AssertUnwindSafe(|| parcel.replied(session, replies)));
        if let Ok(Some(parcel)) = again {
            self.enqueue(Waiting::new(parcel, hops));
        }
    }

    /// Connects, on a thread of its own.
    fn dial(self: &Arc<Self>, again: bool) {
        let lane = Arc::clone(self);
        let thread = thread::Builder::new().name("dlock-redis-dial".into());
        let started = thread.spawn(move || {
            if again && let Some(map) = lane.map.upgrade() {
                map.refresh(&lane.place);
            }
            let outcome = Line::open(&lane.place, lane.patience);
            lane.queue().standing = Standing::Dialled(outcome);
            lane.changed.notify_one();
        });
        if let Err(error) = started {
            self.queue().standing = Standing::Dialled(Err(RedisError::from(error)));
        }
    }

    fn dialled(&self, outcome: RedisResult<Line>, rests: &mut Rests) {
        let outcome = match outcome {
            Ok(open) => {
                rests.succeeded();
                let mut line = self.line();
                *line = Some(open);
                self.queue().standing = Standing::Up;
                Ok(())
            }
            Err(error) => {
                rests.failed();
                let fault = unconnected(error, self.patience);
                self.fail_all(&fault);
                Err(fault)
            }
        };
        if let Some(report) = self.queue().report.take() {
            // Who asked may have heard enough.
            let _ = report.to.send((report.server, outcome));
        }
    }

    fn hang_up(&self, line: &mut Option<Line>) {
        *line = None;
        self.queue().standing = Standing::Down;
        self.changed.notify_one();
    }

    fn end(&self) {
        *self.line() = None;
        self.fail_all(&closed());
    }

    fn fail_all(&self, fault: &Fault) {
        let waiting = std::mem::take(&mut self.queue().waiting);
        waiting.into_iter().for_each(|waiting| waiting.parcel.fail(fault.clone()));
    }

    fn wait<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        queue.sleeping = true;
        let mut queue = match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout(queue, timeout);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        queue.sleeping = false;
        queue
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Fault {
    Fault::not_sent("the connection to the Redis server was closed")
}

fn no_thread(error: std::io::Error) -> Fault {
    Fault::not_sent("no thread can be started: see the limit on threads (ulimit -u)")
        .with_cause(error)
}
