//! What a thread says to servers itself, because its caller waits for the answers anyway.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::queue::Waiting;

/// More parcels than this are not put off; one call seldom sends more than two.
const MOST_PUT_OFF: usize = 64;

/// More round trips than this are not made on the caller's thread. Its own wish takes two or three;
/// the renewals of what it got, or of others, might go on for ever.
const MOST_ROUNDS: usize = 4;

thread_local! {
    static ERRAND: RefCell<Option<Errand>> = const { RefCell::new(None) };
}

/// A call whose caller waits.
struct Errand {
    patience: Patience,
    /// What is to be said when the call is done, in its order: what it sends to one server is
    /// written in one piece.
    put_off: PutOff,
}

type PutOff = Vec<(Arc<Lane>, Waiting)>;

#[derive(Clone, Copy)]
enum Patience {
    Until(Instant),
    Endless,
}

/// Runs `errand`, whose caller waits for at most `timeout` or for ever; and then talks to whom it
/// sent something.
pub(crate) fn run<T>(timeout: Option<Duration>, errand: impl FnOnce() -> T) -> T {
    let ends = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let patience = ends.map_or(Patience::Endless, Patience::Until);
    let _outer = Outer(begin(Some(Errand { patience, put_off: Vec::new() })));
    let outcome = errand();
    talk();
    outcome
}

/// Puts a parcel off until the call of this thread is done; gives it back if there is none.
pub(super) fn put_off(lane: &Arc<Lane>, waiting: Waiting) -> Option<Waiting> {
    let mut waiting = Some(waiting);
    // A destructor may send while the thread's own are already gone.
    let _ = ERRAND.try_with(|errand| {
        if let Some(errand) = &mut *errand.borrow_mut()
            && errand.put_off.len() < MOST_PUT_OFF
        {
            errand.put_off.extend(waiting.take().map(|waiting| (Arc::clone(lane), waiting)));
        }
    });
    waiting
}

/// Says what was put off, and what follows from the answers, as far as the caller may wait for it.
fn talk() {
    for _ in 0..MOST_ROUNDS {
        let Some((parcels, left)) = take_put_off() else { return };
        let mut parcels = parcels.into_iter().peekable();
        while let Some((lane, first)) = parcels.next() {
            let mut piece = vec![first];
            while let Some((_, waiting)) = parcels.next_if(|(other, _)| Arc::ptr_eq(other, &lane)) {
                piece.push(waiting);
            }
            lane.talk(piece, left);
        }
    }
    for (lane, waiting) in take_put_off().into_iter().flat_map(|(parcels, _)| parcels) {
        lane.enqueue(waiting);
    }
}

/// What was put off, if anything was, and for how long the caller waits still.
fn take_put_off() -> Option<(PutOff, Duration)> {
    let taken = ERRAND.try_with(|errand| {
        let mut errand = errand.borrow_mut();
        let Errand { patience, put_off } = errand.as_mut()?;
        let left = match *patience {
            Patience::Until(ends) => ends.saturating_duration_since(Instant::now()),
            Patience::Endless => Duration::MAX,
        };
        (!put_off.is_empty()).then(|| (std::mem::take(put_off), left))
    });
    taken.ok().flatten()
}

fn begin(errand: Option<Errand>) -> Option<Errand> {
    ERRAND.try_with(|running| running.replace(errand)).ok().flatten()
}

/// What was before, to be put back. A parcel that is dropped, as after a panic, is settled by that.
struct Outer(Option<Errand>);

impl Drop for Outer {
    fn drop(&mut self) {
        drop(begin(self.0.take()));
    }
}
