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
}
