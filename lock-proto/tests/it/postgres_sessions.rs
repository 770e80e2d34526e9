//! Which lock stands on which session.

use std::time::Duration;

use lock_proto::Instant;
use lock_proto::postgres::{
    AdvisoryKey, Place, PoolLimits, SeatId, SessionId, Sessions, Upkeep, Verb,
};

use crate::timeline::at;

const WAIT: Verb = Verb::Wait { limit: None };

#[test]
fn tries_of_different_locks_share_one_session() {
    let mut pool = pool(4);
    let session = pool.opened(1, Verb::Try);
    for number in 2..100 {
        assert_eq!(pool.place(number, Verb::Try).1, Place::On(session));
    }
}

#[test]
fn one_lock_is_on_no_session_twice() {
    let mut pool = pool(2);
    let first = pool.opened(1, Verb::Try);
    let second = pool.opened(1, Verb::Try);
    assert_ne!(first, second);
    assert_eq!(pool.place(1, Verb::Try).1, Place::Full);
    assert_eq!(pool.place(2, Verb::Try).1, Place::On(first));
}

#[test]
fn a_wait_has_a_session_of_its_own_until_it_is_granted() {
    let mut pool = pool(4);
    let shared = pool.opened(1, Verb::Try);
    let (seat, place) = pool.place(2, WAIT);
    let Place::New(own) = place else { panic!("{place:?}") };
    assert_eq!(pool.place(3, Verb::Try).1, Place::On(shared));
    // One lock is on the shared session, so that it is asked for on another.
    let third = pool.opened(1, Verb::Try);
    pool.table.granted(own, seat);
    assert_eq!(pool.place(1, Verb::Try).1, Place::On(own));
    assert_ne!(third, own);
}

#[test]
fn a_wait_takes_a_session_that_holds_nothing() {
    let mut pool = pool(4);
    let (seat, place) = pool.place(1, Verb::Try);
    let Place::New(session) = place else { panic!("{place:?}") };
    pool.table.left(session, seat, key(1), at(0));
    assert_eq!(pool.place(2, WAIT).1, Place::On(session));
}

#[test]
fn waits_leave_one_session_for_those_that_need_not_wait() {
    let mut pool = pool(3);
    pool.opened(1, WAIT);
    pool.opened(2, WAIT);
    assert_eq!(pool.place(3, WAIT).1, Place::Full);
    pool.opened(3, Verb::Try);
    let mut single = self::pool(1);
    assert_eq!(single.place(3, WAIT).1, Place::Full);
}

#[test]
fn without_multiplexing_every_lock_has_a_session() {
    let mut limits = PoolLimits::new(3);
    limits.multiplexed = false;
    let mut pool = Pool { table: Sessions::new(limits) };
    pool.opened(1, Verb::Try);
    pool.opened(2, Verb::Try);
    pool.opened(3, WAIT);
    assert_eq!(pool.place(4, Verb::Try).1, Place::Full);
}

#[test]
fn a_lost_session_takes_down_what_stood_on_it_and_nothing_else() {
    let mut pool = pool(4);
    let (first, place) = pool.place(1, Verb::Try);
    let Place::New(session) = place else { panic!("{place:?}") };
    let (second, _) = pool.place(2, Verb::Try);
    let elsewhere = pool.opened(1, Verb::Try);
    assert_eq!(pool.table.lost(session), [first, second]);
    assert_eq!(pool.table.ids().collect::<Vec<_>>(), [elsewhere]);
    assert_eq!(pool.table.lost(session), [] as [SeatId; 0]);
}

#[test]
fn an_idle_session_is_closed_in_its_time() {
    let mut limits = PoolLimits::new(2);
    limits.idle = Duration::from_secs(5);
    let mut pool = Pool { table: Sessions::new(limits) };
    let (seat, place) = pool.place(1, Verb::Try);
    let Place::New(session) = place else { panic!("{place:?}") };
    assert_eq!(pool.table.poll_timeout(), None);
    pool.table.left(session, seat, key(1), at(1000));
    assert_eq!(pool.table.poll_timeout(), Some(at(6000)));
    assert_eq!(pool.table.poll_upkeep(at(5999)), None);
    assert_eq!(pool.table.poll_upkeep(at(6000)), Some(Upkeep::Close(session)));
    assert_eq!(pool.table.poll_upkeep(at(6000)), None);
    assert!(matches!(pool.place(1, Verb::Try).1, Place::New(_)));
}

#[test]
fn a_session_that_holds_locks_is_spoken_on_at_the_cadence() {
    let mut limits = PoolLimits::new(2);
    limits.keepalive = Some(Duration::from_secs(30));
    let mut pool = Pool { table: Sessions::new(limits) };
    let session = pool.opened(1, Verb::Try);
    assert_eq!(pool.table.poll_upkeep(at(30_000)), Some(Upkeep::Speak(session)));
    assert_eq!(pool.table.poll_upkeep(at(30_000)), None);
    assert_eq!(pool.table.poll_timeout(), Some(at(60_000)));
}

#[test]
fn a_question_goes_where_nobody_waits() {
    let mut pool = pool(2);
    let waiting = pool.opened(1, WAIT);
    let place = pool.table.any(at(0));
    let Place::New(other) = place else { panic!("{place:?}") };
    assert_ne!(waiting, other);
    assert_eq!(pool.table.any(at(0)), Place::On(other));
    assert!(pool.table.poll_timeout() < Some(Instant::FAR_FUTURE));
}

struct Pool {
    table: Sessions,
}

impl Pool {
    fn place(&mut self, number: i64, verb: Verb) -> (SeatId, Place) {
        let seat = self.table.seat();
        (seat, self.table.place(seat, key(number), verb, at(0)))
    }

    /// The session that was opened for it.
    fn opened(&mut self, number: i64, verb: Verb) -> SessionId {
        match self.place(number, verb).1 {
            Place::New(session) => session,
            place @ (Place::On(_) | Place::Full) => panic!("{place:?}"),
        }
    }
}

fn pool(most: usize) -> Pool {
    Pool { table: Sessions::new(PoolLimits::new(most)) }
}

fn key(number: i64) -> AdvisoryKey {
    AdvisoryKey::Single(number)
}
