//! A lock on one Redis server, input by input. What is named R1 to R23 are the rules of the
//! protocol that each of these would break without.

use expect_test::{Expect, expect};
use lock_proto::file::Identity;
use lock_proto::redis::{
    Command, Keys, Message, RedisLock, RedisOptions, Reply, ServerLock, Side, Verb,
};
use lock_proto::{AcquireOptions, Instant, LockError, Renewal, Seed};

use crate::timeline::{self, Backend, ms, name};

/// A fence that a counter in microseconds may have reached.
const FENCE: i64 = 1_700_000_000_000_000;

#[test]
fn an_uncontended_mutex_costs_two_questions() {
    check(
        mutex(AcquireOptions::new()),
        "+1ms set +5ms release yes",
        expect![[r#"
            0.000    start        take for 30s
            1.000    set          [acquired until 29.698s with fence 1700000000000000]
            6.000    release      give back
            6.000    yes          [closed]
        "#]],
    );
}

#[test]
fn validity_counts_from_the_request_and_not_from_its_answer() {
    check(
        mutex(AcquireOptions::new()),
        "+2s set",
        expect![[r#"
        0.000    start        take for 30s
        2000.000 set          [acquired until 29.698s with fence 1700000000000000]
    "#]],
    );
}

#[test]
fn an_answer_that_comes_too_late_to_be_of_use_is_asked_for_again() {
    // Less than the min validity would be left: 27 of 30 seconds.
    check(
        mutex(within_ten_seconds()),
        "+2800ms set yes=5",
        expect![[r#"
        0.000    start        take for 30s
        2800.000 set          enter Exclusive for 30s, wait, stamp 1
        2800.000 yes=5        [acquired until 32.498s with fence 5]
    "#]],
    );
}

#[test]
fn a_single_try_that_came_too_late_is_given_back() {
    check(
        mutex(one_try()),
        "+2800ms set yes",
        expect![[r#"
            0.000    start        take for 30s
            2800.000 set          [timed out after 0ns], give back
            2800.000 yes          [closed]
        "#]],
    );
}

#[test]
fn a_busy_try_leaves_nothing() {
    check(
        mutex(one_try()),
        "busy",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         [timed out after 0ns], [closed]
    "#]],
    );
}

#[test]
fn a_waiter_asks_once_a_second_and_is_let_in_by_a_message() {
    // The full lease is claimed only once the lock is held for a while.
    // R11: the claim counts from the refresh whose stamp the message carries.
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 next queued=29000/0 +300ms grant=7/2 next yes release yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            1136.601 Retry        enter Exclusive for 30s, wait, stamp 2
            1136.601 queued=29000/0
            1436.601 grant=7/2    [acquired until 4.104s with fence 7]
            1536.601 Renewal      extend to 30s
            1536.601 yes          [extended until Some(31.234s)]
            1536.601 release      leave
            1536.601 yes          [closed]
        "#]],
    );
}

#[test]
fn a_waiter_at_the_head_asks_when_the_lease_before_it_runs_out() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=120/0 next yes=8",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    queued=120/0
        122.000  Retry        enter Exclusive for 30s, wait, stamp 2
        122.000  yes=8        [acquired until 29.820s with fence 8]
    "#]],
    );
}

#[test]
fn a_waiter_further_back_leaves_that_to_the_head() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=120/1 next",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=120/1
            1136.601 Retry        enter Exclusive for 30s, wait, stamp 2
        "#]],
    );
}

#[test]
fn a_lock_without_an_end_is_not_asked_for_without_end() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=0/0 next",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=0/0
            1136.601 Retry        enter Exclusive for 30s, wait, stamp 2
        "#]],
    );
}

#[test]
fn a_message_of_an_old_refresh_is_no_grant() {
    // Two holders: a grant that was delayed beyond its claim counted from a newer refresh.
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 next queued=29000/0 next queued=28000/0 next +600ms grant=7/1 \
         queued=1/0",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            1136.601 Retry        enter Exclusive for 30s, wait, stamp 2
            1136.601 queued=29000/0
            2317.564 Retry        enter Exclusive for 30s, wait, stamp 3
            2317.564 queued=28000/0
            3483.515 Retry        enter Exclusive for 30s, wait, stamp 4
            4083.515 grant=7/1
            4083.515 queued=1/0
        "#]],
    );
}

#[test]
fn a_message_of_no_refresh_of_ours_is_no_grant() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 grant=7/9",
        expect![[r#"
        0.000    start        take for 30s
        0.000    busy         enter Exclusive for 30s, wait, stamp 1
        0.000    queued=30000/0
        0.000    grant=7/9    enter Exclusive for 30s, wait, stamp 2
    "#]],
    );
}

#[test]
fn a_refresh_that_the_grant_overtook_does_not_end_the_hold() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 next grant=7/1 queued=10/0 next yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            1136.601 Retry        enter Exclusive for 30s, wait, stamp 2
            1136.601 grant=7/1    [acquired until 2.968s with fence 7]
            1136.601 queued=10/0
            1236.601 Renewal      extend to 30s
            1236.601 yes          [extended until Some(30.934s)]
        "#]],
    );
}

#[test]
fn a_refresh_that_says_yes_to_a_holder_is_a_lease_and_no_new_fence() {
    check(
        mutex(within_ten_seconds()),
        "busy queued=30000/0 next grant=7/1 yes=99",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            1136.601 Retry        enter Exclusive for 30s, wait, stamp 2
            1136.601 grant=7/1    [acquired until 2.968s with fence 7]
            1136.601 yes=99       [extended until Some(30.834s)]
        "#]],
    );
}

#[test]
fn a_claim_that_fails_is_tried_again_even_if_renewal_is_off() {
    check(
        mutex(within_ten_seconds().with_renewal(Renewal::Off)),
        "busy queued=30000/0 grant=7/1 next unknown next yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            0.000    grant=7/1    [acquired until 2.968s with fence 7]
            100.000  Renewal      extend to 30s
            100.000  unknown
            200.000  Renewal      extend to 30s
            200.000  yes          [extended until Some(29.898s)]
        "#]],
    );
}

#[test]
fn a_claim_is_no_renewal() {
    check(
        mutex(within_ten_seconds().with_max_renewals(0)),
        "busy queued=30000/0 grant=7/1 next yes next next",
        expect![[r#"
            0.000    start        take for 30s
            0.000    busy         enter Exclusive for 30s, wait, stamp 1
            0.000    queued=30000/0
            0.000    grant=7/1    [acquired until 2.968s with fence 7]
            100.000  Renewal      extend to 30s
            100.000  yes          [extended until Some(29.798s)]
            19798.000 Warning      [warned: it runs out at 29.798s]
            29798.000 Expiry       [lost: its lease ran out], leave
        "#]],
    );
}

#[test]
fn an_unlikely_fence_is_minted_again() {
    // R22: the counter was lost, so its numbers start again at one.
    check(
        mutex(AcquireOptions::new()),
        "set=3 yes=1700000000000009",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set=3        mint
        0.000    yes=1700000000000009 [acquired until 29.698s with fence 1700000000000009]
    "#]],
    );
}

#[test]
fn a_lock_that_was_lost_before_its_fence_was_minted_is_asked_for_again() {
    check(
        mutex(AcquireOptions::new()),
        "set=3 no queued=5/0",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set=3        mint
        0.000    no           enter Exclusive for 30s, wait, stamp 1
        0.000    queued=5/0
    "#]],
    );
}

#[test]
fn a_hold_without_fencing_needs_no_number() {
    let settings = settings().with_fencing(false);
    check(
        lock(Side::Exclusive, &AcquireOptions::new(), &settings),
        "set=0",
        expect![[r#"
        0.000    start        take for 30s without a fence
        0.000    set=0        [acquired until 29.698s]
    "#]],
    );
}

#[test]
fn an_answer_that_was_lost_is_asked_for_with_the_same_token() {
    // R7: a new token would wait for its own orphan.
    check(
        mutex(within_ten_seconds()),
        "unknown next yes=4",
        expect![[r#"
        0.000    start        take for 30s
        0.000    unknown
        5.464    Retry        enter Exclusive for 30s, wait, stamp 1
        5.464    yes=4        [acquired until 29.703s with fence 4]
    "#]],
    );
}

#[test]
fn a_request_that_was_not_sent_leaves_nothing() {
    check(
        mutex(one_try()),
        "not-sent",
        expect![[r#"
        0.000    start        take for 30s
        0.000    not-sent     [failed: too late], [closed]
    "#]],
    );
}

#[test]
fn a_refusal_is_the_callers_error() {
    check(
        mutex(within_ten_seconds()),
        "refused",
        expect![[r#"
        0.000    start        take for 30s
        0.000    refused      [failed: no space left], [closed]
    "#]],
    );
}

#[test]
fn a_server_that_never_answers_is_told_from_a_lock_that_is_held() {
    check(
        mutex(within_ten_seconds()),
        "next unknown no next no",
        expect![[r#"
        0.000    start        take for 30s
        10000.000 Budget       [failed: the server did not answer in time], leave, refused for 10s
        10000.000 unknown
        10000.000 no
        10500.000 Retry        leave, refused for 10s
        10500.000 no           [closed, not clean]
    "#]],
    );
}

#[test]
fn faults_alone_end_even_a_wait_for_ever() {
    check(
        mutex(AcquireOptions::new()),
        "not-sent next +20s not-sent next +9990ms not-sent",
        expect![[r#"
            0.000    start        take for 30s
            0.000    not-sent
            5.464    Retry        enter Exclusive for 30s, wait, stamp 1
            20005.464 not-sent
            20019.941 Retry        enter Exclusive for 30s, wait, stamp 2
            30009.941 not-sent     [failed: too late], [closed]
        "#]],
    );
}

#[test]
fn a_yes_after_the_lease_has_ended_does_not_bring_it_back() {
    // R3: somebody else may have held it in between.
    check(
        mutex(AcquireOptions::new().with_ttl(ms(1000))),
        "set next next +700ms yes yes",
        expect![[r#"
            0.000    start        take for 1s
            0.000    set          [acquired until 0.988s with fence 1700000000000000]
            321.333  Renewal      extend to 1s
            654.666  Warning      [warned: it runs out at 0.988s]
            1354.666 yes          [lost: its lease ran out], give back
            1354.666 yes          [closed]
        "#]],
    );
}

#[test]
fn a_definite_no_is_a_loss_at_once() {
    check(
        mutex(AcquireOptions::new()),
        "set next no no",
        expect![[r#"
            0.000    start        take for 30s
            0.000    set          [acquired until 29.698s with fence 1700000000000000]
            9698.000 Renewal      extend to 30s
            9698.000 no           [lost: it was taken away], give back
            9698.000 no           [closed]
        "#]],
    );
}

#[test]
fn silence_is_a_loss_at_the_deadline_and_not_before() {
    check(
        mutex(AcquireOptions::new().with_ttl(ms(1000))),
        "set next unknown next not-sent next refused next next yes",
        expect![[r#"
            0.000    start        take for 1s
            0.000    set          [acquired until 0.988s with fence 1700000000000000]
            321.333  Renewal      extend to 1s
            321.333  unknown
            404.666  Renewal      extend to 1s
            404.666  not-sent
            487.999  Renewal      extend to 1s
            487.999  refused
            571.333  Renewal      extend to 1s
            654.666  Warning      [warned: it runs out at 0.988s]
            654.666  yes          [extended until Some(1.559s)]
        "#]],
    );
}

#[test]
fn an_extension_by_hand_waits_for_the_question_before_it() {
    check(
        mutex(AcquireOptions::new()),
        "set next extend=60s yes yes",
        expect![[r#"
        0.000    start        take for 30s
        0.000    set          [acquired until 29.698s with fence 1700000000000000]
        9698.000 Renewal      extend to 30s
        9698.000 extend=60s
        9698.000 yes          extend to 60s
        9698.000 yes          [extended until Some(69.096s)]
    "#]],
    );
}

#[test]
fn extensions_of_any_length_are_asked_for() {
    // A lease that is shorter than the drift of clocks once ended in a panic.
    check(
        mutex(AcquireOptions::new()),
        "set extend=1ms yes extend=9000000000s yes",
        expect![[r#"
            0.000    start        take for 30s
            0.000    set          [acquired until 29.698s with fence 1700000000000000]
            0.000    extend=1ms   extend to 1ms
            0.000    yes          [extended until Some(29.698s)]
            0.000    extend=9000000000s extend to 2147483.647s
            0.000    yes          [extended until Some(2126008.808s)]
        "#]],
    );
}

#[test]
fn readers_and_takers_of_permits_ask_by_script() {
    let permits = Side::Permits { count: 2, limit: 5 };
    check(
        lock(permits, &within_ten_seconds(), &settings()),
        "yes=4 release yes",
        expect![[r#"
        0.000    start        enter Permits { count: 2, limit: 5 } for 30s, wait, stamp 1
        0.000    yes=4        [acquired until 29.698s with fence 4]
        0.000    release      leave
        0.000    yes          [closed]
    "#]],
    );
    check(
        lock(Side::Shared, &one_try(), &settings()),
        "queued=5/0",
        expect![[r#"
        0.000    start        enter Shared for 30s, at once
        0.000    queued=5/0   [timed out after 0ns], [closed]
    "#]],
    );
}

#[test]
fn more_permits_at_once_than_a_server_can_bear_are_refused() {
    let keys = Keys::new("", &name()).expect("a plain name");
    let (options, seed) = (AcquireOptions::new(), Seed::from_bytes([7; 32]));
    let made = |count| {
        let side = Side::Permits { count, limit: u32::MAX };
        ServerLock::new(keys.clone(), side, &options, &settings(), &seed, Instant::ZERO)
    };
    assert!(made(1_000).is_ok());
    let error = made(1_001).expect_err("a million would stop the server");
    assert!(matches!(error, LockError::InvalidConfig { option: "permits", .. }), "{error}");
}

#[test]
fn options_that_contradict_each_other_are_named() {
    let refused = |settings: RedisOptions, options: &AcquireOptions| {
        let keys = Keys::new("", &name()).expect("a plain name");
        let seed = Seed::from_bytes([7; 32]);
        let made = ServerLock::new(keys, Side::Exclusive, options, &settings, &seed, Instant::ZERO);
        match made {
            Err(LockError::InvalidConfig { option, .. }) => option,
            other => panic!("{other:?}"),
        }
    };
    let plain = AcquireOptions::new();
    let short = AcquireOptions::new().with_ttl(ms(1000));
    assert_eq!(refused(settings().with_min_validity(ms(1000)), &short), "min_validity");
    assert_eq!(refused(settings().with_min_validity(ms(0)), &plain), "min_validity");
    assert_eq!(
        refused(settings().with_min_validity(std::time::Duration::MAX), &plain),
        "min_validity"
    );
    assert_eq!(refused(settings().with_extension_cadence(ms(950)), &short), "extension_cadence");
    let often = short.with_renewal(Renewal::Every(ms(950)));
    assert_eq!(refused(settings(), &often), "renewal");
    for expiry in [0, 99, 1 << 31] {
        assert_eq!(refused(settings().with_expiry(ms(expiry)), &plain), "ttl");
        let error = settings().with_expiry(ms(expiry)).checked().unwrap_err();
        assert!(error.to_string().starts_with("invalid option expiry"), "{error}");
    }
    for expiry in [100, (1 << 31) - 1] {
        assert!(settings().with_expiry(ms(expiry)).checked().is_ok(), "{expiry}");
    }
}

/// Runs the script as whoever asks for a lock does, who needn't know how many servers there are.
pub(crate) fn check(machine: ServerLock, script: &str, expected: Expect) {
    timeline::check(RedisLock::Server(machine), script, expected);
}

pub(crate) fn mutex(options: AcquireOptions) -> ServerLock {
    lock(Side::Exclusive, &options, &settings())
}

pub(crate) fn lock(side: Side, options: &AcquireOptions, settings: &RedisOptions) -> ServerLock {
    let keys = Keys::new("", &name()).expect("a plain name");
    let seed = Seed::from_bytes([7; 32]);
    ServerLock::new(keys, side, options, settings, &seed, Instant::ZERO).expect("sensible options")
}

pub(crate) fn settings() -> RedisOptions {
    RedisOptions::new(Identity::new("build-7", 4242))
}

pub(crate) fn one_try() -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(0))
}

pub(crate) fn within_ten_seconds() -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(10_000))
}

impl Backend for RedisLock {
    fn reply(word: &str, _now: Instant) -> Reply {
        if let Some((remaining, ahead)) =
            word.strip_prefix("queued=").and_then(|rest| rest.split_once('/'))
        {
            return [0, whole(remaining), whole(ahead)];
        }
        let (word, number) = word.split_once('=').unwrap_or((word, ""));
        let number = |default| if number.is_empty() { default } else { whole(number) };
        match word {
            "set" => [1, number(FENCE), 0],
            "busy" => [0, 0, 0],
            "yes" => match number(1) {
                1 => [1, 0, 0],
                fence if fence > FENCE => [fence, 0, 0],
                fence => [1, fence, 0],
            },
            "no" => [0, 0, 0],
            "awaited" => [2, 0, 0],
            _ => panic!("{word} is no reply"),
        }
    }

    fn describe(command: &Command) -> String {
        match &command.verb {
            Verb::Take { ttl, fencing } => {
                format!("take for {ttl:?}{}", if *fencing { "" } else { " without a fence" })
            }
            Verb::Enter { side, ttl, wait, stamp } => {
                let how = if *wait { format!("wait, stamp {stamp}") } else { "at once".into() };
                format!("enter {side:?} for {ttl:?}, {how}")
            }
            Verb::Extend { ttl, .. } => format!("extend to {ttl:?}"),
            Verb::Mint => "mint".into(),
            Verb::GiveBack => "give back".into(),
            Verb::Leave { refuse_for: None, .. } => "leave".into(),
            Verb::Leave { refuse_for: Some(time), .. } => format!("leave, refused for {time:?}"),
            Verb::Vote { .. } | Verb::Keep { .. } | Verb::StepBack { .. } | Verb::Quit { .. } => {
                unreachable!("one server is never asked to vote")
            }
        }
    }

    fn message(word: &str) -> Option<Message> {
        let (fence, stamp) = word.strip_prefix("grant=")?.split_once('/')?;
        Some(Message { fence: whole(fence).unsigned_abs(), stamp: whole(stamp).unsigned_abs() })
    }
}

fn whole(number: &str) -> i64 {
    number.parse().expect("a whole number")
}
