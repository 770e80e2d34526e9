//! A lock on one Redis server at the edges: the last moment, the oldest refresh, the rarest answer.

use expect_test::expect;
use lock_proto::redis::Side;
use lock_proto::{AcquireOptions, Renewal};

use crate::redis_timelines::{check, lock, mutex, settings, within_ten_seconds};
use crate::timeline::ms;

#[test]
fn a_lease_of_the_least_validity_is_enough() {
    check(
        mutex(within_ten_seconds()),
        "+2698ms set",
        expect![[r#"
        0.000    start        take for 30s
        2698.000 set          [acquired until 29.698s with fence 1700000000000000]
    "#]],
    );
}

#[test]
fn a_lease_of_little_validity_may_be_enough_and_is_renewed_at_once() {
    let settings = settings().with_min_validity(ms(5_000)).checked().expect("less than the expiry");
    check(
        lock(Side::Exclusive, &AcquireOptions::new(), &settings),
        "+24s set next",
        expect![[r#"
            0.000    start        take for 30s
            24000.000 set          [acquired until 29.698s with fence 1700000000000000], extend to 30s
            29698.000 Expiry       [lost: its lease ran out], give back
        "#]],
    );
}

#[test]
fn a_renewal_that_is_answered_as_the_lease_ends_comes_too_late() {
    check(
        mutex(AcquireOptions::new()),
        "set next +20s yes",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        9698.000 Renewal      extend to 30s
        29698.000 yes          [lost: its lease ran out], give back
    "#]],
    );
}

#[test]
fn the_first_fence_that_a_clock_can_have_given_is_one() {
    check(
        mutex(AcquireOptions::new()),
        "set=1600000000000000",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set=1600000000000000 [acquired until 29.698s with fence 1600000000000000]
    "#]],
    );
    check(
        mutex(AcquireOptions::new()),
        "set=1599999999999999",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set=1599999999999999 mint
    "#]],
    );
}

#[test]
fn a_claim_that_was_long_on_its_way_is_renewed_while_there_is_time() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 +2600ms grant=7/1 next",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            2600.000 grant=7/1    enter Exclusive for 30s, wait, stamp 2
            10000.000 Budget       [failed: the server did not answer in time], leave, refused for 10s
        "#]],
    );
}

#[test]
fn a_renewal_of_ones_own_goes_before_that_of_the_settings() {
    let settings = settings().with_extension_cadence(ms(5000));
    let own = AcquireOptions::new().with_renewal(Renewal::Every(ms(2000)));
    check(
        lock(Side::Exclusive, &own, &settings),
        "set next",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        1698.000 Renewal      extend to 30s
    "#]],
    );
    let none = AcquireOptions::new();
    check(
        lock(Side::Exclusive, &none, &settings),
        "set next",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        4698.000 Renewal      extend to 30s
    "#]],
    );
}

#[test]
fn a_message_of_a_refresh_that_is_yet_to_come_or_forgotten_is_no_grant() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 grant=7/2",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    queued=30000/0
        0.000    grant=7/2    enter Exclusive for 30s, wait, stamp 2
    "#]],
    );
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 grant=7/0",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    queued=30000/0
        0.000    grant=7/0    enter Exclusive for 30s, wait, stamp 2
    "#]],
    );
    // Where the moment of the second stood, that of the tenth stands now.
    let refreshes = "queued=30000/0 +10ms nudge ".repeat(10);
    check(
        mutex(within_ten_seconds()),
        &format!("busy {refreshes} queued=30000/0 grant=7/2"),
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            10.000   nudge        enter Exclusive for 30s, wait, stamp 2
            10.000   queued=30000/0
            20.000   nudge        enter Exclusive for 30s, wait, stamp 3
            20.000   queued=30000/0
            30.000   nudge        enter Exclusive for 30s, wait, stamp 4
            30.000   queued=30000/0
            40.000   nudge        enter Exclusive for 30s, wait, stamp 5
            40.000   queued=30000/0
            50.000   nudge        enter Exclusive for 30s, wait, stamp 6
            50.000   queued=30000/0
            60.000   nudge        enter Exclusive for 30s, wait, stamp 7
            60.000   queued=30000/0
            70.000   nudge        enter Exclusive for 30s, wait, stamp 8
            70.000   queued=30000/0
            80.000   nudge        enter Exclusive for 30s, wait, stamp 9
            80.000   queued=30000/0
            90.000   nudge        enter Exclusive for 30s, wait, stamp 10
            90.000   queued=30000/0
            100.000  nudge        enter Exclusive for 30s, wait, stamp 11
            100.000  queued=30000/0
            100.000  grant=7/2    enter Exclusive for 30s, wait, stamp 12
        "#]],
    );
}

#[test]
fn a_script_that_was_refused_may_have_come_half_way() {
    check(
        mutex(within_ten_seconds()),
        "busy refused yes",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    refused      [failed: no space left], leave
        0.000    yes          [closed]
    "#]],
    );
}

#[test]
fn a_question_that_can_not_take_the_lock_leaves_no_doubt_when_it_is_lost() {
    check(
        mutex(AcquireOptions::new()),
        "set next unknown release yes",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        9698.000 Renewal      extend to 30s
        9698.000 unknown
        9698.000 release      give back
        9698.000 yes          [closed]
    "#]],
    );
    check(
        mutex(AcquireOptions::new()),
        "set=3 unknown release yes",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set=3        mint
        0.000    unknown
        0.000    release      give back
        0.000    yes          [closed]
    "#]],
    );
}

#[test]
fn an_extension_on_its_way_is_no_reason_to_have_the_token_refused() {
    check(
        mutex(AcquireOptions::new()),
        "set next release yes! yes",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        9698.000 Renewal      extend to 30s
        9698.000 release      give back
        9698.000 yes!         [closed]
        9698.000 yes
    "#]],
    );
}

#[test]
fn a_question_that_was_lost_stays_in_doubt_after_the_next_answer() {
    // R5: it may arrive after every release.
    check(
        mutex(within_ten_seconds()),
        "unknown next yes=4 release yes next yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    unknown
            5.464    Retry        enter Exclusive for 30s, wait, stamp 1
            5.464    yes=4        [acquired until 29.703s with fence 4]
            5.464    release      leave, refused for 10s
            5.464    yes
            505.464  Retry        leave, refused for 10s
            505.464  yes          [closed, not clean]
        "#]],
    );
}

#[test]
fn a_release_that_is_refused_is_not_repeated() {
    check(
        mutex(AcquireOptions::new()),
        "set release refused",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        0.000    release      give back
        0.000    refused      [closed, not clean]
    "#]],
    );
}
