//! One acquisition of an advisory lock, step by step.

use std::time::Duration;

use expect_test::{Expect, expect};
use lock_proto::postgres::{AdvisoryKey, AdvisoryLock, Command, Mode, PostgresLock, Reply, Verb};
use lock_proto::{AcquireOptions, Instant, Seed};

use crate::timeline::{self, Backend, at, ms};

#[test]
fn a_free_lock_is_one_question_and_one_release() {
    check(
        lock(&forever()),
        "granted release unlocked",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired]
        0.000    release      unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_single_try_of_a_held_lock_ends_with_the_first_answer() {
    check(
        lock(&once()),
        "busy",
        expect![[r#"
        0.000    start        try
        0.000    busy         [timed out after 0ns], [closed]
    "#]],
    );
}

#[test]
fn a_question_that_came_too_late_to_be_asked_is_a_time_out() {
    check(
        lock(&within(1)),
        "+1ms not-sent",
        expect![[r#"
        0.000    start        try
        1.000    not-sent     [timed out after 1ms], [closed]
    "#]],
    );
}

#[test]
fn a_held_lock_is_waited_for_in_the_queue_of_the_server() {
    check(
        lock(&within(500)),
        "+3ms busy +100ms granted release unlocked",
        expect![[r#"
        0.000    start        try
        3.000    busy         wait within 497ms
        103.000  granted      [acquired]
        103.000  release      unlock
        103.000  unlocked     [closed]
    "#]],
    );
}

/// Whoever was refused with less than a millisecond left asked again and again until that was over.
#[test]
fn who_has_no_time_left_to_wait_does_not_ask_again() {
    check(
        lock(&within(1)),
        "+1ms busy",
        expect![[r#"
        0.000    start        try
        1.000    busy         [timed out after 1ms], [closed]
    "#]],
    );
    check(
        lock(&AcquireOptions::new().with_timeout(Duration::from_micros(500))),
        "busy next",
        expect![[r#"
        0.000    start        try
        0.000    busy
        0.500    Budget       [timed out after 500µs], [closed]
    "#]],
    );
}

#[test]
fn a_wait_without_end_has_no_limit() {
    check(
        lock(&forever()),
        "busy granted",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    granted      [acquired]
    "#]],
    );
}

#[test]
fn a_time_out_of_the_server_is_followed_by_a_release_since_it_may_have_been_granted() {
    check(
        lock(&within(500)),
        "busy +499ms expired next unlocked",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait within 500ms
        499.000  expired
        500.000  Budget       [timed out after 500ms], unlock
        500.000  unlocked     [closed]
    "#]],
    );
}

// Once it asked again, and had the lock twice of which it gave one back.
#[test]
fn a_nudge_is_not_followed_while_the_lock_may_be_ours_by_a_late_grant() {
    check(
        lock(&within(500)),
        "busy +499ms expired nudge next unlocked-held",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait within 500ms
        499.000  expired
        499.000  nudge
        500.000  Budget       [timed out after 500ms], unlock
        500.000  unlocked-held [closed]
    "#]],
    );
}

// Once nothing more came of it.
#[test]
fn a_wait_without_end_that_the_server_ends_is_an_error() {
    check(
        lock(&forever()),
        "busy expired unlocked",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    expired      [failed: the server ended a wait that was to have no end], unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

// Once it failed a second time.
#[test]
fn nonsense_is_an_error_unless_nobody_wants_the_lock_any_more() {
    check(
        lock(&within(500)),
        "done unlocked",
        expect![[r#"
        0.000    start        try
        0.000    done         [failed: the server answered nonsense], unlock
        0.000    unlocked     [closed]
    "#]],
    );
    check(
        lock(&within(500)),
        "release done unlocked",
        expect![[r#"
        0.000    start        try
        0.000    release
        0.000    done         unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn who_times_out_first_leaves_the_server_a_moment_before_it_cancels() {
    check(
        lock(&within(500)),
        "busy next next cancelled done unlocked",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait within 500ms
        500.000  Budget       [timed out after 500ms]
        550.000  Retry        cancel
        550.000  cancelled
        550.000  done         unlock
        550.000  unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_wait_that_was_granted_as_it_timed_out_is_given_back() {
    check(
        lock(&within(500)),
        "busy next granted unlocked-held",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait within 500ms
        500.000  Budget       [timed out after 500ms]
        500.000  granted      unlock
        500.000  unlocked-held [closed]
    "#]],
    );
}

#[test]
fn who_gives_up_while_it_waits_cancels_and_gives_back_what_it_may_have_got() {
    check(
        lock(&forever()),
        "busy release cancelled done unlocked",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    release      cancel
        0.000    cancelled
        0.000    done         unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_cancel_that_came_too_late_is_followed_by_a_release() {
    check(
        lock(&forever()),
        "busy release granted done unlocked-held",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    release      cancel
        0.000    granted
        0.000    done         unlock
        0.000    unlocked-held [closed]
    "#]],
    );
}

#[test]
fn a_cancel_that_does_not_work_ends_the_session() {
    check(
        lock(&forever()),
        "busy release next unknown unknown! unknown",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    release      cancel
        2000.000 Retry        close
        2000.000 unknown      [closed, not clean]
        2000.000 unknown!
        2000.000 unknown
    "#]],
    );
}

#[test]
fn a_release_that_is_refused_is_tried_again_and_then_ends_the_session() {
    check(
        lock(&forever()),
        "granted release refused next refused +20s timeout unknown",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired]
        0.000    release      unlock
        0.000    refused
        50.000   Retry        unlock
        50.000   refused
        20050.000 timeout      close
        20050.000 unknown      [lost: its session is gone], [closed, not clean]
    "#]],
    );
}

#[test]
fn who_gives_up_before_the_first_answer_waits_for_it_and_gives_back() {
    check(
        lock(&forever()),
        "release granted unlocked-held",
        expect![[r#"
        0.000    start        try
        0.000    release
        0.000    granted      unlock
        0.000    unlocked-held [closed]
    "#]],
    );
    check(
        lock(&forever()),
        "release busy",
        expect![[r#"
        0.000    start        try
        0.000    release
        0.000    busy         [closed]
    "#]],
    );
}

#[test]
fn a_deadlock_is_an_error_and_the_lock_is_given_back() {
    check(
        lock(&forever()),
        "busy deadlock unlocked",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    deadlock     [failed: deadlock: process 7 waits for process 8], unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_wait_that_an_administrator_cancelled_is_an_error() {
    check(
        lock(&forever()),
        "busy cancelled unlocked",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait for ever
        0.000    cancelled    [failed: the server was told to cancel the wait], unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_lost_connection_is_asked_again_on_another() {
    check(
        lock(&forever()),
        "unknown next granted release unlocked",
        expect![[r#"
        0.000    start        try
        0.000    unknown
        5.464    Retry        try
        5.464    granted      [acquired]
        5.464    release      unlock
        5.464    unlocked     [closed, not clean]
    "#]],
    );
}

/// A single try that met a session on its way out failed, although the server was well.
#[test]
fn a_single_try_is_asked_again_on_another_session_a_few_times() {
    check(
        lock(&once()),
        "unknown next granted",
        expect![[r#"
        0.000    start        try
        0.000    unknown
        5.464    Retry        try
        5.464    granted      [acquired]
    "#]],
    );
    check(
        lock(&once()),
        "unknown next unknown next unknown next unknown",
        expect![[r#"
        0.000    start        try
        0.000    unknown
        5.464    Retry        try
        5.464    unknown
        19.941   Retry        try
        19.941   unknown
        46.493   Retry        try
        46.493   unknown      [failed: nobody knows], [closed, not clean]
    "#]],
    );
    check(
        lock(&once()),
        "unknown next not-sent",
        expect![[r#"
        0.000    start        try
        0.000    unknown
        5.464    Retry        try
        5.464    not-sent     [failed: too late], [closed, not clean]
    "#]],
    );
}

/// A release whose session ended was reported as a success, although the hold may have ended long
/// before.
#[test]
fn a_release_that_nobody_confirmed_says_that_the_lock_was_lost() {
    check(
        lock(&forever()),
        "granted release unknown",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired]
        0.000    release      unlock
        0.000    unknown      [lost: its session is gone], [closed, not clean]
    "#]],
    );
    check(
        lock(&forever()),
        "unknown next granted release unlocked",
        expect![[r#"
        0.000    start        try
        0.000    unknown
        5.464    Retry        try
        5.464    granted      [acquired]
        5.464    release      unlock
        5.464    unlocked     [closed, not clean]
    "#]],
    );
    check(
        lock(&within(500)),
        "busy expired next unknown",
        expect![[r#"
        0.000    start        try
        0.000    busy         wait within 500ms
        0.000    expired
        500.000  Budget       [timed out after 500ms], unlock
        500.000  unknown      [closed, not clean]
    "#]],
    );
}

#[test]
fn a_server_that_refuses_is_an_error_at_once() {
    check(
        lock(&forever()),
        "refused unlocked",
        expect![[r#"
        0.000    start        try
        0.000    refused      [failed: no space left], unlock
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_server_that_can_not_be_reached_is_the_error_of_a_time_out() {
    check(
        lock(&within(25)),
        "not-sent next not-sent next",
        expect![[r#"
        0.000    start        try
        0.000    not-sent
        5.464    Retry        try
        5.464    not-sent
        19.941   Retry        try
    "#]],
    );
}

#[test]
fn a_server_that_does_not_answer_is_the_error_of_a_time_out() {
    check(
        lock(&within(900)),
        "next granted unlocked-held",
        expect![[r#"
        0.000    start        try
        900.000  Budget       [failed: the server did not answer in time]
        900.000  granted      unlock
        900.000  unlocked-held [closed]
    "#]],
    );
    check(
        lock(&once()),
        "next next unknown unknown",
        expect![[r#"
        0.000    start        try
        5000.000 Budget       [failed: the server did not answer in time]
        15000.000 Retry        close
        15000.000 unknown      [closed, not clean]
        15000.000 unknown
    "#]],
    );
}

#[test]
fn the_end_of_the_session_is_the_loss_of_the_lock() {
    check(
        lock(&forever()),
        "granted disconnect",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired]
        0.000    disconnect   [lost: it was taken away], [closed, not clean]
    "#]],
    );
}

#[test]
fn a_release_that_finds_nothing_says_that_the_lock_was_lost() {
    check(
        lock(&forever()),
        "granted release unlocked-not-held",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired]
        0.000    release      unlock
        0.000    unlocked-not-held [lost: it was taken away], [closed]
    "#]],
    );
}

#[test]
fn a_ttl_is_kept_by_this_side() {
    let options = forever().with_ttl(Duration::from_secs(3));
    check(
        lock(&options),
        "granted next next release unlocked",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired until 3.000s]
        1000.000 Renewal      [extended until Some(4.000s)]
        2000.000 Renewal      [extended until Some(5.000s)]
        2000.000 release      unlock
        2000.000 unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_hold_has_the_limit_of_its_options() {
    let options = forever().with_max_hold(Duration::from_secs(3));
    check(
        lock(&options),
        "granted next unlocked",
        expect![[r#"
        0.000    start        try
        0.000    granted      [acquired]
        3000.000 HoldLimit    [lost: it was held for as long as max_hold allows], unlock
        3000.000 unlocked     [closed]
    "#]],
    );
}

impl Backend for PostgresLock {
    fn reply(word: &str, _now: Instant) -> Reply {
        match word {
            "granted" => Reply::Granted { fence: None },
            "busy" => Reply::Busy,
            "full" => Reply::Full,
            "soon" => Reply::Soon,
            "expired" => Reply::Expired,
            "cancelled" => Reply::Cancelled,
            "deadlock" => Reply::Deadlock("process 7 waits for process 8".into()),
            "unlocked" | "unlocked-held" => Reply::Unlocked(true),
            "unlocked-not-held" => Reply::Unlocked(false),
            "done" => Reply::Done,
            _ => panic!("no reply is called {word}"),
        }
    }

    fn describe(command: &Command) -> String {
        match command.verb {
            Verb::Wait { limit: Some(limit) } => format!("wait within {limit:?}"),
            Verb::Wait { limit: None } => "wait for ever".into(),
            verb @ (Verb::Try | Verb::Cancel | Verb::Unlock | Verb::Close) => {
                format!("{verb:?}").to_lowercase()
            }
        }
    }
}

/// Runs the script as whoever asks for a lock does, whatever kind of lock it is.
pub(crate) fn check(machine: AdvisoryLock, script: &str, expected: Expect) {
    timeline::check(PostgresLock::Advisory(machine), script, expected);
}

pub(crate) fn lock(options: &AcquireOptions) -> AdvisoryLock {
    let seed = Seed::from_bytes([7; 32]);
    AdvisoryLock::new(AdvisoryKey::Single(7), Mode::Exclusive, options, &seed, at(0))
        .expect("sensible options")
}

pub(crate) fn forever() -> AcquireOptions {
    AcquireOptions::new()
}

pub(crate) fn once() -> AcquireOptions {
    within(0)
}

pub(crate) fn within(millis: u64) -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(millis))
}
