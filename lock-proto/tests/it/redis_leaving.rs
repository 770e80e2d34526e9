//! How a lock on one Redis server is given back, whenever that is and whatever was asked before.

use expect_test::expect;
use lock_proto::{AcquireOptions, Instant, Machine as _};

use crate::redis_timelines::{check, mutex, one_try, within_ten_seconds};

#[test]
fn a_cancel_beside_an_unanswered_question_has_the_token_refused() {
    // R14: the question may run after the release.
    check(
        mutex(within_ten_seconds()),
        "busy release no queued=30000/0",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    release      leave, refused for 10s
        0.000    no
        0.000    queued=30000/0 [closed]
    "#]],
    );
}

#[test]
fn a_yes_that_comes_after_the_release_is_released_again() {
    // R12: nobody wants it any more.
    check(
        mutex(within_ten_seconds()),
        "release no! set yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    release      leave, refused for 10s
            0.000    no!
            0.000    set          give back
            0.000    yes          [closed]
        "#]],
    );
}

#[test]
fn a_question_that_is_lost_after_the_release_has_the_token_refused_anew() {
    check(
        mutex(within_ten_seconds()),
        "release no! unknown yes next yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    release      leave, refused for 10s
            0.000    no!
            0.000    unknown      leave, refused for 10s
            0.000    yes
            500.000  Retry        leave, refused for 10s
            500.000  yes          [closed, not clean]
        "#]],
    );
}

#[test]
fn a_question_that_was_never_sent_needs_no_other_release() {
    check(
        mutex(within_ten_seconds()),
        "busy release no! refused",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    release      leave, refused for 10s
            0.000    no!
            0.000    refused      [closed]
        "#]],
    );
}

#[test]
fn a_cancel_before_anything_was_sent_asks_nothing() {
    let mut machine = mutex(AcquireOptions::new());
    machine.release(Instant::ZERO);
    check(
        machine,
        "",
        expect![[r#"
        0.000    start        [closed]
    "#]],
    );
}

#[test]
fn a_message_that_nobody_wants_is_answered_with_a_release() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=9/0 release grant=7/1 no",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    queued=9/0
        0.000    release      leave
        0.000    grant=7/1
        0.000    no           [closed]
    "#]],
    );
}

#[test]
fn a_lock_that_others_wait_for_is_given_to_the_first_of_them() {
    // Whatever the second answer is, it is the last.
    check(
        mutex(AcquireOptions::new()),
        "set release awaited awaited",
        expect![[r#"
            0.000    start        take for 30s
            0.000    set          [acquired until 29.698s with fence 1700000000000000]
            0.000    release      give back
            0.000    awaited      leave
            0.000    awaited      [closed]
        "#]],
    );
}

#[test]
fn a_release_that_fails_is_tried_again_for_a_while() {
    check(
        mutex(AcquireOptions::new()),
        "set release unknown next not-sent next yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    set          [acquired until 29.698s with fence 1700000000000000]
            0.000    release      give back
            0.000    unknown
            50.000   Retry        give back
            50.000   not-sent
            150.000  Retry        give back
            150.000  yes          [closed]
        "#]],
    );
}

#[test]
fn a_release_without_any_answer_is_given_up() {
    check(
        mutex(AcquireOptions::new()),
        "set release next",
        expect![[r#"
            0.000    start        take for 30s
            0.000    set          [acquired until 29.698s with fence 1700000000000000]
            0.000    release      give back
            5000.000 Retry        [closed, not clean]
        "#]],
    );
}

#[test]
fn a_life_with_a_lost_request_is_released_twice_and_is_not_clean() {
    // R5: the request may still arrive after the release.
    check(
        mutex(one_try()),
        "unknown yes next no",
        expect![[r#"
        0.000    start        take for 30s
        0.000    unknown      [failed: nobody knows], leave, refused for 10s
        0.000    yes
        500.000  Retry        leave, refused for 10s
        500.000  no           [closed, not clean]
    "#]],
    );
}
