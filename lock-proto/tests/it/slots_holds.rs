//! Permits on several servers, held and let go.

use expect_test::{Expect, expect};
use lock_proto::{AcquireOptions, Renewal};

use crate::redlock::{one_try, within_ten_seconds};
use crate::slots::slots;
use crate::timeline::{check, check_after, ms, permits};

/// What is answered while the gate, then the only slot are taken, and the gate is left.
const ONE: &str =
    "1:yes 2:yes 3:yes 1:yes@1000001 2:yes@1000001 3:yes@1000001 1:done 2:done 3:done";

/// The only permit, from when it is held on.
fn check_held(options: &AcquireOptions, script: &str, expected: Expect) {
    check_after(slots(permits(1, 1), options), ONE, script, expected);
}

#[test]
fn held_permits_are_prolonged_in_time() {
    let script = format!("{ONE} next 1:kept 2:kept 3:kept next");
    check(
        slots(permits(1, 1), &one_try()),
        &script,
        expect![[r#"
        0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
        0.000    1:yes
        0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once
        0.000    3:yes
        0.000    1:yes@1000001
        0.000    2:yes@1000001 [acquired until 29.698s with fence 1000000], gate 1: quit, gate 2: quit, gate 3: quit
        0.000    3:yes@1000001
        0.000    1:done
        0.000    2:done
        0.000    3:done
        9698.000 Renewal      permit:0 1: keep@1000001 for 30s, permit:0 2: keep@1000001 for 30s, permit:0 3: keep@1000001 for 30s
        9698.000 1:kept
        9698.000 2:kept       [extended until Some(39.396s)]
        9698.000 3:kept
        19396.000 Renewal      permit:0 1: keep@1000001 for 30s, permit:0 2: keep@1000001 for 30s, permit:0 3: keep@1000001 for 30s
    "#]],
    );
}

#[test]
fn held_permits_that_nobody_can_prolong_are_lost_with_their_lease() {
    let options = one_try().with_renewal(Renewal::Off);
    check_held(
        &options,
        "next next",
        expect![[r#"
        19698.000 Warning      [warned: it runs out at 29.698s]
        29698.000 Expiry       [lost: its lease ran out], permit:0 1: quit, permit:0 2: quit, permit:0 3: quit
    "#]],
    );
}

#[test]
fn held_permits_are_prolonged_by_hand() {
    check_held(
        &one_try(),
        "extend=60s 1:kept 2:kept",
        expect![[r#"
        0.000    extend=60s   permit:0 1: keep@1000001 for 60s, permit:0 2: keep@1000001 for 60s, permit:0 3: keep@1000001 for 60s
        0.000    1:kept
        0.000    2:kept       [extended until Some(59.398s)]
    "#]],
    );
}

#[test]
fn held_permits_that_a_majority_says_are_anothers_are_lost() {
    check_held(
        &one_try(),
        "next 1:no 2:no",
        expect![[r#"
        9698.000 Renewal      permit:0 1: keep@1000001 for 30s, permit:0 2: keep@1000001 for 30s, permit:0 3: keep@1000001 for 30s
        9698.000 1:no
        9698.000 2:no         [lost: it was taken away], permit:0 1: quit, permit:0 2: quit
    "#]],
    );
}

#[test]
fn held_permits_that_are_taken_away_are_lost() {
    check_held(
        &one_try(),
        "disconnect",
        expect![[r#"
        0.000    disconnect   [lost: it was taken away], permit:0 1: quit, permit:0 2: quit, permit:0 3: quit
    "#]],
    );
}

#[test]
fn a_wait_at_the_gate_ends_with_the_time_of_the_whole() {
    check(
        slots(permits(1, 1), &AcquireOptions::new().with_timeout(ms(500))),
        "1:no 2:no 3:no next 1:no 2:no 3:no",
        expect![[r#"
        0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
        0.000    1:no
        0.000    2:no
        0.000    3:no
        500.000  Retry        gate 1: vote@1500000, gate 2: vote@1500000, gate 3: vote@1500000
        500.000  1:no
        500.000  2:no         [timed out after 500ms], gate 1: quit, gate 2: quit
        500.000  3:no         gate 3: quit
    "#]],
    );
}

#[test]
fn a_nudge_makes_a_waiter_at_the_gate_vote_at_once() {
    check(
        slots(permits(1, 1), &within_ten_seconds()),
        "1:no 2:no 3:no +20ms nudge",
        expect![[r#"
        0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
        0.000    1:no
        0.000    2:no
        0.000    3:no
        20.000   nudge        gate 1: vote@1020000, gate 2: vote@1020000, gate 3: vote@1020000
    "#]],
    );
}

#[test]
fn permits_that_could_not_be_given_back_everywhere_are_not_clean() {
    check_held(
        &one_try(),
        "release 1:done 2:done +5s timeout",
        expect![[r#"
        0.000    release      permit:0 1: quit, permit:0 2: quit, permit:0 3: quit
        0.000    1:done
        0.000    2:done       [released]
        5000.000 timeout      [closed, not clean]
    "#]],
    );
}

#[test]
fn as_many_slots_are_tried_at_once_as_are_missing() {
    check(
        slots(permits(2, 5), &one_try()),
        "1:yes 2:yes 3:yes 1:yes@1000001 2:yes@1000001 3:yes@1000001 1:no 2:no 3:no",
        expect![[r#"
        0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
        0.000    1:yes
        0.000    2:yes        permit:4 1: vote@1000001, at once, permit:4 2: vote@1000001, at once, permit:4 3: vote@1000001, at once, permit:0 1: vote@1000002, at once, permit:0 2: vote@1000002, at once, permit:0 3: vote@1000002, at once
        0.000    3:yes
        0.000    1:yes@1000001
        0.000    2:yes@1000001
        0.000    3:yes@1000001
        0.000    1:no
        0.000    2:no         permit:1 1: vote@1000003, at once, permit:1 2: vote@1000003, at once, permit:1 3: vote@1000003, at once
        0.000    3:no
    "#]],
    );
}

#[test]
fn a_single_try_is_over_when_its_servers_have_had_their_time() {
    check(
        slots(permits(1, 1), &one_try()),
        "1:yes 2:yes 3:yes next",
        expect![[r#"
        0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
        0.000    1:yes
        0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once
        0.000    3:yes
        50.000   Retry        [failed: too few of the servers answered in time to make a majority], gate 1: quit, gate 2: quit, gate 3: quit
    "#]],
    );
}

#[test]
fn permits_that_came_at_once_beyond_those_wanted_are_let_go() {
    // The first came so early that it is prolonged first, and meanwhile both of the others came.
    let gate = "1:yes 2:yes 3:yes";
    let first = "1:yes@1000001 2:yes@1000001 3:yes@1000001";
    let refused = "1:no 2:no 3:no";
    let second = "1:yes@6000004 2:yes@6000004 3:yes@6000004";
    let third = "1:yes@6000005 2:yes@6000005 3:yes@6000005";
    let kept = "1:kept 2:kept 3:kept";
    check(
        slots(permits(2, 3), &within_ten_seconds()),
        &format!(
            "{gate} {first} {refused} {refused} {refused} {refused} \
             +5s told=1000004 told=1000005 {second} {third} {kept} {kept}"
        ),
        expect![[r#"
        0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
        0.000    1:yes
        0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once, permit:1 1: vote@1000002, at once, permit:1 2: vote@1000002, at once, permit:1 3: vote@1000002, at once
        0.000    3:yes
        0.000    1:yes@1000001
        0.000    2:yes@1000001
        0.000    3:yes@1000001
        0.000    1:no
        0.000    2:no         permit:2 1: vote@1000003, at once, permit:2 2: vote@1000003, at once, permit:2 3: vote@1000003, at once
        0.000    3:no
        0.000    1:no
        0.000    2:no         permit:1 1: vote@1000004, permit:1 2: vote@1000004, permit:1 3: vote@1000004, permit:2 1: vote@1000005, permit:2 2: vote@1000005, permit:2 3: vote@1000005
        0.000    3:no
        0.000    1:no
        0.000    2:no
        0.000    3:no
        0.000    1:no
        0.000    2:no
        0.000    3:no
        5000.000 told=1000004 permit:1 1: vote@6000004, permit:1 2: vote@6000004, permit:1 3: vote@6000004
        5000.000 told=1000005 permit:2 1: vote@6000005, permit:2 2: vote@6000005, permit:2 3: vote@6000005
        5000.000 1:yes@6000004
        5000.000 2:yes@6000004 permit:0 1: keep@1000001 for 30s, permit:0 2: keep@1000001 for 30s, permit:0 3: keep@1000001 for 30s, permit:1 1: keep@6000004 for 30s, permit:1 2: keep@6000004 for 30s
        5000.000 3:yes@6000004
        5000.000 1:yes@6000005
        5000.000 2:yes@6000005
        5000.000 3:yes@6000005
        5000.000 1:kept
        5000.000 2:kept       [acquired until 34.698s with fence 1000000], gate 1: quit, gate 2: quit, gate 3: quit, permit:2 1: quit, permit:2 2: quit, permit:2 3: quit
        5000.000 3:kept
        5000.000 1:kept
        5000.000 2:kept
        5000.000 3:kept
    "#]],
    );
}
