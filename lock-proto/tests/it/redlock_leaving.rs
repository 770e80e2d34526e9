//! Giving a lock back that stands on several servers, some of which do not answer.

use expect_test::expect;

use crate::redlock::{one_try, three};
use crate::timeline::{check, ms};

#[test]
fn a_release_that_is_lost_is_repeated_less_and_less_often() {
    check(
        three(one_try()),
        "1:yes 2:yes 3:yes release 1:done 2:unknown 3:done next 2:unknown next 2:not-sent next 2:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 29.698s with fence 1000000]
            0.000    3:yes
            0.000    release      1: quit, 2: quit, 3: quit
            0.000    1:done
            0.000    2:unknown
            0.000    3:done       [released]
            50.000   Retry        2: quit
            50.000   2:unknown
            150.000  Retry        2: quit
            150.000  2:not-sent
            350.000  Retry        2: quit
            350.000  2:done       [closed]
        "#]],
    );
}

#[test]
fn when_the_time_to_leave_is_over_nothing_more_is_asked() {
    check(
        three(one_try()),
        "1:yes 2:yes 3:yes release 1:done 2:unknown 3:done +5s timeout",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 29.698s with fence 1000000]
            0.000    3:yes
            0.000    release      1: quit, 2: quit, 3: quit
            0.000    1:done
            0.000    2:unknown
            0.000    3:done       [released]
            5000.000 timeout      [closed, not clean]
        "#]],
    );
}

#[test]
fn what_was_lost_is_feared_until_it_can_not_come_any_more() {
    let options = one_try().with_ttl(ms(9000));
    let until = |wait: &str| {
        format!("1:unknown 2:yes 3:yes extend=30s 1:kept 2:kept 3:kept {wait} release")
    };
    check(
        three(options.clone()),
        &until("+18999ms"),
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:unknown
        0.000    2:yes
        0.000    3:yes        [acquired until 8.908s with fence 1000000]
        0.000    extend=30s   1: keep@1000000 for 30s, 2: keep@1000000 for 30s, 3: keep@1000000 for 30s
        0.000    1:kept
        0.000    2:kept       [extended until Some(29.698s)]
        0.000    3:kept
        18999.000 release      1: quit, refused for 10s, 2: quit, 3: quit
    "#]],
    );
    check(
        three(options),
        &until("+19s"),
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:unknown
        0.000    2:yes
        0.000    3:yes        [acquired until 8.908s with fence 1000000]
        0.000    extend=30s   1: keep@1000000 for 30s, 2: keep@1000000 for 30s, 3: keep@1000000 for 30s
        0.000    1:kept
        0.000    2:kept       [extended until Some(29.698s)]
        0.000    3:kept
        19000.000 release      1: quit, 2: quit, 3: quit
    "#]],
    );
}

#[test]
fn servers_that_had_no_time_to_answer_are_no_error() {
    let within = |millis| three(one_try().with_timeout(ms(millis)));
    check(
        within(40),
        "next",
        expect![[r#"
        0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
        50.000   Retry        [timed out after 40ms]
    "#]],
    );
    // Half a second is time enough.
    check(
        within(500),
        "+500ms timeout",
        expect![[r#"
        0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
        500.000  timeout      [failed: too few of the servers answered in time to make a majority]
    "#]],
    );
}
