//! Holding a lock on several servers: renewals, loss and release.

use expect_test::expect;
use lock_proto::{AcquireOptions, Renewal};

use crate::redlock::{one_try, three};
use crate::timeline::{check, ms};

const HELD: &str = "1:yes 2:yes 3:yes";

#[test]
fn a_majority_prolongs() {
    play(
        "next 1:kept 2:not-sent 3:kept",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:yes        [acquired until 2.968s with fence 1000000]
        0.000    3:yes
        968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
        968.000  1:kept
        968.000  2:not-sent
        968.000  3:kept       [extended until Some(3.936s)]
    "#]],
    );
}

#[test]
fn errors_and_silence_are_not_a_no() {
    play(
        "next 1:not-sent 2:refused 3:kept next 1:kept 2:unknown 3:unknown next 1:kept 2:kept",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            968.000  1:not-sent
            968.000  2:refused
            968.000  3:kept
            974.638  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            974.638  1:kept
            974.638  2:unknown
            974.638  3:unknown
            987.084  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            987.084  1:kept
            987.084  2:kept       [extended until Some(3.955s)]
        "#]],
    );
}

#[test]
fn a_majority_that_says_it_is_anothers_is_a_loss_at_once() {
    play(
        "next 1:no 3:no 1:done 2:kept 2:done 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            968.000  1:no
            968.000  3:no         [lost: it was taken away], 1: quit, 3: quit
            968.000  1:done
            968.000  2:kept       2: quit
            968.000  2:done       [released]
            968.000  3:done       [closed]
        "#]],
    );
}

#[test]
fn a_minority_that_says_it_is_anothers_is_no_loss() {
    play(
        "next 1:no 2:kept 3:not-sent next 1:no 2:kept 3:kept",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            968.000  1:no
            968.000  2:kept
            968.000  3:not-sent
            976.350  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            976.350  1:no
            976.350  2:kept
            976.350  3:kept       [extended until Some(3.944s)]
        "#]],
    );
}

#[test]
fn silence_is_a_loss_at_the_deadline_itself() {
    play(
        &format!("next 1:not-sent {}", "next ".repeat(19)),
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            968.000  1:not-sent
            1018.000 Renewal
            1024.638 Renewal
            1041.339 Renewal
            1073.255 Renewal
            1123.041 Renewal
            1277.277 Renewal
            1409.844 Renewal
            1604.858 Renewal
            1724.644 Renewal
            1852.800 Renewal
            1968.000 Warning      [warned: it runs out at 2.968s]
            1988.949 Renewal
            2137.842 Renewal
            2280.051 Renewal
            2414.361 Renewal
            2536.355 Renewal
            2718.687 Renewal
            2874.009 Renewal
            2968.000 Expiry       [lost: its lease ran out], 1: quit
        "#]],
    );
}

#[test]
fn a_renewal_that_is_answered_after_the_lease_ended_does_not_bring_it_back() {
    // (g), R3: the keys may have been taken again, after another had held the lock.
    play(
        "next +2s 1:kept 2:kept 3:kept",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:yes        [acquired until 2.968s with fence 1000000]
        0.000    3:yes
        968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
        2968.000 1:kept       [lost: its lease ran out], 1: quit
        2968.000 2:kept       2: quit
        2968.000 3:kept       3: quit
    "#]],
    );
}

#[test]
fn validity_counts_from_the_renewal_s_request() {
    // R2.
    play(
        "next +20ms 1:kept +20ms 2:kept",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:yes        [acquired until 2.968s with fence 1000000]
        0.000    3:yes
        968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
        988.000  1:kept
        1008.000 2:kept       [extended until Some(3.936s)]
    "#]],
    );
}

#[test]
fn a_server_that_owes_an_answer_sits_out_the_next_renewal() {
    // R2: the answer to an earlier renewal came in time for a later one, and was counted with it.
    play(
        "next 1:kept next 2:kept next 1:kept 3:kept 2:kept",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            968.000  Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s, 3: keep@1000000 for 3s
            968.000  1:kept
            1018.000 Renewal
            1018.000 2:kept
            1024.638 Renewal      1: keep@1000000 for 3s, 2: keep@1000000 for 3s
            1024.638 1:kept
            1024.638 3:kept
            1024.638 2:kept       [extended until Some(3.992s)]
        "#]],
    );
}

#[test]
fn a_server_without_the_lock_is_asked_to_take_it_after_the_majority() {
    // R20.
    check(
        three(AcquireOptions::new()),
        "1:not-sent 2:yes 3:yes next 1:not-sent next 1:kept",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:not-sent
            0.000    2:yes
            0.000    3:yes        [acquired until 29.698s with fence 1000000]
            5.464    Renewal      1: keep@1000000 for 30s
            5.464    1:not-sent
            12.702   Renewal      1: keep@1000000 for 30s
            12.702   1:kept
        "#]],
    );
}

#[test]
fn a_server_that_has_forgotten_the_lock_takes_it_again_with_each_renewal() {
    // (c), as far as it can be helped: the next renewal closes the gap, and every server is asked.
    check(
        three(AcquireOptions::new()),
        "1:no 2:yes 3:yes next 1:no next 1:no next 1:no next 1:kept 2:kept 3:kept",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:no
            0.000    2:yes
            0.000    3:yes        [acquired until 29.698s with fence 1000000]
            5.464    Renewal      1: keep@1000000 for 30s
            5.464    1:no
            12.702   Renewal      1: keep@1000000 for 30s
            12.702   1:no
            25.978   Renewal      1: keep@1000000 for 30s
            25.978   1:no
            9698.000 Renewal      1: keep@1000000 for 30s, 2: keep@1000000 for 30s, 3: keep@1000000 for 30s
            9698.000 1:kept
            9698.000 2:kept       [extended until Some(39.396s)]
            9698.000 3:kept
        "#]],
    );
}

#[test]
fn the_lock_is_free_when_a_majority_has_forgotten_it() {
    play(
        "release 1:done 2:not-sent 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            0.000    release      1: quit, 2: quit, 3: quit
            0.000    1:done
            0.000    2:not-sent
            0.000    3:done       [released]
        "#]],
    );
    play(
        "release 1:done 3:done next",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            0.000    release      1: quit, 2: quit, 3: quit
            0.000    1:done
            0.000    3:done       [released]
            5000.000 Retry        [closed, not clean]
        "#]],
    );
}

#[test]
fn a_release_that_reaches_no_majority_is_repeated() {
    play(
        "release 1:done 2:not-sent 3:not-sent next 2:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            0.000    release      1: quit, 2: quit, 3: quit
            0.000    1:done
            0.000    2:not-sent
            0.000    3:not-sent
            50.000   Retry        2: quit, 3: quit
            50.000   2:done       [released]
        "#]],
    );
}

#[test]
fn a_lock_that_is_taken_away_is_lost_and_given_back() {
    play(
        "disconnect 1:done 2:done 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            0.000    disconnect   [lost: it was taken away], 1: quit, 2: quit, 3: quit
            0.000    1:done
            0.000    2:done       [released]
            0.000    3:done       [closed]
        "#]],
    );
}

#[test]
fn an_extension_by_hand_is_a_renewal_of_its_own() {
    play(
        "extend=10s 1:kept 2:kept 3:kept",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:yes        [acquired until 2.968s with fence 1000000]
        0.000    3:yes
        0.000    extend=10s   1: keep@1000000 for 10s, 2: keep@1000000 for 10s, 3: keep@1000000 for 10s
        0.000    1:kept
        0.000    2:kept       [extended until Some(9.898s)]
        0.000    3:kept
    "#]],
    );
}

#[test]
fn an_extension_that_is_longer_than_a_lease_may_be_is_cut() {
    play(
        "extend=9999999999s 1:kept 2:kept",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:yes        [acquired until 2.968s with fence 1000000]
        0.000    3:yes
        0.000    extend=9999999999s 1: keep@1000000 for 2147483.647s, 2: keep@1000000 for 2147483.647s, 3: keep@1000000 for 2147483.647s
        0.000    1:kept
        0.000    2:kept       [extended until Some(2126008.808s)]
    "#]],
    );
}

#[test]
fn a_lease_without_renewal_ends() {
    let options = one_try().with_ttl(ms(3000)).with_renewal(Renewal::Off);
    check(
        three(options),
        &format!("{HELD} next next next"),
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            1968.000 Warning      [warned: it runs out at 2.968s]
            2968.000 Expiry       [lost: its lease ran out], 1: quit, 2: quit, 3: quit
            7968.000 Retry        [closed, not clean]
        "#]],
    );
}

#[test]
fn a_hold_ends_at_its_limit() {
    let options = one_try().with_ttl(ms(3000)).with_max_hold(ms(500));
    check(
        three(options),
        &format!("{HELD} next next"),
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:yes
            0.000    2:yes        [acquired until 2.968s with fence 1000000]
            0.000    3:yes
            500.000  HoldLimit    [lost: it was held for as long as max_hold allows], 1: quit, 2: quit, 3: quit
            5500.000 Retry        [closed, not clean]
        "#]],
    );
}

fn play(script: &str, expected: expect_test::Expect) {
    let options = one_try().with_ttl(ms(3000));
    check(three(options), &format!("{HELD} {script}"), expected);
}
