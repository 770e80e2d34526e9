//! The subscription to a client's inbox on one server, and the thread that reads it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use lock_engine::redis::Inbox;
use redis::{PubSub, RedisResult, Value};

use super::lane::Lane;
use super::place::{Patience, Place};
use super::rests::Rests;

/// How soon the thread notices that it is to end.
const TICK: Duration = Duration::from_millis(250);
/// A server that has said nothing for so long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);

/// The subscription to the inbox on one server.
pub(super) struct Ear {
    place: Mutex<Place>,
    patience: Patience,
    inbox: Inbox,
    hears: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    started: bool,
    closed: bool,
    lanes: Vec<Weak<Lane>>,
}

impl Ear {
    pub(super) fn new(place: Place, patience: Patience, inbox: &Inbox) -> Arc<Self> {
        Arc::new(Self {
            place: Mutex::new(place),
            patience,
            inbox: inbox.clone(),
            hears: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Whether the server has confirmed the subscription.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Acquire)
    }

    /// Subscribes if that wasn't done before, and tells `lane` when it is confirmed.
    pub(super) fn start(self: &Arc<Self>, lane: &Arc<Lane>) {
        if self.hears() {
            return;
        }
        let mut state = self.state();
        let lane = Arc::downgrade(lane);
        state.lanes.retain(|known| known.strong_count() > 0);
        if !state.lanes.iter().any(|known| known.ptr_eq(&lane)) {
            state.lanes.push(lane);
        }
        if !state.started && !state.closed {
            let ear = Arc::clone(self);
            let thread = thread::Builder::new().name("dlock-redis-ear".into());
            // Without it, waiters are let in when they ask again.
            state.started = thread.spawn(move || ear.run()).is_ok();
        }
    }

    /// Where to subscribe the next time.
    pub(super) fn turn_to(&self, place: Place) {
        *self.place() = place;
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut rests = Rests::new();
        while !self.state().closed {
            // Whatever ends a subscription, the answer is another one.
            let _ = self.listen(&mut rests);
            self.hears.store(false, Ordering::Release);
            rests.failed();
            self.rest(&rests);
        }
    }

    /// Subscribes, and hears until the connection is lost or the client closed.
    fn listen(&self, rests: &mut Rests) -> RedisResult<()> {
        let place = self.place().clone();
        let mut connection = place.connect(self.patience)?;
        let subscribe = redis::cmd("SUBSCRIBE").arg(&**self.inbox.name()).get_packed_command();
        connection.send_packed_command(&subscribe)?;
        connection.recv_response()?.extract_error()?;
        let mut messages = connection.as_pubsub();
        messages.set_read_timeout(Some(TICK))?;
        rests.succeeded();
        self.confirmed();
        self.hear(&mut messages)
    }

    fn hear(&self, messages: &mut PubSub<'_>) -> RedisResult<()> {
        let mut heard_at = Instant::now();
        while !self.state().closed {
            match messages.get_message() {
                Ok(message) => {
                    let receive = || self.inbox.receive(message.get_payload_bytes());
                    // A waker that panics is its owner's bug, and may not make us deaf.
                    let _ = catch_unwind(AssertUnwindSafe(receive));
                }
                Err(error) if error.is_timeout() => {
                    if heard_at.elapsed() < SILENCE {
                        continue;
                    }
                    messages.set_read_timeout(Some(self.patience.answer))?;
                    messages.ping::<Value>()?;
                    messages.set_read_timeout(Some(TICK))?;
                }
                Err(error) => return Err(error),
            }
            heard_at = Instant::now();
        }
        Ok(())
    }

    /// What was published before the confirmation is lost, so whoever waits looks for itself.
    fn confirmed(&self) {
        self.hears.store(true, Ordering::Release);
        self.inbox.resubscribed();
        let lanes = self.state().lanes.clone();
        lanes.iter().filter_map(Weak::upgrade).for_each(|lane| lane.nudge());
    }

    fn rest(&self, rests: &Rests) {
        let state = self.state();
        if let Some(left) = rests.left()
            && !state.closed
        {
            drop(self.changed.wait_timeout(state, left));
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
