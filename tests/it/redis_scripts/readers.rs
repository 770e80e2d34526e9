use std::time::Duration;

use lock_proto::redis::{LIVENESS, Side, Verb};
use lock_tests::redis_model::Answer;
use lock_tests::redis_twin::Step;

use super::{Bench, TTL, token};

const READ: Side = Side::Shared;
const WRITE: Side = Side::Exclusive;

#[test]
fn readers_share_and_leave_nothing_but_the_counter() {
    let mut bench = Bench::start();
    assert_eq!(bench.enter(1, READ)[0], 1);
    assert_eq!(bench.enter(2, READ)[0], 1);
    assert_eq!(bench.attempt(3, WRITE)[0], 0);
    assert_eq!(bench.take(3)[0], 0);
    assert!(bench.leave(1, READ) && bench.leave(2, READ) && !bench.leave(2, READ));
    assert!(bench.told().is_empty() && bench.is_clean());
}

#[test]
fn a_writer_that_waits_keeps_new_readers_out() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    assert_eq!(bench.enter(2, WRITE)[0], 0);
    assert_eq!(bench.enter(3, READ)[0], 0);
    bench.leave(1, READ);
    assert_eq!(bench.told(), [(2, 1)]);
    bench.leave(2, WRITE);
    assert_eq!(bench.told(), [(3, 1)]);
}

#[test]
fn readers_that_waited_go_all_together_before_the_next_writer() {
    let mut bench = Bench::start();
    bench.enter(1, WRITE);
    bench.enter(2, WRITE);
    bench.enter(3, READ);
    bench.enter(4, READ);
    bench.leave(1, WRITE);
    assert_eq!(bench.told(), [(3, 1), (4, 1)]);
    assert_eq!(bench.enter(5, READ)[0], 0, "the writer's turn is next");
    bench.leave(3, READ);
    assert!(bench.told().is_empty());
    bench.leave(4, READ);
    assert_eq!(bench.told(), [(2, 1)]);
    bench.leave(2, WRITE);
    assert_eq!(bench.told(), [(5, 1)]);
    bench.leave(5, READ);
    assert!(bench.is_clean());
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    bench.enter(2, WRITE);
    bench.enter(3, READ);
    bench.leave(2, WRITE);
    assert_eq!(bench.told(), [(3, 1)]);
}

#[test]
fn a_dead_writer_keeps_nobody_out() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    bench.enter(2, WRITE);
    bench.pass(LIVENESS.as_millis() as i64 + 1);
    assert_eq!(bench.enter(3, READ)[0], 1);
}

#[test]
fn a_crashed_reader_ends_at_its_own_lease_while_others_go_on() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    bench.enter(2, READ);
    bench.pass(8000);
    assert!(bench.extend(2, READ, TTL));
    bench.pass(3000);
    assert!(!bench.extend(1, READ, TTL), "its lease is over");
    assert!(bench.extend(2, READ, TTL));
    bench.enter(3, WRITE);
    bench.leave(2, READ);
    assert_eq!(bench.told(), [(3, 1)], "nobody waits for the one that crashed");
}

#[test]
fn a_lock_of_readers_ends_with_the_last_of_them() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    let ttl = 3 * TTL;
    let verb = Verb::Enter { side: READ, ttl, wait: true, stamp: 1 };
    assert_eq!(bench.ask(2, verb).unwrap()[0], 1);
    assert!(bench.remaining("a") > 29_000);
    bench.leave(2, READ);
    let left = bench.remaining("a");
    assert!((9000..=10_000).contains(&left), "{left}");
    bench.pass(10_001);
    assert_eq!(bench.take(3)[0], 1);
}

#[test]
fn extending_never_shortens_a_share() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    assert!(bench.extend(1, READ, Duration::from_millis(100)));
    bench.pass(9000);
    assert!(bench.extend(1, READ, TTL));
    assert!(!bench.extend(2, READ, TTL));
    let verb = Verb::Enter { side: READ, ttl: Duration::from_millis(100), wait: true, stamp: 2 };
    assert_eq!(bench.ask(1, verb).unwrap()[0], 1);
    assert!(bench.remaining("a") > 9000);
}

#[test]
fn a_refused_reader_is_never_let_in() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    bench.refuse(1, READ);
    assert_eq!(bench.enter(1, READ), [-1, 0, 0]);
    bench.refuse(2, READ);
    assert_eq!(bench.enter(2, READ), [-1, 0, 0]);
}

#[test]
fn a_reader_that_was_thrown_out_stays_out() {
    // Somebody deletes the lock by hand, and readers who know nothing of it are still listed.
    let mut bench = Bench::start();
    bench.enter(1, READ);
    bench.step(&Step::Delete("a".into())).unwrap();
    bench.take(2);
    bench.enter(3, READ);
    bench.leave(2, WRITE);
    assert_eq!(bench.told(), [(3, 1)]);
    assert!(!bench.extend(1, READ, TTL), "a writer was there in between");
    bench.leave(3, READ);
    assert!(bench.is_clean());
}

#[test]
fn it_can_be_asked_who_reads() {
    let mut bench = Bench::start();
    bench.enter(1, READ);
    bench.enter(2, READ);
    bench.enter(3, WRITE);
    let info = bench.info(READ);
    assert_eq!(info[1], Answer::Number(1));
    assert_eq!(info[3], Answer::Text(String::new()));
    let names: Vec<&Answer> = info[4..].iter().step_by(2).collect();
    let mut readers = [1, 2].map(|who| Answer::Text(token(who).as_str().into()));
    if *names[0] != readers[0] {
        readers.reverse();
    }
    assert_eq!(names, readers.iter().collect::<Vec<_>>());
}
