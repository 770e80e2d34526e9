//! Waiting for a lock on several servers.

use expect_test::expect;
use lock_proto::redis::Side;
use lock_proto::{AcquireOptions, Backoff};

use crate::redlock::{lock, one_try, settings, three, within_ten_seconds};
use crate::timeline::{check, check_after, ms};

#[test]
fn who_waits_for_one_holder_asks_about_once_a_second() {
    check(
        three(within_ten_seconds()),
        "1:no@5 2:no@5 3:no@5 next 1:no@5 2:no@5 3:no@5",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no@5
            0.000    2:no@5
            0.000    3:no@5
            909.281  Retry        1: vote@1909281, 2: vote@1909281, 3: vote@1909281
            909.281  1:no@5
            909.281  2:no@5
            909.281  3:no@5
        "#]],
    );
}

#[test]
fn a_split_vote_is_given_back_at_once_and_repeated_after_a_rest() {
    check(
        three(within_ten_seconds()),
        "1:yes 2:no@5 3:no@7 1:done next 1:yes@+ 2:yes@+",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:yes
            0.000    2:no@5
            0.000    3:no@7       1: step back@1000000
            0.000    1:done
            5.464    Retry        1: vote@1005464, 2: vote@1005464, 3: vote@1005464
            5.464    1:yes@+
            5.464    2:yes@+      [acquired until 29.703s with fence 1005464]
        "#]],
    );
}

#[test]
fn a_message_makes_a_waiter_vote_at_once() {
    check(
        three(within_ten_seconds()),
        "1:no 2:no 3:no +300ms told 1:yes@1300000 2:yes@1300000 3:yes@1300000",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:no
            0.000    3:no
            300.000  told         1: vote@1300000, 2: vote@1300000, 3: vote@1300000
            300.000  1:yes@1300000
            300.000  2:yes@1300000 [acquired until 29.998s with fence 1300000]
            300.000  3:yes@1300000
        "#]],
    );
}

#[test]
fn a_nudge_makes_a_waiter_vote_at_once() {
    check(
        three(within_ten_seconds()),
        "1:no@5 2:no@5 3:no@5 +20ms nudge",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no@5
            0.000    2:no@5
            0.000    3:no@5
            20.000   nudge        1: vote@1020000, 2: vote@1020000, 3: vote@1020000
        "#]],
    );
}

#[test]
fn a_message_during_a_vote_makes_a_lost_one_be_repeated_at_once() {
    // The other servers have given the lock back in the meantime. What the first vote got is kept:
    // the second asks for it with the same token at a higher ballot (R1, R19).
    check(
        three(within_ten_seconds()),
        "1:no 2:no 3:no +300ms told told 1:yes@+ 2:no 3:no 1:yes@1300001 2:yes@1300001",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:no
            0.000    3:no
            300.000  told         1: vote@1300000, 2: vote@1300000, 3: vote@1300000
            300.000  told
            300.000  1:yes@+
            300.000  2:no
            300.000  3:no         1: vote@1300001, 2: vote@1300001, 3: vote@1300001
            300.000  1:yes@1300001
            300.000  2:yes@1300001 [acquired until 29.998s with fence 1300001]
        "#]],
    );
}

#[test]
fn what_gives_a_vote_back_names_its_ballot() {
    // R1: the answer to it is lost. It may be carried out after the next vote, which is safe from
    // it because its ballot is higher.
    check(
        three(within_ten_seconds()),
        "1:yes 2:no 3:no@3 1:unknown next 1:yes@+ 2:yes@+",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:yes
            0.000    2:no
            0.000    3:no@3       1: step back@1000000
            0.000    1:unknown
            5.464    Retry        1: vote@1005464, 2: vote@1005464, 3: vote@1005464
            5.464    1:yes@+
            5.464    2:yes@+      [acquired until 29.703s with fence 1005464]
        "#]],
    );
}

#[test]
fn a_waiter_that_runs_out_of_time_leaves_the_queues() {
    let options = AcquireOptions::new().with_timeout(ms(1500));
    check(
        three(options),
        "1:no 2:no 3:no next 1:no 2:no 3:no next 1:no 2:no 3:no 1:done 2:done 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:no
            0.000    3:no
            909.281  Retry        1: vote@1909281, 2: vote@1909281, 3: vote@1909281
            909.281  1:no
            909.281  2:no
            909.281  3:no
            1500.000 Retry        1: vote@2500000, 2: vote@2500000, 3: vote@2500000
            1500.000 1:no
            1500.000 2:no         [timed out after 1.5s], 1: quit, 2: quit
            1500.000 3:no         3: quit
            1500.000 1:done
            1500.000 2:done
            1500.000 3:done       [closed]
        "#]],
    );
}

#[test]
fn a_cancelled_vote_gives_late_yeses_back() {
    check(
        three(within_ten_seconds()),
        "1:yes release 1:done 2:no 3:yes 2:done 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:yes
            0.000    release      1: quit
            0.000    1:done
            0.000    2:no         2: quit
            0.000    3:yes        3: quit
            0.000    2:done
            0.000    3:done       [closed]
        "#]],
    );
}

#[test]
fn a_vote_that_is_lost_before_the_last_answer_keeps_its_place() {
    // The dead server was once counted together with the one that had not answered yet, so the
    // waiter left every queue, and no release woke it.
    check(
        three(within_ten_seconds()),
        "1:no 2:not-sent 3:no next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:not-sent
            0.000    3:no
            5.464    Retry        1: vote@1005464, 2: vote@1005464, 3: vote@1005464
        "#]],
    );
}

#[test]
fn a_waiter_whose_majority_is_unreachable_for_a_second_keeps_no_place() {
    check(
        three(within_ten_seconds()),
        "1:no 2:not-sent 3:not-sent +999ms timeout 1:no 2:not-sent 3:not-sent +1ms timeout next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:not-sent
            0.000    3:not-sent
            999.000  timeout      1: vote@1999000, 2: vote@1999000, 3: vote@1999000
            999.000  1:no
            999.000  2:not-sent
            999.000  3:not-sent
            1000.000 timeout      1: step back@1999000, leave
            1013.477 Retry        2: vote@2013477, at once, 3: vote@2013477, at once
        "#]],
    );
}

#[test]
fn an_answer_that_is_late_costs_no_place() {
    // One server is dead, so both others have to answer. The next vote began before the slower one
    // had, so the waiter left every queue, and those behind it went first.
    check(
        three(within_ten_seconds()),
        "1:not-sent 2:no@5 next next 3:no@5 1:not-sent 2:no@5 next 1:not-sent 2:no@5 3:no@5 next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:not-sent
            0.000    2:no@5
            5.464    Retry        1: vote@1005464, 2: vote@1005464
            55.464   Retry
            55.464   3:no@5
            55.464   1:not-sent
            55.464   2:no@5
            69.941   Retry        1: vote@1069941, 2: vote@1069941, 3: vote@1069941
            69.941   1:not-sent
            69.941   2:no@5
            69.941   3:no@5
            96.493   Retry        1: vote@1096493, 2: vote@1096493, 3: vote@1096493
        "#]],
    );
}

#[test]
fn a_server_slower_than_the_rests_costs_no_place() {
    // It has never answered before the next vote begins, and one server is dead: no vote shows that
    // a majority is there.
    let rests = Backoff::new(ms(10), ms(10)).unwrap();
    let vote = "1:not-sent 2:no@5 +10ms timeout";
    let late = format!("1:not-sent 2:no@5 +2ms 3:no@5 +8ms timeout {vote} ");
    check_after(
        three(within_ten_seconds().with_backoff(rests)),
        &format!("{vote} {}", late.repeat(60)),
        &late,
        expect![[r#"
            1210.000 1:not-sent
            1210.000 2:no@5
            1212.000 3:no@5
            1220.000 timeout      1: vote@2220000, 2: vote@2220000, 3: vote@2220000
            1220.000 1:not-sent
            1220.000 2:no@5
            1230.000 timeout      1: vote@2230000, 2: vote@2230000
        "#]],
    );
}

#[test]
fn a_waiter_that_kept_no_place_does_not_rest_as_if_it_would_be_woken() {
    // It rested for a second in front of one holder, stood in no queue, and no release woke it.
    check(
        three(within_ten_seconds()),
        "1:not-sent 2:not-sent 3:not-sent +1s timeout \
         1:no@5 2:no@5 3:no@5 next 1:no@5 2:no@5 3:no@5 next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:not-sent
            0.000    2:not-sent
            0.000    3:not-sent
            1000.000 timeout      1: vote@2000000, at once, 2: vote@2000000, at once, 3: vote@2000000, at once
            1000.000 1:no@5
            1000.000 2:no@5
            1000.000 3:no@5
            1014.477 Retry        1: vote@2014477, 2: vote@2014477, 3: vote@2014477
            1014.477 1:no@5
            1014.477 2:no@5
            1014.477 3:no@5
            1947.237 Retry        1: vote@2947237, 2: vote@2947237, 3: vote@2947237
        "#]],
    );
}

#[test]
fn nudges_while_answers_are_owed_cost_no_place() {
    // The second of them counted as a second of silence, so the waiter left every queue.
    check(
        three(within_ten_seconds()),
        "nudge 1:no 2:no 1:no nudge nudge 2:no",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    nudge
            0.000    1:no
            0.000    2:no         1: vote@1000001, 2: vote@1000001
            0.000    1:no
            0.000    nudge
            0.000    nudge
            0.000    2:no         1: vote@1000002, 2: vote@1000002
        "#]],
    );
}

#[test]
fn a_lost_vote_that_is_to_be_repeated_waits_for_the_answers_that_are_owed() {
    // They had the time of one short rest, then the waiter left every queue.
    check(
        three(within_ten_seconds()),
        "1:no 2:no told told 1:no next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:no
            0.000    told         1: vote@1000001, 2: vote@1000001
            0.000    told
            0.000    1:no
            1000.000 Retry        1: step back@1000001, leave
        "#]],
    );
}

#[test]
fn an_answer_that_is_late_each_time_is_waited_for_longer_each_time() {
    // All servers have become slower than was thought: no vote would ever be won.
    check(
        three(within_ten_seconds()),
        "1:yes next +5ms 2:yes 3:yes +60ms 1:done 2:done +80ms 1:yes@1115000 2:yes@1115000",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:yes
            50.000   Retry        1: step back@1000000
            55.000   2:yes        2: step back@1000000
            55.000   3:yes        3: step back@1000000
            115.000  1:done
            115.000  2:done       1: vote@1115000, 2: vote@1115000
            195.000  1:yes@1115000
            195.000  2:yes@1115000 [acquired until 29.813s with fence 1115000]
        "#]],
    );
}

#[test]
fn rests_are_never_so_long_that_a_waiter_counts_as_dead() {
    let rests = Backoff::new(ms(60_000), ms(60_000)).unwrap();
    let options = within_ten_seconds().with_backoff(rests);
    check(
        three(options),
        "1:no@1 2:no@2 3:no@3 next",
        expect![[r#"
        0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
        0.000    1:no@1
        0.000    2:no@2
        0.000    3:no@3
        1000.000 Retry        1: vote@2000000, 2: vote@2000000, 3: vote@2000000
    "#]],
    );
}

#[test]
fn readers_vote_as_writers_do() {
    check(
        lock(&[ms(50); 3], Side::Shared, &one_try(), &settings()),
        "1:yes@0 2:yes@0 1:yes@1000001 2:yes@1000001 release",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes@0
            0.000    2:yes@0      1: vote@1000001, at once, 2: vote@1000001, at once
            0.000    1:yes@1000001
            0.000    2:yes@1000001 [acquired until 29.698s with fence 1000001]
            0.000    release      1: quit, 2: quit
        "#]],
    );
}
