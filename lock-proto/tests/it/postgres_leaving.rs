//! What was asked on PostgreSQL is answered after nobody wants the lock any more.

use expect_test::expect;

use crate::postgres_timelines::{check, forever, lock};

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
