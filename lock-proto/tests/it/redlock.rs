//! A lock on several servers, input by input: how a vote is won and lost. What is named R1 to R23
//! are the rules of the protocol that each of these would break without; (a) to (g) are the runs
//! that break it.

use std::time::Duration;

use expect_test::expect;
use lock_proto::file::Identity;
use lock_proto::redis::{
    Command, Keys, MAX_SERVERS, Message, RedLock, RedisOptions, Reply, Side, Verb,
};
use lock_proto::{AcquireOptions, Event, Fault, Instant, LockError, Machine as _, RequestId, Seed};

use crate::timeline::{Backend, check, ms, name};

/// What the wall clock says when a test begins, in microseconds: the first ballot.
pub(crate) const WALL: u64 = 1_000_000;

#[test]
fn a_majority_wins_and_a_late_yes_is_adopted() {
    check(
        three(AcquireOptions::new()),
        "+1ms 1:yes +1ms 2:yes +1ms 3:yes release 1:done 2:done 3:done",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            1.000    1:yes
            2.000    2:yes        [acquired until 29.698s with fence 1000000]
            3.000    3:yes
            3.000    release      1: quit, 2: quit, 3: quit
            3.000    1:done
            3.000    2:done       [released]
            3.000    3:done       [closed]
        "#]],
    );
}

#[test]
fn a_vote_is_decided_by_as_many_servers_as_the_thresholds_say() {
    // Servers, yeses that win, noes or faults that lose.
    let thresholds = [
        (1, 1, 1),
        (2, 2, 1),
        (3, 2, 2),
        (4, 3, 2),
        (5, 3, 3),
        (6, 4, 3),
        (7, 4, 4),
        (8, 5, 4),
        (9, 5, 5),
    ];
    for (servers, wins, loses) in thresholds {
        let yes = |_: &Command| Ok([1, WALL.cast_signed(), 0]);
        assert_eq!(deciding(servers, yes), wins, "yeses of {servers}");
        assert_eq!(deciding(servers, |_| Ok([0, 1, 0])), loses, "noes of {servers}");
        let fault = |_: &Command| Err(Fault::unknown("connection reset"));
        assert_eq!(deciding(servers, fault), loses, "faults of {servers}");
    }
}

#[test]
fn a_single_try_is_one_vote_and_gives_back_what_it_got() {
    check(
        three(one_try()),
        "1:yes 2:no 3:no 1:done",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:no
        0.000    3:no         [timed out after 0ns], 1: quit
        0.000    1:done       [closed]
    "#]],
    );
}

#[test]
fn a_dead_server_does_not_delay_a_majority() {
    check(
        three(one_try()),
        "1:not-sent 2:yes 3:yes",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:not-sent
        0.000    2:yes
        0.000    3:yes        [acquired until 29.698s with fence 1000000]
    "#]],
    );
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_its_patience() {
    check(
        three(one_try()),
        "1:yes 2:no next 1:done 3:yes 3:done",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:yes
        0.000    2:no
        50.000   Retry        [timed out after 0ns], 1: quit
        50.000   1:done
        50.000   3:yes        3: quit
        50.000   3:done       [closed]
    "#]],
    );
}

#[test]
fn validity_counts_from_the_request_and_not_from_its_answer() {
    // R2.
    check(
        three(AcquireOptions::new()),
        "+20ms 1:yes +20ms 2:yes",
        expect![[r#"
        0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
        20.000   1:yes
        40.000   2:yes        [acquired until 29.698s with fence 1000000]
    "#]],
    );
}

#[test]
fn a_majority_that_comes_too_late_to_be_of_use_is_given_back() {
    let slow = lock(&[ms(5000); 3], Side::Exclusive, &one_try(), &settings());
    check(
        slow,
        "+2800ms 1:yes 2:yes 1:done 2:done 3:no",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        2800.000 1:yes
        2800.000 2:yes        [timed out after 0ns], 1: quit, 2: quit
        2800.000 1:done
        2800.000 2:done
        2800.000 3:no         [closed]
    "#]],
    );
}

#[test]
fn yeses_at_different_ballots_do_not_count_together() {
    // (a), (b), R19: neither the largest nor the smallest of them may be reported. All servers are
    // asked once more with the same token, those that said yes as well.
    check(
        three(AcquireOptions::new()),
        "1:yes@900000 2:yes +1ms 3:not-sent 1:yes@1001000 2:yes@1001000",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:yes@900000
            0.000    2:yes
            1.000    3:not-sent   1: vote@1001000, 2: vote@1001000, 3: vote@1001000
            1.000    1:yes@1001000
            1.000    2:yes@1001000 [acquired until 29.699s with fence 1001000]
        "#]],
    );
}

#[test]
fn a_ballot_that_is_too_low_is_raised_above_all_that_were_seen() {
    // (f): also above those of a clock that runs ahead.
    check(
        three(one_try()),
        "1:low@9000000 2:low@8000000 3:yes",
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:low@9000000
        0.000    2:low@8000000 1: vote@9000001, at once, 2: vote@9000001, at once
        0.000    3:yes
    "#]],
    );
}

#[test]
fn ballots_are_raised_only_so_often_for_one_vote() {
    let script = "1:low@9000000 2:low@9000000 3:not-sent 1:low@9000001 2:low@9000001 \
                  1:low@9000002 2:low@9000002 3:not-sent 1:low@9000003 2:low@9000003";
    check(
        three(one_try()),
        script,
        expect![[r#"
        0.000    start        1: vote@1000000, at once, 2: vote@1000000, at once, 3: vote@1000000, at once
        0.000    1:low@9000000
        0.000    2:low@9000000 1: vote@9000001, at once, 2: vote@9000001, at once
        0.000    3:not-sent
        0.000    1:low@9000001
        0.000    2:low@9000001 1: vote@9000002, at once, 2: vote@9000002, at once, 3: vote@9000002, at once
        0.000    1:low@9000002
        0.000    2:low@9000002 1: vote@9000003, at once, 2: vote@9000003, at once
        0.000    3:not-sent
        0.000    1:low@9000003
        0.000    2:low@9000003 [timed out after 0ns], [closed]
    "#]],
    );
}

#[test]
fn an_answer_that_is_owed_from_an_earlier_vote_does_not_count() {
    // R2: its lease began long ago.
    check(
        three(within_ten_seconds()),
        "1:yes 2:no next 1:done next 1:yes@+ 2:no 3:yes next",
        expect![[r#"
            0.000    start        1: vote@1000000, 2: vote@1000000, 3: vote@1000000
            0.000    1:yes
            0.000    2:no
            50.000   Retry        1: step back@1000000
            50.000   1:done
            55.464   Retry        1: vote@1055464, 2: vote@1055464
            55.464   1:yes@+
            55.464   2:no         1: step back@1055464
            55.464   3:yes        3: step back@1055464
            69.941   Retry
        "#]],
    );
}

#[test]
fn options_that_can_not_be_are_named() {
    let made = |servers: usize, side| {
        let patience = vec![ms(50); servers];
        let keys = Keys::new("", &name()).expect("a plain name");
        let seed = Seed::from_bytes([7; 32]);
        let options = AcquireOptions::new();
        let now = Instant::ZERO;
        RedLock::new(keys, side, &options, &settings(), &patience, WALL, &seed, now).map(|_| ())
    };
    for servers in [0, MAX_SERVERS + 1] {
        let error = made(servers, Side::Exclusive).unwrap_err();
        assert!(error.to_string().starts_with("invalid option servers"), "{error}");
    }
    let permits = Side::Permits { count: 1, limit: 2 };
    assert!(matches!(made(3, permits), Err(LockError::Unsupported(_))));
}

/// How many servers, asked in turn, decide a single try by answering alike.
fn deciding(servers: usize, answer: impl Fn(&Command) -> Result<Reply, Fault>) -> usize {
    let mut lock = lock(&vec![ms(50); servers], Side::Exclusive, &one_try(), &settings());
    let asked: Vec<(RequestId, Command)> = std::iter::from_fn(|| lock.poll_request())
        .map(|request| (request.id, request.command))
        .collect();
    assert_eq!(asked.len(), servers);
    for (count, (id, command)) in (1..).zip(asked) {
        lock.handle_reply(id, answer(&command), Instant::ZERO);
        match lock.poll_event() {
            None => {}
            Some(Event::Acquired { fence, .. }) => {
                assert_eq!(fence, Some(WALL));
                return count;
            }
            Some(Event::Failed(_)) => return count,
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("all have answered, and nothing is decided");
}

pub(crate) fn three(options: AcquireOptions) -> RedLock {
    lock(&[ms(50); 3], Side::Exclusive, &options, &settings())
}

pub(crate) fn lock(
    patience: &[Duration],
    side: Side,
    options: &AcquireOptions,
    settings: &RedisOptions,
) -> RedLock {
    let keys = Keys::new("", &name()).expect("a plain name");
    let seed = Seed::from_bytes([7; 32]);
    let now = Instant::ZERO;
    RedLock::new(keys, side, options, settings, patience, WALL, &seed, now)
        .expect("sensible options")
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

impl Backend for RedLock {
    fn reply(word: &str, now: Instant) -> Reply {
        let (word, number) = word.split_once('@').unwrap_or((word, ""));
        let wall = WALL + now.as_nanos() / 1_000;
        let number = |default| match number {
            "" => default,
            // Of a vote that was asked for at this very moment.
            "+" => wall.cast_signed(),
            number => number.parse().expect("a whole number"),
        };
        match word {
            "yes" => [1, number(WALL.cast_signed()), 0],
            "no" => [0, 1, number(0)],
            "low" => [0, 0, number(0)],
            "kept" | "done" => [1, 0, 0],
            "gone" => [-1, 0, 0],
            "garbage" => [7, -7, 77],
            _ => panic!("{word} is no reply"),
        }
    }

    fn describe(command: &Command) -> String {
        let what = match &command.verb {
            Verb::Vote { ballot, wait, .. } => {
                format!("vote@{ballot}{}", if *wait { "" } else { ", at once" })
            }
            Verb::Keep { ballot, ttl, .. } => format!("keep@{ballot} for {ttl:?}"),
            Verb::StepBack { ballot, stay, .. } => {
                format!("step back@{ballot}{}", if *stay { "" } else { ", leave" })
            }
            Verb::Quit { refuse_for: None, .. } => "quit".into(),
            Verb::Quit { refuse_for: Some(time), .. } => format!("quit, refused for {time:?}"),
            Verb::Take { .. }
            | Verb::Enter { .. }
            | Verb::Extend { .. }
            | Verb::Mint
            | Verb::GiveBack
            | Verb::Leave { .. } => unreachable!("several servers are asked to vote"),
        };
        format!("{}: {what}", command.server + 1)
    }

    fn server(command: &Command) -> usize {
        command.server
    }

    fn message(word: &str) -> Option<Message> {
        (word == "told").then_some(Message { fence: 0, stamp: 0 })
    }
}
