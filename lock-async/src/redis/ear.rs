//! Listening to a cluster: its own client has no connection that stays.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use lock_engine::Timers;
use lock_engine::redis::Parcel;
use lock_proto::Jitter;

use super::server::{Server, Standing};
use super::spawner::Spawner;

/// Whoever waits to be let in is sent after this, whether anybody listens by then or not: it asks
/// again from time to time anyway.
const PATIENCE: Duration = Duration::from_millis(500);

/// A connection to any node of a cluster, made when somebody first listens.
pub(super) struct Ear {
    /// Where to listen.
    ear: Arc<Server>,
    /// Where to send what listens.
    mouth: Arc<Server>,
    spawner: Spawner,
    timers: Timers,
    jitter: Jitter,
    state: Mutex<State>,
    me: Weak<Self>,
}

enum State {
    Unused,
    /// What is sent as soon as somebody listens.
    Opening(Vec<Parcel>),
    Open,
}

impl Ear {
    pub(super) fn new(
        ear: Arc<Server>,
        mouth: &Arc<Server>,
        spawner: &Spawner,
        timers: &Timers,
        jitter: Jitter,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            ear,
            mouth: Arc::clone(mouth),
            spawner: spawner.clone(),
            timers: timers.clone(),
            jitter,
            state: Mutex::new(State::Unused),
            me: me.clone(),
        })
    }

    /// Sends a parcel that listens, once somebody does.
    pub(super) fn send(&self, parcel: Parcel) {
        let mut state = self.state();
        match &mut *state {
            State::Open => {
                drop(state);
                self.mouth.send(parcel);
            }
            State::Opening(waiting) => waiting.push(parcel),
            State::Unused => {
                *state = State::Opening(vec![parcel]);
                drop(state);
                self.open();
            }
        }
    }

    pub(super) fn close(&self) {
        self.ear.close();
    }

    fn open(&self) {
        self.ear.listen();
        self.spawner.spawn(Arc::clone(&self.ear).keep(self.jitter.clone()));
        let (Some(me), mut limit) = (self.me.upgrade(), self.timers.sleep(PATIENCE)) else {
            return;
        };
        self.spawner.spawn(async move {
            poll_fn(|cx| match me.ear.standing(cx) {
                Standing::Connected | Standing::Failed(_) => Poll::Ready(()),
                Standing::Trying => Pin::new(&mut limit).poll(cx),
            })
            .await;
            me.opened();
        });
    }

    fn opened(&self) {
        let waiting = std::mem::replace(&mut *self.state(), State::Open);
        if let State::Opening(waiting) = waiting {
            waiting.into_iter().for_each(|parcel| self.mouth.send(parcel));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
