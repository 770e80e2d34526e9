//! Permits on PostgreSQL that end otherwise than by their release.

use expect_test::expect;
use lock_proto::postgres::Reply;
use lock_proto::{Event, Hub, LockError, Machine as _};

use crate::postgres_permits::{forever, lock, within};
use crate::timeline::{at, check, ms};

#[test]
fn a_ttl_of_permits_is_kept_by_this_side() {
    check(
        lock(1, &forever().with_ttl(ms(3000))),
        "took=1 next extend=5s next",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    took=1       [acquired until 3.000s]
        1000.000 Renewal      [extended until Some(4.000s)]
        1000.000 extend=5s    [extended until Some(6.000s)]
        2000.000 Renewal      [extended until Some(6.000s)]
    "#]],
    );
}

#[test]
fn permits_are_held_no_longer_than_their_options_allow() {
    let options = forever().with_max_hold(ms(3000));
    check(
        lock(1, &options),
        "took=1 next unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    took=1       [acquired]
        3000.000 HoldLimit    [lost: it was held for as long as max_hold allows], give [1] back, outside
        3000.000 unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_server_that_does_not_answer_is_the_error_and_not_somebody_elses_hold() {
    check(
        lock(1, &within(900)),
        "next took=1 unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        900.000  Budget       [failed: the server did not answer in time]
        900.000  took=1       give [1] back, outside
        900.000  unlocked     [closed]
    "#]],
    );
    // Neither is one who has only just been asked, nor one on whom others queue.
    check(
        lock(1, &within(400)),
        "next took=1 unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        400.000  Budget       [timed out after 400ms]
        400.000  took=1       give [1] back, outside
        400.000  unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &within(900)),
        "busy next expired unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        900.000  Budget       [timed out after 900ms]
        900.000  expired      give all back, inside
        900.000  unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_single_try_is_asked_again_on_another_session_a_few_times() {
    let once = within(0);
    check(
        lock(1, &once),
        "unknown next unknown next took=2",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    unknown
        5.464    Retry        take 1 outside, but []
        5.464    unknown
        19.941   Retry        take 1 outside, but []
        19.941   took=2       [acquired]
    "#]],
    );
    check(
        lock(1, &once),
        "unknown next unknown next unknown next unknown",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    unknown
        5.464    Retry        take 1 outside, but []
        5.464    unknown
        19.941   Retry        take 1 outside, but []
        19.941   unknown
        46.493   Retry        take 1 outside, but []
        46.493   unknown      [failed: nobody knows], [closed, not clean]
    "#]],
    );
    check(
        lock(1, &once),
        "not-sent",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    not-sent     [failed: too late], [closed]
    "#]],
    );
}

#[test]
fn a_single_try_without_a_session_fails_at_once() {
    check(
        lock(1, &within(0)),
        "full",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    full         [failed: every connection of the pool is in use: allow more with max_connections], [closed]
    "#]],
    );
}

#[test]
fn who_waits_looks_for_room_without_end() {
    let mut waits = lock(1, &forever());
    let mut now = at(0);
    for _ in 0..100 {
        let request = waits.poll_request().expect("it asks");
        waits.handle_reply(request.id, Ok(Reply::Full), now);
        assert!(waits.poll_event().is_none());
        now = waits.poll_timeout().expect("it looks again").at;
        waits.handle_timeout(now);
    }
}

#[test]
fn a_wait_at_the_gate_that_the_server_ends_is_an_error() {
    check(
        lock(1, &forever()),
        "busy deadlock unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    deadlock     [failed: deadlock: process 7 waits for process 8], give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &forever()),
        "busy cancelled unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    cancelled    [failed: the server was told to cancel the wait], give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &forever()),
        "busy done unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    done         [failed: the server answered nonsense], give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &forever()),
        "busy expired unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    expired      [failed: the server ended a wait that was to have no end], give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_cancelled_wait_at_the_gate_is_nobodys_error_however_it_ends() {
    check(
        lock(1, &forever()),
        "busy release expired done unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    release      cancel
        0.000    expired
        0.000    done         give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &forever()),
        "busy release deadlock done unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    release      cancel
        0.000    deadlock
        0.000    done         give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &forever()),
        "busy release refused done unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    release      cancel
        0.000    refused
        0.000    done         give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(1, &forever()),
        "busy release done done unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    release      cancel
        0.000    done
        0.000    done         give all back, inside
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_release_of_permits_that_nobody_confirmed_says_that_they_were_lost() {
    check(
        lock(1, &forever()),
        "took=1 release unknown",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    took=1       [acquired]
        0.000    release      give [1] back, outside
        0.000    unknown      [lost: its session is gone], [closed, not clean]
    "#]],
    );
    check(
        lock(1, &forever()),
        "took=1 release refused next unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    took=1       [acquired]
        0.000    release      give [1] back, outside
        0.000    refused
        50.000   Retry        give [1] back, outside
        50.000   unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_question_that_nobody_has_taken_is_called_off() {
    let mut lock = lock(1, &forever());
    lock.release(at(0));
    assert!(lock.poll_request().is_none());
    assert!(matches!(lock.poll_event(), Some(Event::Closed { clean: true })));
}

#[test]
fn the_end_of_a_session_says_nothing_to_who_has_asked_on_it() {
    // Its answer says it, or it was another session.
    check(
        lock(1, &forever()),
        "disconnect took=1 release unlocked",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    disconnect
        0.000    took=1       [acquired]
        0.000    release      give [1] back, outside
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn who_stands_behind_for_permits_gives_up_in_its_own_time() {
    let mut hub = Hub::new();
    let first = hub.start(lock(1, &forever()), (), at(0));
    let second = hub.start(lock(1, &within(50)), (), at(0));
    hub.nudge(first, at(1));
    hub.nudge(second, at(49));
    assert!(hub.poll_request(second).is_none() && hub.poll_event(second).is_none());
    assert_eq!(hub.poll_timeout(), Some(at(50)));
    assert_eq!(hub.poll_due(at(50)), Some(second));
    assert!(matches!(hub.poll_event(second), Some(Event::Failed(LockError::Timeout(_)))));
    assert!(matches!(hub.poll_event(second), Some(Event::Closed { clean: true })));
    // And who waits for ever sets no alarm.
    assert_eq!(hub.poll_timeout(), None);
}
