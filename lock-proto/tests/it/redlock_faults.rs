//! What goes wrong on several servers.

use expect_test::expect;
use lock_proto::redis::{Keys, RedLock, Side};
use lock_proto::{AcquireOptions, Event, Fault, Instant, Machine as _, Seed};

use crate::redlock::{one_try, settings, three, within_ten_seconds};
use crate::timeline::{check, ms, name};

#[test]
fn a_majority_that_refuses_is_an_error_at_once() {
    check(
        three(AcquireOptions::new()),
        "1:refused 2:yes 3:refused 2:done 1:refused 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:refused
            0.000    2:yes
            0.000    3:refused    [failed: no space left], 1: quit, 2: quit, 3: quit
            0.000    2:done
            0.000    1:refused
            0.000    3:done       [closed, not clean]
        "#]],
    );
}

#[test]
fn a_minority_that_refuses_does_no_harm() {
    check(
        three(one_try()),
        "1:refused 2:yes 3:yes",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:refused
        0.000    2:yes
        0.000    3:yes        [acquired until 29.698s with fence 1000000]
    "#]],
    );
}

#[test]
fn one_server_that_refuses_is_not_the_error_of_a_lock_that_is_anothers() {
    check(
        three(within_ten_seconds()),
        "1:refused 2:no 3:no next",
        expect![[r#"
        0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
        0.000    1:refused
        0.000    2:no         1: step back@1000000
        0.000    3:no
        5.464    Retry        2: vote@1005464, 3: vote@1005464
    "#]],
    );
}

#[test]
fn a_single_try_without_a_majority_says_so() {
    check(
        three(one_try()),
        "1:not-sent 2:not-sent 3:yes 3:done",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:not-sent
        0.000    2:not-sent   [failed: too late]
        0.000    3:yes        3: quit
        0.000    3:done       [closed]
    "#]],
    );
}

#[test]
fn a_wait_that_ends_without_a_majority_says_so() {
    let options = AcquireOptions::new().with_timeout(ms(30));
    check(
        three(options),
        "1:not-sent 2:not-sent 3:no next 3:done 1:not-sent 2:not-sent next 1:not-sent 2:not-sent 3:no \
         next 1:not-sent 2:not-sent 3:no 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:not-sent
            0.000    2:not-sent
            0.000    3:no
            5.464    Retry        1: vote@1005464, 2: vote@1005464, 3: vote@1005464
            5.464    3:done
            5.464    1:not-sent
            5.464    2:not-sent   3: step back@1005464
            19.941   Retry        1: vote@1019941, 2: vote@1019941
            19.941   1:not-sent
            19.941   2:not-sent
            19.941   3:no
            30.000   Retry        1: vote@1030000, 2: vote@1030000, 3: vote@1030000
            30.000   1:not-sent
            30.000   2:not-sent   [failed: too late]
            30.000   3:no         3: quit
            30.000   3:done       [closed]
        "#]],
    );
}

#[test]
fn waiting_for_ever_ends_when_no_majority_was_there_for_a_whole_lease() {
    let options = AcquireOptions::new().with_ttl(ms(200));
    let deaf = "1:not-sent 2:not-sent 3:not-sent next ";
    check(
        three(options),
        deaf.repeat(6).trim_end_matches("next "),
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:not-sent
            0.000    2:not-sent
            0.000    3:not-sent
            5.464    Retry        1: vote@1005464, 2: vote@1005464, 3: vote@1005464
            5.464    1:not-sent
            5.464    2:not-sent
            5.464    3:not-sent
            19.941   Retry        1: vote@1019941, 2: vote@1019941, 3: vote@1019941
            19.941   1:not-sent
            19.941   2:not-sent
            19.941   3:not-sent
            46.493   Retry        1: vote@1046493, 2: vote@1046493, 3: vote@1046493
            46.493   1:not-sent
            46.493   2:not-sent
            46.493   3:not-sent
            113.297  Retry        1: vote@1113297, 2: vote@1113297, 3: vote@1113297
            113.297  1:not-sent
            113.297  2:not-sent
            113.297  3:not-sent
            240.963  Retry        1: vote@1240963, 2: vote@1240963, 3: vote@1240963
            240.963  1:not-sent
            240.963  2:not-sent   [failed: too late]
            240.963  3:not-sent   [closed]
        "#]],
    );
}

#[test]
fn servers_that_never_answer_end_a_wait_all_the_same() {
    let options = AcquireOptions::new().with_timeout(ms(800));
    check(
        three(options),
        "next next next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            50.000   Retry
            55.464   Retry
            800.000  Retry        [failed: too few of the servers answered in time to make a majority]
        "#]],
    );
}

#[test]
fn a_vote_whose_answer_was_lost_may_still_come_and_is_refused_then() {
    // R5: the server says that nothing of ours is there, and something may still come.
    check(
        three(one_try()),
        "1:unknown 2:yes 3:yes release 1:done 2:done 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:unknown
            0.000    2:yes
            0.000    3:yes        [acquired until 29.698s with fence 1000000]
            0.000    release      1: quit, refused for 10s, 2: quit, 3: quit
            0.000    1:done
            0.000    2:done       [released]
            0.000    3:done       [closed, not clean]
        "#]],
    );
}

#[test]
fn what_was_lost_long_enough_ago_is_no_longer_feared() {
    let options = one_try().with_ttl(ms(9000));
    let prolonged = "next 1:kept 2:kept 3:kept ".repeat(7);
    check(
        three(options),
        &format!("1:unknown 2:yes 3:yes next 1:kept {prolonged} release 1:done 2:done 3:done"),
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:unknown
            0.000    2:yes
            0.000    3:yes        [acquired until 8.908s with fence 1000000]
            5.464    Renewal      1: keep@1000000 for 9s
            5.464    1:kept
            2908.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            2908.000 1:kept
            2908.000 2:kept       [extended until Some(11.816s)]
            2908.000 3:kept
            5816.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            5816.000 1:kept
            5816.000 2:kept       [extended until Some(14.724s)]
            5816.000 3:kept
            8724.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            8724.000 1:kept
            8724.000 2:kept       [extended until Some(17.632s)]
            8724.000 3:kept
            11632.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            11632.000 1:kept
            11632.000 2:kept       [extended until Some(20.540s)]
            11632.000 3:kept
            14540.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            14540.000 1:kept
            14540.000 2:kept       [extended until Some(23.448s)]
            14540.000 3:kept
            17448.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            17448.000 1:kept
            17448.000 2:kept       [extended until Some(26.356s)]
            17448.000 3:kept
            20356.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            20356.000 1:kept
            20356.000 2:kept       [extended until Some(29.264s)]
            20356.000 3:kept
            20356.000 release      1: quit, 2: quit, 3: quit
            20356.000 1:done
            20356.000 2:done       [released]
            20356.000 3:done       [closed]
        "#]],
    );
}

#[test]
fn a_place_whose_vote_was_lost_is_feared_for_as_long_as_a_queue_keeps_it() {
    // M7: the lost vote stood in the queue, and the lock closed as clean once a lease was over.
    let options = AcquireOptions::new().with_ttl(ms(9000));
    let prolonged = "next 1:kept 2:kept 3:kept ".repeat(7);
    check(
        three(options),
        &format!("1:unknown 2:yes 3:yes next 1:kept {prolonged} release 1:done 2:done 3:done"),
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:unknown
            0.000    2:yes
            0.000    3:yes        [acquired until 8.908s with fence 1000000]
            5.464    Renewal      1: keep@1000000 for 9s
            5.464    1:kept
            2908.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            2908.000 1:kept
            2908.000 2:kept       [extended until Some(11.816s)]
            2908.000 3:kept
            5816.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            5816.000 1:kept
            5816.000 2:kept       [extended until Some(14.724s)]
            5816.000 3:kept
            8724.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            8724.000 1:kept
            8724.000 2:kept       [extended until Some(17.632s)]
            8724.000 3:kept
            11632.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            11632.000 1:kept
            11632.000 2:kept       [extended until Some(20.540s)]
            11632.000 3:kept
            14540.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            14540.000 1:kept
            14540.000 2:kept       [extended until Some(23.448s)]
            14540.000 3:kept
            17448.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            17448.000 1:kept
            17448.000 2:kept       [extended until Some(26.356s)]
            17448.000 3:kept
            20356.000 Renewal      1: keep@1000000 for 9s, 2: keep@1000000 for 9s, 3: keep@1000000 for 9s
            20356.000 1:kept
            20356.000 2:kept       [extended until Some(29.264s)]
            20356.000 3:kept
            20356.000 release      1: quit, refused for 10s, 2: quit, 3: quit
            20356.000 1:done
            20356.000 2:done       [released]
            20356.000 3:done       [closed, not clean]
        "#]],
    );
}

#[test]
fn what_was_not_handed_out_before_the_release_is_never_asked() {
    let mut lock = three(within_ten_seconds());
    let first = lock.poll_request();
    assert!(first.is_some());
    lock.release(Instant::ZERO);
    assert!(lock.poll_request().is_none());
    let fault = Fault::not_sent("too late");
    lock.handle_reply(first.unwrap().id, Err(fault), Instant::ZERO);
    assert!(matches!(lock.poll_event(), Some(Event::Closed { clean: true })));
}

#[test]
fn an_answer_that_comes_when_the_goodbye_is_over_makes_nobody_ask_again() {
    let mut lock = three(within_ten_seconds());
    let first = lock.poll_request().unwrap();
    lock.release(Instant::ZERO);
    let much_later = Instant::ZERO + ms(3_600_000);
    lock.handle_reply(first.id, Ok([1, 1_000_000, 1_000_000]), much_later);
    assert!(matches!(lock.poll_event(), Some(Event::Closed { clean: false })));
    assert!(lock.poll_request().is_none());
}

#[test]
fn nonsense_is_no_answer() {
    check(
        three(one_try()),
        "1:garbage 2:gone 3:yes 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:garbage
            0.000    2:gone       [failed: the server answered nonsense], 1: quit, refused for 10s, 2: quit, refused for 10s
            0.000    3:yes        3: quit
            0.000    3:done
        "#]],
    );
    // Greater numbers are not exact in Lua.
    check(
        three(one_try()),
        "1:no@9007199254740992 2:no@9007199254740992",
        expect![[r#"
            0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
            0.000    1:no@9007199254740992
            0.000    2:no@9007199254740992 [failed: the server answered nonsense], 1: quit, refused for 10s, 2: quit, refused for 10s
        "#]],
    );
    check(
        three(one_try()),
        "1:no@9007199254740992 2:yes 3:yes",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:no@9007199254740992
        0.000    2:yes
        0.000    3:yes        [acquired until 29.698s with fence 1000000]
    "#]],
    );
}

#[test]
fn a_clock_at_the_end_of_its_numbers_votes_on_at_the_last_ballot() {
    let lock = RedLock::new(
        Keys::new("", &name()).expect("a plain name"),
        Side::Exclusive,
        &AcquireOptions::new(),
        &settings(),
        &[ms(50); 3],
        u64::MAX,
        &Seed::from_bytes([7; 32]),
        Instant::ZERO,
    );
    check(
        lock.expect("sensible options"),
        "1:no 2:no 3:no next",
        expect![[r#"
            0.000    start        1: vote@18446744073709551615, 2: vote@18446744073709551615, 3: vote@18446744073709551615
            0.000    1:no
            0.000    2:no
            0.000    3:no
            909.281  Retry        1: vote@18446744073709551615, 2: vote@18446744073709551615, 3: vote@18446744073709551615
        "#]],
    );
}

#[test]
fn who_waits_for_ever_is_never_told_that_it_was_too_slow() {
    // A lease that was shorter than the silence of a fault once ended as a timeout.
    let options = AcquireOptions::new().with_ttl(ms(110));
    let late = "next +4ms 1:no 2:no 3:no next next";
    check(
        three(options),
        &format!("{late} 1:no 2:no 3:no next next"),
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            50.000   Retry
            54.000   1:no
            54.000   2:no
            54.000   3:no
            55.464   Retry        1: vote@1055464, 2: vote@1055464, 3: vote@1055464
            105.464  Retry
            105.464  1:no
            105.464  2:no
            105.464  3:no
            119.941  Retry        1: vote@1119941, 2: vote@1119941, 3: vote@1119941
            169.941  Retry
        "#]],
    );
}
