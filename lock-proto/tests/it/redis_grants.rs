//! A lock on one Redis server that is granted to a waiter, by a message that may come late.

use expect_test::expect;
use lock_proto::AcquireOptions;

use crate::redis_timelines::{check, mutex, within_ten_seconds};

#[test]
fn a_grant_for_a_refresh_of_long_ago_is_asked_for_anew() {
    // R11: the claim counts from the refresh that the message names, as long as that counts.
    check(
        mutex(AcquireOptions::new()),
        "busy queued=30000/0 +2500ms grant=7/1",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            2500.000 grant=7/1    [acquired until 2.968s with fence 7]
        "#]],
    );
    check(
        mutex(AcquireOptions::new()),
        "busy queued=30000/0 +2501ms grant=7/1",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            2501.000 grant=7/1    enter Exclusive for 30s, wait, stamp 2
        "#]],
    );
}

#[test]
fn a_hint_has_the_server_asked_at_once() {
    check(
        mutex(AcquireOptions::new()),
        "busy queued=30000/0 +300ms nudge queued=29700/0",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            300.000  nudge        enter Exclusive for 30s, wait, stamp 2
            300.000  queued=29700/0
        "#]],
    );
}

#[test]
fn a_grant_that_comes_when_the_time_is_up_is_given_back() {
    check(
        mutex(within_ten_seconds()),
        "+9999ms busy queued=30000/0 +1ms grant=7/1",
        expect![[r#"
            0.000    start        take for 30s
            9999.000 busy         enter Exclusive for 30s, wait, stamp 1
            9999.000 queued=30000/0
            10000.000 grant=7/1    [timed out after 10s], leave
        "#]],
    );
}
