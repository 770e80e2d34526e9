//! An advisory lock that others were just found to hold.

use expect_test::expect;
use lock_proto::AcquireOptions;
use lock_proto::postgres::AdvisoryLock;

use crate::postgres_timelines::{check, forever, lock, within};
use crate::timeline::at;

#[test]
fn who_knows_of_others_waits_at_once() {
    check(
        queueing(&within(500)),
        "+100ms granted release unlocked",
        expect![[r#"
        0.000    start        wait within 500ms
        100.000  granted      [acquired]
        100.000  release      unlock
        100.000  unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_single_try_asks_nobody_to_wait() {
    check(
        queueing(&within(0)),
        "busy",
        expect![[r#"
        0.000    start        try
        0.000    busy         [timed out after 0ns], [closed]
    "#]],
    );
}

/// A pool without a session to wait on may have one to try on.
#[test]
fn who_has_no_session_to_wait_on_tries_at_once() {
    check(
        queueing(&forever()),
        "full busy full next granted release unlocked",
        expect![[r#"
        0.000    start        wait for ever
        0.000    full         try
        0.000    busy         wait for ever
        0.000    full
        5.464    Retry        try
        5.464    granted      [acquired]
        5.464    release      unlock
        5.464    unlocked     [closed]
    "#]],
    );
}

fn queueing(options: &AcquireOptions) -> AdvisoryLock {
    lock(options).queueing(at(0))
}
