//! What comes between: answers on PostgreSQL after nobody wants the lock any more, and hints before.

use expect_test::expect;
use lock_proto::{Event, Machine as _};

use crate::postgres_timelines::{check, forever, lock};
use crate::timeline::{at, ms};

#[test]
fn a_cancelled_wait_is_nobodys_error_however_it_ends() {
    check(
        lock(&forever()),
        "busy release cancelled done unlocked-not-held",
        expect![[r#"
            0.000    start        try
            0.000    busy         wait for ever
            0.000    release      cancel
            0.000    cancelled
            0.000    done         unlock
            0.000    unlocked-not-held [closed]
        "#]],
    );
    check(
        lock(&forever()),
        "busy release expired done unlocked-not-held",
        expect![[r#"
            0.000    start        try
            0.000    busy         wait for ever
            0.000    release      cancel
            0.000    expired
            0.000    done         unlock
            0.000    unlocked-not-held [closed]
        "#]],
    );
    check(
        lock(&forever()),
        "busy release deadlock done unlocked-not-held",
        expect![[r#"
            0.000    start        try
            0.000    busy         wait for ever
            0.000    release      cancel
            0.000    deadlock
            0.000    done         unlock
            0.000    unlocked-not-held [closed]
        "#]],
    );
    check(
        lock(&forever()),
        "busy release refused done unlocked-not-held",
        expect![[r#"
            0.000    start        try
            0.000    busy         wait for ever
            0.000    release      cancel
            0.000    refused
            0.000    done         unlock
            0.000    unlocked-not-held [closed]
        "#]],
    );
    check(
        lock(&forever()),
        "busy release done done unlocked-not-held",
        expect![[r#"
            0.000    start        try
            0.000    busy         wait for ever
            0.000    release      cancel
            0.000    done
            0.000    done         unlock
            0.000    unlocked-not-held [closed]
        "#]],
    );
}

#[test]
fn a_lock_that_came_all_the_same_is_given_back() {
    check(
        lock(&forever()),
        "busy release granted done unlocked",
        expect![[r#"
            0.000    start        try
            0.000    busy         wait for ever
            0.000    release      cancel
            0.000    granted
            0.000    done         unlock
            0.000    unlocked     [closed]
        "#]],
    );
}

#[test]
fn a_wait_is_cancelled_once() {
    check(
        lock(&forever()),
        "busy release done! timeout next done cancelled",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    release      cancel
        0.000    done!
        0.000    timeout
        2000.000 Retry        close
        2000.000 done
        2000.000 cancelled    [closed, not clean]
    "#]],
    );
}

#[test]
fn a_session_that_does_not_end_is_left_to_the_server() {
    check(
        lock(&forever()),
        "release next next",
        expect![[r#"
        0.000    start        try
        0.000    release
        10000.000 Retry        close
        13000.000 Retry        [closed, not clean]
    "#]],
    );
}

#[test]
fn a_question_that_nobody_has_taken_is_called_off() {
    let mut lock = lock(&forever());
    lock.release(at(0));
    assert!(lock.poll_request().is_none());
    assert!(matches!(lock.poll_event(), Some(Event::Closed { clean: true })));
}

#[test]
fn a_rest_ends_when_the_lock_may_have_come_free() {
    check(
        lock(&forever()),
        "not-sent nudge granted",
        expect![[r#"
        0.000    start        try
        0.000    not-sent
        0.000    nudge        try
        0.000    granted      [acquired]
    "#]],
    );
}

#[test]
fn a_ttl_is_prolonged_by_hand() {
    check(
        lock(&forever().with_ttl(ms(3000))),
        "granted extend=5s release",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired until 3.000s]
        0.000    extend=5s    [extended until Some(5.000s)]
        0.000    release      unlock
    "#]],
    );
}
