//! Who finds no session to ask on, or none only because others of its process are about to hear.

use expect_test::{Expect, expect};
use lock_proto::postgres::{PermitLock, Reply};
use lock_proto::{Event, Machine as _};

use crate::postgres_permits;
use crate::postgres_timelines::{check, lock, once, within};
use crate::timeline::{self, at};

#[test]
fn without_a_session_to_wait_on_it_tries_now_and_then() {
    check(
        lock(&within(500)),
        "busy full next busy full next granted",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait within 500ms
        0.000    full
        5.464    Retry        try
        5.464    busy         wait within 494.535926ms
        5.464    full
        19.941   Retry        try
        19.941   granted      [acquired]
    "#]],
    );
    check(
        lock(&once()),
        "full",
        expect![[r#"
        0.000    start        try
        0.000    full         [failed: every connection of the pool is in use: allow more with max_connections], [closed]
    "#]],
    );
}

#[test]
fn who_finds_no_session_for_a_moment_is_told_when_to_ask_again() {
    check(
        lock(&within(500)),
        "soon nudge soon next granted",
        expect![[r#"
            0.000    start        try
            0.000    soon
            0.000    nudge        try
            0.000    soon
            14.477   Retry        try
            14.477   granted      [acquired]
        "#]],
    );
    check(
        lock(&once()),
        "soon nudge busy",
        expect![[r#"
            0.000    start        try
            0.000    soon
            0.000    nudge        try
            0.000    busy         [timed out after 0ns], [closed]
        "#]],
    );
    check(
        lock(&once()),
        "soon nudge unknown next granted",
        expect![[r#"
            0.000    start        try
            0.000    soon
            0.000    nudge        try
            0.000    unknown
            14.477   Retry        try
            14.477   granted      [acquired]
        "#]],
    );
}

#[test]
fn a_single_try_stands_by_for_five_seconds_at_most() {
    let mut machine = lock(&once());
    let mut now = at(0);
    let error = loop {
        if let Some(request) = machine.poll_request() {
            machine.handle_reply(request.id, Ok(Reply::Soon), now);
        }
        if let Some(Event::Failed(error)) = machine.poll_event() {
            break error;
        }
        now = machine.poll_timeout().expect("it asks again").at;
        machine.handle_timeout(now);
    };
    assert_eq!(now, at(5000));
    assert!(error.to_string().contains("max_connections"), "{error}");
}

#[test]
fn who_stood_by_and_asked_then_tells_of_a_server_that_says_nothing() {
    check(
        lock(&once()),
        "soon nudge next",
        expect![[r#"
        0.000    start        try
        0.000    soon
        0.000    nudge        try
        5000.000 Budget       [failed: the server did not answer in time]
    "#]],
    );
    permits(
        taker(0),
        "soon nudge next",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    soon
        0.000    nudge        take 1 outside, but []
        5000.000 Budget       [failed: the server did not answer in time]
    "#]],
    );
}

/// It was asked nine times in a second, in which a busy server may answer but once.
#[test]
fn a_single_try_of_permits_stands_by_while_others_of_us_are_about_to_hear() {
    permits(
        taker(0),
        "soon nudge soon next soon +1ms nudge took=3",
        expect![[r#"
            0.000    start        take 1 outside, but []
            0.000    soon
            0.000    nudge        take 1 outside, but []
            0.000    soon
            14.477   Retry        take 1 outside, but []
            14.477   soon
            15.477   nudge        take 1 outside, but []
            15.477   took=3       [acquired]
        "#]],
    );
    permits(
        taker(0),
        "soon nudge full",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    soon
        0.000    nudge        take 1 outside, but []
        0.000    full         [failed: every connection of the pool is in use: allow more with max_connections], [closed]
    "#]],
    );
}

#[test]
fn who_waits_for_permits_stands_by_as_well() {
    permits(
        taker(100),
        "soon nudge soon next soon next soon next",
        expect![[r#"
            0.000    start        take 1 outside, but []
            0.000    soon
            0.000    nudge        take 1 outside, but []
            0.000    soon
            14.477   Retry        take 1 outside, but []
            14.477   soon
            41.029   Retry        take 1 outside, but []
            41.029   soon
            100.000  Budget       [timed out after 100ms], [closed]
        "#]],
    );
    // What may be inside the gate already asks for nothing more.
    permits(
        taker(100),
        "busy +99ms expired nudge",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        99.000   expired
        99.000   nudge
    "#]],
    );
}

fn taker(millis: u64) -> PermitLock {
    postgres_permits::lock(1, &within(millis))
}

fn permits(machine: PermitLock, script: &str, expected: Expect) {
    timeline::check(machine, script, expected);
}
