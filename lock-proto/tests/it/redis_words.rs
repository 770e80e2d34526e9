//! What the scripts of Redis are called with, word by word, in the order in which they take it.

use std::time::Duration;

use expect_test::{Expect, expect};
use lock_proto::Seed;
use lock_proto::file::Identity;
use lock_proto::redis::{Command, Keys, ScriptCall, Side, Token, Verb};

use crate::timeline::{ms, name};

const PERMITS: Side = Side::Permits { count: 2, limit: 3 };
const TTL: Duration = Duration::from_secs(30);

#[test]
fn a_plain_take_needs_no_script() {
    assert_eq!(called(Verb::Take { ttl: TTL, fencing: true }), None);
}

#[test]
fn what_may_take_a_lock_or_be_answered_later_is_known_by_its_command() {
    let told = |verb| {
        let keys = Keys::new("", &name()).expect("a plain name");
        let token = Token::new(&Identity::new("web", 1), None, &Seed::from_bytes([7; 32]));
        let command = Command::new(0, &keys, &token, verb);
        (command.takes(), command.listens())
    };
    let enter = |wait| Verb::Enter { side: Side::Exclusive, ttl: TTL, wait, stamp: 7 };
    assert_eq!(told(Verb::Take { ttl: TTL, fencing: true }), (true, false));
    assert_eq!(told(enter(false)), (true, false));
    assert_eq!(told(enter(true)), (true, true));
    assert_eq!(told(Verb::Extend { side: Side::Exclusive, ttl: TTL }), (false, false));
    assert_eq!(told(Verb::GiveBack), (false, false));
}

#[test]
fn one_server_is_told_whose_lock_it_is_and_for_how_long() {
    let verbs = [
        Verb::Enter { side: Side::Exclusive, ttl: TTL, wait: true, stamp: 7 },
        Verb::Enter { side: Side::Shared, ttl: TTL, wait: false, stamp: 8 },
        Verb::Enter { side: PERMITS, ttl: TTL, wait: true, stamp: 9 },
        Verb::Extend { side: Side::Exclusive, ttl: TTL },
        Verb::Extend { side: PERMITS, ttl: TTL },
        Verb::Mint,
        Verb::GiveBack,
        Verb::Leave { side: Side::Exclusive, refuse_for: None },
        Verb::Leave { side: Side::Shared, refuse_for: Some(ms(10_000)) },
        Verb::Leave { side: PERMITS, refuse_for: None },
        Verb::Leave { side: PERMITS, refuse_for: Some(ms(10_000)) },
    ];
    check(
        &verbs,
        expect![[r#"
            acquire(orders :fence :waiting :writers :queue :readers :gone:token) token x 30000 1 7 3000 2500 inbox
            acquire(orders :fence :waiting :writers :queue :readers :gone:token) token s 30000 0 8 3000 2500 inbox
            permits_acquire(orders :fence :waiting :writers :gone:token) token 2 3 30000 1 9 3000 2500 inbox
            extend(orders :fence :waiting :writers :queue :readers) token 30000
            permits_extend(orders :fence :waiting :writers) token 2 30000
            mint(orders :fence :waiting :writers :queue :readers) token
            give_back(orders :waiting) token
            release(orders :fence :waiting :writers :queue :readers) token 0
            release(orders :fence :waiting :writers :queue :readers :gone:token) token 10000
            permits_release(orders :fence :waiting :writers) token 2 0
            permits_release(orders :fence :waiting :writers :gone:token) token 2 10000
        "#]],
    );
}

#[test]
fn each_of_several_servers_is_told_the_ballot() {
    let (side, ballot, ttl) = (Side::Exclusive, 5, TTL);
    let verbs = [
        Verb::Vote { side, ballot, ttl, wait: true, came: 6 },
        Verb::Vote { side: Side::Shared, ballot, ttl, wait: false, came: 6 },
        Verb::Keep { side, ballot, ttl },
        Verb::StepBack { side, ballot, stay: true },
        Verb::StepBack { side, ballot, stay: false },
        Verb::Quit { side, refuse_for: None },
        Verb::Quit { side, refuse_for: Some(ms(10_000)) },
    ];
    check(
        &verbs,
        expect![[r#"
            vote(orders :fence :waiting :writers :queue :readers :gone:token) token x 5 30000 1 6 2500 inbox
            vote(orders :fence :waiting :writers :queue :readers :gone:token) token s 5 30000 0 6 2500 inbox
            vote_keep(orders :fence :waiting :writers :queue :readers :gone:token) token x 5 30000
            vote_yield(orders :fence :waiting :writers :queue :readers :gone:token) token 5 1 0
            vote_yield(orders :fence :waiting :writers :queue :readers :gone:token) token 5 0 0
            vote_yield(orders :fence :waiting :writers :queue :readers :gone:token) token  0 0
            vote_yield(orders :fence :waiting :writers :queue :readers :gone:token) token  0 10000
        "#]],
    );
}

#[test]
fn parts_of_a_millisecond_are_rounded_up() {
    let times = [Duration::ZERO, Duration::from_nanos(1), ms(1), Duration::new(1, 999_000_001)];
    let told = times.map(|ttl| {
        let call = called(Verb::Extend { side: Side::Exclusive, ttl }).expect("it has a script");
        call.args[1].clone()
    });
    assert_eq!(told, ["0", "1", "1", "2000"]);
}

#[test]
fn whoever_asks_for_a_holder_names_all_keys_of_the_lock() {
    let keys = Keys::new("", &name()).expect("a plain name");
    let spelled = [Side::Exclusive, Side::Shared, PERMITS].map(|side| line(&side.info(&keys)));
    expect![[r#"
        info(orders :fence :waiting :writers :queue :readers)
        info(orders :fence :waiting :writers :queue :readers)
        permits_info(orders :fence :waiting :writers)
    "#]]
    .assert_eq(&spelled.concat());
}

fn check(verbs: &[Verb], expected: Expect) {
    let calls = verbs.iter().map(|verb| called(verb.clone()).expect("it has a script"));
    expected.assert_eq(&calls.map(|call| line(&call)).collect::<String>());
}

fn called(verb: Verb) -> Option<ScriptCall> {
    let keys = Keys::new("", &name()).expect("a plain name");
    Command::new(0, &keys, &token(), verb).script("inbox")
}

fn token() -> Token {
    Token::new(&Identity::new("build-7", 4242), None, &Seed::from_bytes([7; 32]))
}

/// The script, its KEYS and its ARGV.
fn line(call: &ScriptCall) -> String {
    let ScriptCall { script, keys, args, .. } = call;
    let words = format!("{}({}) {}", script.name, keys.join(" "), args.join(" "));
    let short = words.replace("{orders}:dlock", "").replace(token().as_str(), "token");
    format!("{}\n", short.trim_end())
}
