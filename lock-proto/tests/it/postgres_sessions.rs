//! Which lock stands on which session.

use std::time::Duration;

use lock_proto::postgres::{
    AdvisoryKey, Command, Mode, PermitKeys, Permits, Place, PoolLimits, SeatId, SessionId,
    Sessions, Subject, Upkeep, Verb,
};
use lock_proto::{Instant, LockName};

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

/// On a pool without room a try of a lock that one of us holds was an error.
#[test]
fn one_of_us_is_in_the_way_of_a_try_that_has_no_place() {
    let mut pool = pool(1);
    let exclusive = |number, verb| Command::new(Subject::Lock(key(number), Mode::Exclusive), verb);
    let shared = Command::new(Subject::Lock(key(1), Mode::Shared), Verb::Try);
    pool.reader();
    assert!(pool.table.excludes(&exclusive(1, Verb::Try)));
    assert!(!pool.table.excludes(&shared));
    assert!(!pool.table.excludes(&exclusive(1, WAIT)));
    assert!(!pool.table.excludes(&exclusive(2, Verb::Try)));
    pool.place(2, Verb::Try);
    assert!(pool.table.excludes(&exclusive(2, Verb::Try)));
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
    pool.table.granted(own, seat, key(2));
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
fn a_session_that_is_about_to_end_takes_nobody_and_makes_room_for_another() {
    let mut pool = pool(2);
    let (seat, place) = pool.place(1, Verb::Try);
    let Place::New(first) = place else { panic!("{place:?}") };
    pool.table.retire(first);
    let second = pool.opened(2, Verb::Try);
    let third = pool.opened(2, Verb::Try);
    assert_eq!(pool.place(3, Verb::Try).1, Place::On(second));
    assert_eq!(pool.table.any(at(0)), Place::On(second));
    assert_eq!(pool.place(2, Verb::Try).1, Place::Full);
    assert_eq!(pool.table.lost(first), [seat]);
    assert_ne!(third, first);
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

#[test]
fn a_question_opens_no_session_that_there_is_no_room_for() {
    let mut limits = PoolLimits::new(1);
    limits.multiplexed = false;
    let mut pool = Pool { table: Sessions::new(limits) };
    let (waiter, place) = pool.place(1, WAIT);
    assert_eq!(pool.table.any(at(0)), Place::Full);
    pool.table.granted(session_of(place), waiter, key(1));
    assert_eq!(pool.table.any(at(0)), Place::On(session_of(place)));
}

#[test]
fn who_leaves_a_wait_makes_room() {
    let mut pool = pool(2);
    let shared = pool.opened(1, Verb::Try);
    let (waiter, place) = pool.place(2, WAIT);
    let waiting = session_of(place);
    assert_eq!(pool.place(3, WAIT).1, Place::Full);
    assert_eq!(session_of(pool.place(3, Verb::Try).1), shared);
    pool.table.left(waiting, waiter, key(2), at(0));
    assert_eq!(session_of(pool.place(4, WAIT).1), waiting);
}

#[test]
fn readers_come_in_beside_one_of_us_when_another_session_may() {
    let mut pool = pool(3);
    let (_, place) = pool.reader();
    let Place::New(inside) = place else { panic!("{place:?}") };
    let (_, place) = pool.reader();
    let Place::Through { probe, opened: true, session } = place else { panic!("{place:?}") };
    assert_eq!(session, inside);
    for _ in 0..100 {
        let place = pool.reader().1;
        assert_eq!(place, Place::Through { probe, opened: false, session });
    }
    // A session that waits can tell nothing.
    assert_eq!(pool.place(2, WAIT).1, Place::On(probe));
    let place = pool.reader().1;
    let Place::Through { probe: another, opened: true, .. } = place else { panic!("{place:?}") };
    assert_ne!(probe, another);
}

#[test]
fn a_reader_comes_in_by_itself_while_another_session_stays_outside() {
    let mut pool = pool(4);
    let first = session_of(pool.reader().1);
    let [second, third] = [2, 3].map(|number| {
        let (seat, place) = pool.place(number, WAIT);
        pool.table.granted(session_of(place), seat, key(number));
        session_of(place)
    });
    assert_eq!(pool.reader().1, Place::On(second));
    let through = Place::Through { probe: third, opened: false, session: first };
    assert_eq!(pool.reader().1, through);
}

#[test]
fn a_reader_is_beside_nobody_of_whom_it_is_not_known_whether_he_is_inside() {
    let mut pool = pool(4);
    let (first, place) = pool.place_reader();
    let inside = session_of(place);
    assert!(matches!(pool.place_reader().1, Place::New(_)));
    pool.table.granted(inside, first, key(1));
    assert!(matches!(pool.place_reader().1, Place::Through { opened: true, .. }));
    assert!(!pool.table.is_shared(session_of(place), first, key(2)));
    assert!(pool.table.is_shared(inside, pool.table.seats(inside, key(1))[1], key(1)));
}

/// Each took a session of its own, and the last of these could tell no other whether it may come in.
#[test]
fn of_readers_that_come_together_one_session_stays_outside() {
    let mut pool = pool(3);
    let (first, place) = pool.place_reader();
    let inside = session_of(place);
    assert!(matches!(pool.place_reader().1, Place::New(_)));
    let (third, place) = pool.place_reader();
    assert_eq!(place, Place::Soon);
    pool.table.stand_by(third, key(1));
    let (fourth, _) = pool.place_reader();
    pool.table.stand_by(fourth, key(1));

    pool.table.granted(inside, first, key(1));

    assert_eq!(pool.table.poll_standby(key(2)), [None; 2]);
    assert_eq!(pool.table.poll_standby(key(1)), [Some(third), Some(fourth)]);
    for (seat, opens) in [(third, true), (fourth, false)] {
        let place = pool.reader_again(seat);
        assert!(matches!(place, Place::Through { opened, session, .. }
            if opened == opens && session == inside));
    }
}

/// Each took a session of its own, and nobody could wait for anything any more.
#[test]
fn who_comes_in_a_crowd_leaves_sessions_to_those_that_wait() {
    let mut pool = pool(16);
    let (first, place) = pool.place_reader();
    let inside = session_of(place);
    let second = session_of(pool.place_reader().1);
    assert_eq!(pool.place_reader().1, Place::Soon);
    pool.table.granted(inside, first, key(1));
    for number in 2..6 {
        pool.opened(number, WAIT);
    }
    assert!(matches!(pool.reader().1, Place::Through { opened: true, .. }));

    let (_, first) = pool.place_taker(1);
    let (_, other) = pool.place_taker(1);
    assert_ne!(first, other);
    let taker = Command::new(Subject::Permits(permits(1)), Verb::Try);
    let third = pool.table.seat();
    assert_eq!(pool.table.place(third, &taker, at(0)), Place::Soon);
    assert_ne!(inside, second);
}

#[test]
fn who_stands_by_no_longer_is_not_told() {
    let mut pool = pool(1);
    let (_, place) = pool.place_reader();
    let (second, crowded) = pool.place_reader();
    assert_eq!(crowded, Place::Soon);
    pool.table.stand_by(second, key(1));
    pool.table.forget(second, key(1));
    assert_eq!(pool.table.poll_standby(key(1)), [None; 2]);
    assert!(matches!(place, Place::New(_)));
}

#[test]
fn readers_take_no_third_session_although_there_are_more() {
    let mut pool = pool(16);
    let first = session_of(pool.reader().1);
    let others = [2, 3, 4].map(|number| {
        let (seat, place) = pool.place(number, WAIT);
        pool.table.granted(session_of(place), seat, key(number));
        session_of(place)
    });
    assert_eq!(pool.reader().1, Place::On(others[0]));
    let through = Place::Through { probe: others[1], opened: false, session: first };
    assert_eq!(pool.reader().1, through);
}

#[test]
fn a_reader_stands_by_no_longer_than_others_are_about_to_hear() {
    let mut pool = pool(1);
    let (first, place) = pool.place_reader();
    assert_eq!(pool.place_reader().1, Place::Soon);
    pool.table.left(session_of(place), first, key(1), at(0));
    assert_eq!(pool.place_reader().1, Place::On(session_of(place)));
    // Who waits for the server's queue to move says nothing soon.
    let mut pool = self::pool(2);
    pool.opened(1, WAIT);
    assert!(matches!(pool.place_reader().1, Place::New(_)));
}

#[test]
fn without_multiplexing_any_answer_may_make_room() {
    let mut limits = PoolLimits::new(1);
    limits.multiplexed = false;
    let mut pool = Pool { table: Sessions::new(limits) };
    let (first, place) = pool.place(1, Verb::Try);
    let (second, place_of_second) = pool.place(2, Verb::Try);
    assert_eq!(place_of_second, Place::Soon);
    pool.table.stand_by(second, key(2));
    pool.table.granted(session_of(place), first, key(1));
    assert_eq!(pool.table.poll_standby(key(1)), [Some(second), None]);
    assert_eq!(pool.place(2, Verb::Try).1, Place::Full);
}

#[test]
fn a_reader_whose_pool_has_one_session_does_not_come_in_beside_another() {
    let mut pool = pool(1);
    pool.reader();
    assert_eq!(pool.place_reader().1, Place::Full);
}

#[test]
fn takers_of_permits_share_a_session_and_leave_out_what_others_have() {
    let mut pool = pool(4);
    let (first, session) = pool.place_taker(2);
    // What it will take is not known yet.
    let (second, other) = pool.place_taker(1);
    assert_ne!(session, other);
    pool.table.took(session, first, gate(), &[1, 2]);
    let (third, place) = pool.place_taker(1);
    assert_eq!(place, session);
    assert_eq!(pool.table.beside(session, third, gate()), [1, 2]);
    assert_eq!(pool.table.beside(other, second, gate()), []);
    pool.table.took(session, third, gate(), &[4]);
    pool.table.left(session, first, gate(), at(0));
    let (fourth, place) = pool.place_taker(1);
    assert_eq!((place, pool.table.beside(session, fourth, gate())), (session, vec![4]));
}

#[test]
fn takers_that_find_no_session_of_which_all_is_known_stand_by_in_their_order() {
    let mut pool = pool(1);
    let (first, session) = pool.place_taker(1);
    let command = Command::new(Subject::Permits(permits(1)), Verb::Try);
    let others = [pool.table.seat(), pool.table.seat()];
    for seat in others.into_iter().rev() {
        assert_eq!(pool.table.place(seat, &command, at(0)), Place::Soon);
        pool.table.stand_by(seat, gate());
    }
    pool.table.took(session, first, gate(), &[1]);
    assert_eq!(pool.table.poll_standby(gate()), others.map(Some));
    assert_eq!(pool.table.place(others[0], &command, at(0)), Place::On(session));
    assert_eq!(pool.table.place(others[1], &command, at(0)), Place::Soon);
    pool.table.stand_by(others[1], gate());
    // Who found a place by itself is told nothing.
    pool.table.took(session, others[0], gate(), &[2]);
    assert_eq!(pool.table.place(others[1], &command, at(0)), Place::On(session));
    assert_eq!(pool.table.poll_standby(gate()), [None; 2]);
}

#[test]
fn nobody_takes_permits_beside_one_that_is_inside_the_gate() {
    let mut pool = pool(4);
    let seat = pool.table.seat();
    let wait = Command::new(Subject::Permits(permits(2)), WAIT);
    let session = session_of(pool.table.place(seat, &wait, at(0)));
    pool.table.granted(session, seat, gate());
    pool.table.took(session, seat, gate(), &[1]);
    assert_ne!(pool.place_taker(1).1, session);
    assert_eq!(pool.table.seats(session, gate()), [seat]);
    pool.table.took(session, seat, gate(), &[3]);
    assert_eq!(pool.place_taker(1).1, session);
}

struct Pool {
    table: Sessions,
}

impl Pool {
    fn place(&mut self, number: i64, verb: Verb) -> (SeatId, Place) {
        let seat = self.table.seat();
        let lock = Subject::Lock(key(number), Mode::Exclusive);
        (seat, self.table.place(seat, &Command::new(lock, verb), at(0)))
    }

    fn place_reader(&mut self) -> (SeatId, Place) {
        let seat = self.table.seat();
        let share = Subject::Lock(key(1), Mode::Shared);
        (seat, self.table.place(seat, &Command::new(share, Verb::Try), at(0)))
    }

    fn reader_again(&mut self, seat: SeatId) -> Place {
        let share = Subject::Lock(key(1), Mode::Shared);
        self.table.place(seat, &Command::new(share, Verb::Try), at(0))
    }

    /// Lets a reader in.
    fn reader(&mut self) -> (SeatId, Place) {
        let (seat, place) = self.place_reader();
        self.table.granted(session_of(place), seat, key(1));
        (seat, place)
    }

    fn place_taker(&mut self, wanted: u32) -> (SeatId, SessionId) {
        let seat = self.table.seat();
        let command = Command::new(Subject::Permits(permits(wanted)), Verb::Try);
        (seat, session_of(self.table.place(seat, &command, at(0))))
    }

    /// The session that was opened for it; a try has been answered.
    fn opened(&mut self, number: i64, verb: Verb) -> SessionId {
        let (seat, place) = self.place(number, verb);
        let Place::New(session) = place else { panic!("{place:?}") };
        if verb == Verb::Try {
            self.table.granted(session, seat, key(number));
        }
        session
    }
}

fn session_of(place: Place) -> SessionId {
    match place {
        Place::On(session) | Place::New(session) | Place::Through { session, .. } => session,
        Place::Soon | Place::Full => panic!("there is room"),
    }
}

fn gate() -> AdvisoryKey {
    keys().gate()
}

fn pool(most: usize) -> Pool {
    Pool { table: Sessions::new(PoolLimits::new(most)) }
}

fn key(number: i64) -> AdvisoryKey {
    AdvisoryKey::Single(number)
}

fn keys() -> PermitKeys {
    PermitKeys::new(&LockName::new("pool").expect("a short name"), 5)
}

fn permits(wanted: u32) -> Permits {
    Permits::new(keys(), wanted)
}
