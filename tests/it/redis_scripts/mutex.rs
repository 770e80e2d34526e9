use std::time::Duration;

use lock_proto::redis::{CLAIM, FENCES, LIVENESS, Side, Verb};
use lock_tests::redis_model::{Answer, Score, Value};
use lock_tests::redis_twin::Step;

use super::{Bench, TTL, token};

const SIDE: Side = Side::Exclusive;
const PLAUSIBLE: i64 = 1_000_000_000_000_000;

#[test]
fn an_uncontended_mutex_leaves_its_counter_and_tells_nobody() {
    let mut bench = Bench::start();
    assert_eq!(bench.take(1), [1, 1, 0]);
    assert_eq!(bench.take(2)[0], 0);
    assert!(bench.leave(1, SIDE));
    assert!(bench.messages.is_empty());
    assert!(bench.is_clean());
    assert!(!bench.leave(1, SIDE));
}

#[test]
fn a_mutex_that_another_library_took_excludes_us_until_it_gives_it_back() {
    let mut bench = Bench::start();
    let (key, value) = (String::from("a"), String::from("web-1_4711_x"));
    let theirs = Step::Set { key: key.clone(), value: value.clone(), ttl_ms: 30_000 };
    assert_eq!(bench.step(&theirs).unwrap(), [Answer::Number(1)]);
    assert_eq!(bench.take(1)[0], 0);
    let [no, remaining, ahead] = bench.enter(1, SIDE);
    assert!(no == 0 && ahead == 0 && (29_000..=30_000).contains(&remaining), "{remaining}");
    assert!(!bench.extend(1, SIDE, TTL) && !bench.leave(2, SIDE) && bench.mint(1) == 0);

    bench.step(&Step::CompareDelete { key, value }).unwrap();
    assert_eq!(bench.enter(1, SIDE)[0], 1);
    assert_eq!(bench.step(&theirs).unwrap(), [Answer::Number(0)]);
    let theirs = Step::CompareDelete { key: "a".into(), value: "web-1_4711_x".into() };
    assert_eq!(bench.step(&theirs).unwrap(), [Answer::Number(0)]);
    assert!(bench.leave(1, SIDE) && bench.is_clean());
}

#[test]
fn nobody_knows_when_a_key_without_an_end_is_free() {
    let mut bench = Bench::start();
    bench.step(&Step::spoil_with_text("a", "somebody for ever")).unwrap();
    assert_eq!(bench.enter(1, SIDE), [0, 0, 0]);
    assert_eq!(bench.enter(2, SIDE), [0, 0, 0]);
}

#[test]
fn waiters_are_let_in_in_the_order_they_came() {
    let mut bench = Bench::start();
    bench.take(1);
    for who in 2..=4 {
        assert_eq!(bench.enter(who, SIDE)[1] > 0, who == 2, "the first learns when the lock ends");
    }
    assert!(bench.enter_with(2, SIDE, 2)[1] > 0, "asking again keeps the place");
    for who in 2..=4 {
        bench.leave(who - 1, SIDE);
        assert_eq!(bench.told(), [(who, if who == 2 { 2 } else { 1 })]);
        let claim = bench.remaining("a");
        assert!(claim <= CLAIM.as_millis() as i64 && claim > 2900, "{claim}");
        assert_eq!(bench.take(9)[0], 0, "the key is never gone between two of them");
        assert!(bench.extend(who, SIDE, TTL));
    }
    bench.leave(4, SIDE);
    assert!(bench.told().is_empty() && bench.is_clean());
}

#[test]
fn whoever_comes_later_stands_behind_even_if_the_clock_went_back() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    let (key, member) = (String::from(bench.keys.writers()), token(2).as_str().into());
    let came = Score::whole(4_000_000_000_000_000);
    bench.step(&Step::Spoil { key, value: Value::Sorted([(member, came)].into()) }).unwrap();
    for who in 3..=8 {
        bench.enter(who, SIDE);
    }
    for who in 2..=8 {
        bench.leave(who - 1, SIDE);
        assert_eq!(bench.told(), [(who, 1)]);
    }
}

#[test]
fn a_late_refresh_does_not_lower_the_stamp() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter_with(2, SIDE, 10);
    bench.enter_with(2, SIDE, 9);
    bench.leave(1, SIDE);
    assert_eq!(bench.told(), [(2, 10)]);
}

#[test]
fn whoever_has_it_by_now_is_told_yes_and_waits_no_longer() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.leave(1, SIDE);
    let [yes, fence, _] = bench.enter_with(2, SIDE, 2);
    assert_eq!(yes, 1);
    assert!(bench.remaining("a") > CLAIM.as_millis() as i64, "the whole time to live");
    let [yes, next, _] = bench.enter_with(2, SIDE, 3);
    assert!(yes == 1 && next > fence, "every yes mints");
    assert!(bench.leave(2, SIDE) && bench.is_clean());
}

#[test]
fn a_holder_that_stands_in_the_queue_does_not_let_itself_in() {
    // Its SET was late: it waits already, and then the key expires and the SET wins.
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.step(&Step::Delete("a".into())).unwrap();
    assert_eq!(bench.take(2)[0], 1);
    assert!(bench.leave(2, SIDE));
    assert!(bench.told().is_empty() && bench.is_clean());
}

#[test]
fn a_free_lock_goes_to_the_head_of_the_queue_and_not_to_whoever_asks() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.step(&Step::Delete("a".into())).unwrap();
    assert_eq!(bench.enter(3, SIDE)[0], 0);
    assert_eq!(bench.told(), [(2, 1)]);
}

#[test]
fn the_dead_at_the_head_of_the_queue_are_dropped() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.enter(3, SIDE);
    bench.pass(LIVENESS.as_millis() as i64 + 1);
    bench.enter(4, SIDE);
    bench.leave(1, SIDE);
    assert_eq!(bench.told(), [(4, 1)]);
    bench.leave(4, SIDE);
    assert!(bench.is_clean());
}

#[test]
fn a_waiter_that_died_goes_to_the_end() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.pass(LIVENESS.as_millis() as i64 + 1);
    bench.enter(3, SIDE);
    bench.leave(1, SIDE);
    assert_eq!(bench.told(), [(3, 1)]);
    assert_eq!(bench.enter(2, SIDE)[0], 0);
}

#[test]
fn a_token_that_was_refused_is_never_let_in() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.refuse(2, SIDE);
    assert_eq!(bench.enter(2, SIDE), [-1, 0, 0]);
    bench.leave(1, SIDE);
    assert!(bench.told().is_empty());
    assert_eq!(bench.enter(2, SIDE), [-1, 0, 0]);
    bench.pass(TTL.as_millis() as i64 + 1);
    assert_eq!(bench.enter(2, SIDE)[0], 1);
}

#[test]
fn a_waiter_that_gave_up_is_not_let_in() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.enter(3, SIDE);
    assert!(!bench.leave(2, SIDE));
    bench.leave(1, SIDE);
    assert_eq!(bench.told(), [(3, 1)]);
}

#[test]
fn whoever_gives_up_with_nobody_there_lets_the_head_in() {
    let mut bench = Bench::start();
    bench.take(1);
    bench.enter(2, SIDE);
    bench.enter(3, SIDE);
    bench.step(&Step::Delete("a".into())).unwrap();
    bench.leave(2, SIDE);
    assert_eq!(bench.told(), [(3, 1)]);
}

#[test]
fn an_attempt_leaves_no_place_in_the_queue() {
    let mut bench = Bench::start();
    bench.take(1);
    let [no, remaining, ahead] = bench.attempt(2, SIDE);
    assert!(no == 0 && remaining > 9000 && ahead == 0);
    bench.leave(1, SIDE);
    assert!(bench.told().is_empty() && bench.is_clean());
    assert_eq!(bench.attempt(2, SIDE)[0], 1);
}

#[test]
fn extending_never_shortens_and_never_takes() {
    let mut bench = Bench::start();
    assert!(!bench.extend(1, SIDE, TTL));
    bench.take(1);
    assert!(bench.extend(1, SIDE, Duration::from_millis(100)));
    assert!(bench.remaining("a") > 9000);
    assert!(bench.extend(1, SIDE, 2 * TTL));
    assert!(bench.remaining("a") > 19_000);
    assert!(!bench.extend(2, SIDE, TTL));
    bench.pass(20_001);
    assert!(!bench.extend(1, SIDE, TTL));
    assert!(bench.is_clean());
}

#[test]
fn asking_again_never_shortens() {
    let mut bench = Bench::start();
    bench.take(1);
    let ttl = Duration::from_millis(100);
    let verb = Verb::Enter { side: SIDE, ttl, wait: true, stamp: 1 };
    assert_eq!(bench.ask(1, verb).unwrap()[0], 1);
    assert!(bench.remaining("a") > 9000);
}

#[test]
fn a_fence_is_minted_for_the_holder_only_and_rises_through_a_loss_of_the_counter() {
    let mut bench = Bench::start();
    assert_eq!(bench.take(1), [1, 1, 0]);
    assert_eq!(bench.mint(2), 0);
    let first = bench.mint(1);
    assert!(first > PLAUSIBLE);
    let fence = String::from(bench.keys.fence());
    bench.step(&Step::Delete(fence.clone())).unwrap();
    let second = bench.mint(1);
    assert!(second > first);
    bench.step(&Step::spoil_with_text(&fence, "nonsense")).unwrap();
    assert!(bench.mint(1) > second);
}

#[test]
fn a_counter_that_is_ahead_of_the_clock_goes_on_by_the_numbers_of_one_hold() {
    let mut bench = Bench::start();
    let fence = String::from(bench.keys.fence());
    bench.step(&Step::spoil_with_text(&fence, "4000000000000000")).unwrap();
    assert_eq!(bench.enter(1, SIDE), [1, 4_000_000_000_000_001, 0]);
    assert_eq!(bench.mint(1), 4_000_000_000_000_001 + i64::from(FENCES));
    assert_eq!(bench.mint(1), 4_000_000_000_000_002 + i64::from(FENCES));
}

#[test]
fn it_can_be_asked_who_holds_and_how_many_wait() {
    let mut bench = Bench::start();
    let nobody = [0, 0, -2].map(Answer::Number);
    assert_eq!(bench.info(SIDE)[..3], nobody);
    bench.take(1);
    bench.enter(2, SIDE);
    bench.pass(LIVENESS.as_millis() as i64 + 1);
    bench.enter(3, SIDE);
    let info = bench.info(SIDE);
    assert_eq!(info[..2], [1, 1].map(Answer::Number));
    assert_eq!(info[3..], [Answer::Text(token(1).as_str().into())]);
}
