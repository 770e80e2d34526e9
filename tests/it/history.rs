//! Histories of locks, and such that no lock can have.

use lock_tests::entropy::Entropy;
use lock_tests::history::{Action, Hold, Operation, check};

/// How many permits a reader-writer lock has.
const ALL: u32 = 1000;

fn operation(client: u32, action: Action, called: u64, returned: Option<u64>) -> Operation {
    Operation { hold: Hold { client, number: 0 }, action, called, returned }
}

/// Somebody is let in for so many permits.
fn enters(client: u32, permits: u32, called: u64, returned: u64) -> Operation {
    operation(client, Action::Enter { permits, fence: None }, called, Some(returned))
}

fn fenced(client: u32, fence: u64, called: u64, returned: u64) -> Operation {
    let action = Action::Enter { permits: 1, fence: Some(fence) };
    operation(client, action, called, Some(returned))
}

fn leaves(client: u32, called: u64, returned: u64) -> Operation {
    operation(client, Action::Leave, called, Some(returned))
}

/// Somebody crashes, or believes from then on that its lease has run out.
fn vanishes(client: u32, called: u64) -> Operation {
    operation(client, Action::Leave, called, None)
}

fn refused(client: u32, permits: u32, called: u64, returned: u64) -> Operation {
    operation(client, Action::Refused { permits }, called, Some(returned))
}

fn forgets(fences: bool, called: u64, returned: u64) -> Operation {
    operation(0, Action::Forget { fences }, called, Some(returned))
}

#[track_caller]
fn check_good(permits: u32, history: &[Operation]) {
    check(permits, history).unwrap_or_else(|unexplained| panic!("{unexplained}"));
}

#[track_caller]
fn check_bad(permits: u32, history: &[Operation]) {
    check(permits, history).expect_err("no lock has such a history");
}

#[test]
fn nothing_is_explained_by_any_lock() {
    check_good(1, &[]);
    check_good(1, &[vanishes(1, 5)]);
}

#[test]
fn one_after_the_other_is_a_mutex() {
    check_good(1, &[enters(1, 1, 0, 1), leaves(1, 2, 3), enters(2, 1, 4, 5), leaves(2, 6, 7)]);
}

#[test]
fn whoever_waited_may_have_been_let_in_before_the_release_was_answered() {
    check_good(1, &[enters(1, 1, 0, 1), enters(2, 1, 2, 5), leaves(1, 4, 9), leaves(2, 6, 7)]);
}

#[test]
fn two_inside_at_once_are_no_mutex() {
    check_bad(1, &[enters(1, 1, 0, 1), enters(2, 1, 2, 3), leaves(1, 4, 5), leaves(2, 6, 7)]);
    check_bad(1, &[enters(1, 1, 0, 1), enters(2, 1, 2, 3)]);
}

#[test]
fn whoever_was_let_in_before_the_other_began_to_leave_makes_two() {
    check_bad(1, &[enters(1, 1, 0, 1), leaves(1, 4, 9), enters(2, 1, 2, 3), leaves(2, 6, 7)]);
}

#[test]
fn the_place_of_one_that_vanished_is_free_from_then_on_and_not_before() {
    check_good(1, &[enters(1, 1, 0, 1), vanishes(1, 4), enters(2, 1, 2, 5)]);
    check_bad(1, &[enters(1, 1, 0, 1), vanishes(1, 4), enters(2, 1, 2, 3)]);
}

#[test]
fn one_that_vanished_need_not_be_gone() {
    check_good(1, &[enters(1, 1, 0, 1), vanishes(1, 4), refused(2, 1, 100, 101)]);
}

#[test]
fn fences_rise_in_the_order_in_which_they_were_given_out() {
    let turns = |first, second| {
        [fenced(1, first, 0, 1), leaves(1, 2, 3), fenced(2, second, 4, 5), leaves(2, 6, 7)]
    };
    check_good(1, &turns(1, 9));
    check_bad(1, &turns(9, 1));
    check_bad(1, &turns(4, 4));
}

#[test]
fn fences_tell_the_order_where_the_times_do_not() {
    // The first came in after the second had left, so the third, who is still inside, came later.
    let history = |third| {
        let first = [fenced(1, 7, 0, 10), leaves(1, 11, 12)];
        let second = [fenced(2, 5, 0, 3), leaves(2, 4, 12)];
        [&first[..], &second, &[fenced(3, third, 0, 20)]].concat()
    };
    check_good(1, &history(9));
    check_bad(1, &history(6));
}

#[test]
fn who_is_refused_must_have_met_somebody() {
    check_good(1, &[enters(1, 1, 0, 1), refused(2, 1, 2, 3), leaves(1, 4, 5)]);
    check_bad(1, &[enters(1, 1, 0, 1), leaves(1, 2, 3), refused(2, 1, 4, 5)]);
    check_bad(1, &[refused(2, 1, 4, 5)]);
}

#[test]
fn who_was_never_answered_explains_a_refusal_after_it_asked() {
    let asked = |called| operation(1, Action::Enter { permits: 1, fence: None }, called, None);
    check_good(1, &[asked(0), refused(2, 1, 4, 5)]);
    check_bad(1, &[asked(6), refused(2, 1, 4, 5)]);
    check_good(1, &[asked(0), refused(2, 1, 4, 5), vanishes(1, 0), enters(3, 1, 6, 7)]);
    check_bad(1, &[asked(0), refused(2, 1, 4, 5), enters(3, 1, 6, 7)]);
    check_good(1, &[asked(0), enters(3, 1, 6, 7)]);
}

#[test]
fn a_server_that_forgets_lets_another_in_and_keeps_its_fences_if_it_is_to() {
    let history = |fences, second| {
        let first = [fenced(1, 5, 0, 1), vanishes(1, 100)];
        [&first[..], &[forgets(fences, 10, 20), fenced(2, second, 30, 31), leaves(2, 40, 41)]]
            .concat()
    };
    check_good(1, &history(false, 6));
    check_bad(1, &history(false, 5));
    check_good(1, &history(true, 5));
}

#[test]
fn a_server_forgets_only_what_it_knew_and_only_then() {
    let late = |asked, told| [enters(1, 1, 30, 31), vanishes(1, 100), enters(2, 1, asked, told)];
    check_bad(1, &[&late(40, 41)[..], &[forgets(false, 10, 20)]].concat());
    check_bad(1, &[&late(40, 41)[..], &[forgets(false, 50, 60)]].concat());
    check_good(1, &[&late(40, 55)[..], &[forgets(false, 50, 60)]].concat());
}

#[test]
fn readers_share_and_writers_do_not() {
    let readers = [enters(1, 1, 0, 1), enters(2, 1, 0, 1)];
    check_good(ALL, &[&readers[..], &[leaves(1, 2, 3), leaves(2, 2, 3)]].concat());
    check_bad(ALL, &[&readers[..], &[enters(3, ALL, 2, 3)]].concat());
    let left = [leaves(1, 2, 3), leaves(2, 2, 6), enters(3, ALL, 0, 5)];
    check_good(ALL, &[&readers[..], &left].concat());
    check_bad(ALL, &[enters(1, ALL, 0, 1), enters(2, 1, 2, 3)]);
    check_bad(ALL, &[enters(1, ALL, 0, 1), enters(2, ALL, 2, 3)]);
}

#[test]
fn no_more_permits_are_held_than_there_are() {
    let two = [enters(1, 2, 0, 1), enters(2, 1, 0, 1)];
    check_good(3, &two);
    check_bad(3, &[&two[..], &[enters(3, 1, 2, 3)]].concat());
    check_good(3, &[&two[..], &[leaves(2, 2, 3), enters(3, 1, 2, 3)]].concat());
    check_good(3, &[&two[..], &[refused(3, 1, 2, 3)]].concat());
    check_bad(4, &[&two[..], &[refused(3, 1, 2, 3)]].concat());
}

#[test]
fn what_is_wrong_is_told() {
    let wrong = [fenced(1, 3, 0, 1), leaves(1, 8, 9), fenced(2, 4, 2, 3), leaves(2, 6, 7)];
    let unexplained = check(1, &wrong).expect_err("two are inside");
    assert_eq!(
        unexplained.to_string(),
        "1#0 is inside, the last fence is 3, and none of these can be next:\n    \
         2#0 enters with 4 between 2 and 3"
    );
}

/// A history as a lock makes it: the moments of the effects are chosen first, and times around them.
fn lived(seed: u64, clients: usize, rounds: usize) -> Vec<Operation> {
    let mut entropy = Entropy::from_seed(seed, rounds * 16);
    let (mut history, mut now, mut fence) = (Vec::new(), 1000, 0);
    let mut free_since = vec![0_u64; clients];
    for number in 0..rounds {
        let client = entropy.pick(clients);
        let hold = Hold { client: client as u32, number: number as u32 };
        let around = |entropy: &mut Entropy, at: u64, from: u64| {
            let called = at.saturating_sub(10 * entropy.pick(100) as u64).max(from + 1);
            (called, at + 1 + entropy.pick(100) as u64)
        };
        now = now.max(free_since[client] + 1) + 1 + entropy.pick(50) as u64;
        fence += 1 + entropy.pick(3) as u64;
        let (called, returned) = around(&mut entropy, now, free_since[client]);
        let enter = Action::Enter { permits: 1, fence: Some(fence) };
        history.push(Operation { hold, action: enter, called, returned: Some(returned) });
        now = returned + 1 + entropy.pick(50) as u64;
        let crashes = entropy.happens(20);
        let leaving = Operation { hold, action: Action::Leave, called: now - 1, returned: None };
        if crashes {
            now += entropy.pick(100) as u64;
            history.push(leaving);
            free_since[client] = now;
        } else {
            let returned = now + 1 + entropy.pick(100) as u64;
            history.push(Operation { returned: Some(returned), ..leaving });
            free_since[client] = returned;
        }
    }
    history
}

#[test]
fn random_lives_are_explained_and_no_longer_when_two_holds_trade_fences() {
    for seed in 0..300 {
        let history = lived(seed, 5, 40);
        check_good(1, &history);
        let mut broken = history;
        let mut entropy = Entropy::from_seed(seed, 600);
        let first = 2 * entropy.pick(39);
        let (one, other) = (broken[first].action, broken[first + 2].action);
        (broken[first].action, broken[first + 2].action) = (other, one);
        check_bad(1, &broken);
    }
}

#[test]
fn random_lives_are_not_explained_when_a_hold_lasts_into_the_next() {
    for seed in 0..300 {
        let mut broken = lived(seed, 5, 40);
        let next = broken[2 * (seed as usize % 39) + 2].returned.expect("it was answered");
        let leave = &mut broken[2 * (seed as usize % 39) + 1];
        (leave.called, leave.returned) = (next + 1, leave.returned.map(|at| at.max(next + 2)));
        check_bad(1, &broken);
    }
}

#[test]
fn fifty_thousand_holds_are_explained() {
    check_good(1, &lived(7, 8, 50_000));
}
