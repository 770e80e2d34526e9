//! A taker of permits on several servers that finds too few of them free: how many slots it tries,
//! at how many it waits, and for how long.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::{Expect, expect};
use lock_proto::redis::{Command, Reply, Slots, Verb};
use lock_proto::{AcquireOptions, Instant, Machine as _, Request};

use crate::redlock::within_ten_seconds;
use crate::slots::slots;
use crate::timeline::{at, describe_event, ms, permits};

#[test]
fn a_taker_waits_at_a_few_of_many_slots_for_a_while_each() {
    check(
        slots(permits(1, 1_000), &within_ten_seconds()),
        0,
        at(4_000),
        expect![[r#"
            0.000s enter 1, try 64, wait at 16
            1.447s leave 16, try 16, wait at 16
            2.775s leave 16, try 16, wait at 16
        "#]],
    );
}

#[test]
fn a_taker_stays_at_the_slots_if_there_are_no_others() {
    check(
        slots(permits(1, 16), &within_ten_seconds()),
        0,
        at(4_000),
        expect![[r#"
            0.000s enter 1, try 16, wait at 16
        "#]],
    );
}

#[test]
fn the_slots_at_which_a_taker_waits_are_those_there_are() {
    let mut slots = slots(permits(1, 16), &within_ten_seconds());
    let mut waited_at = BTreeSet::new();
    while let Some(Request { id, command, .. }) = slots.poll_request() {
        let lock = command.keys.lock().to_owned();
        slots.handle_reply(id, Ok(answer(&command, lock.ends_with("gate"))), at(0));
        if let (Some((_, slot)), Verb::Vote { wait: true, .. }) =
            (lock.rsplit_once("permit:"), command.verb)
        {
            waited_at.insert(slot.parse::<u32>().expect("a number"));
        }
    }
    assert_eq!(waited_at, (0..16).collect());
}

#[test]
fn a_taker_of_many_permits_tries_and_waits_at_more_slots() {
    check(
        slots(permits(40, 1_000), &within_ten_seconds()),
        0,
        at(500),
        expect![[r#"
        0.000s enter 1, try 80, wait at 40
    "#]],
    );
}

#[test]
fn what_was_got_before_the_rest_is_prolonged_until_the_time_is_up() {
    let options = AcquireOptions::new().with_timeout(ms(25_000));
    check(
        slots(permits(2, 3), &options),
        1,
        at(26_000),
        expect![[r#"
            0.000s enter 1, try 3, wait at 2
            9.698s stay in 1
            10.000s keep 1
            19.396s stay in 1
            20.000s keep 1
            25.000s leave 4, [timed out after 25s] 1, [closed] 1
        "#]],
    );
}

/// Lets all servers answer at once, and as many slots be `free`. Tells the first server's part.
fn check(mut slots: Slots, free: usize, end: Instant, expected: Expect) {
    let (mut now, mut transcript) = (Instant::ZERO, String::new());
    let mut taken = BTreeSet::new();
    while now <= end {
        let mut said: Vec<(String, u32)> = Vec::new();
        let mut say = |what: String| match said.last_mut() {
            Some((last, count)) if *last == what => *count += 1,
            _ => said.push((what, 1)),
        };
        while let Some(Request { id, command, .. }) = slots.poll_request() {
            let lock = command.keys.lock();
            let gate = lock.ends_with("gate");
            if !gate && taken.len() < free {
                taken.insert(lock.to_owned());
            }
            if command.server == 0 {
                say(describe(&command, gate).into());
            }
            slots.handle_reply(id, Ok(answer(&command, gate || taken.contains(lock))), now);
        }
        while let Some(event) = slots.poll_event() {
            say(format!("[{}]", describe_event(&event)));
        }
        // Refreshes of one place at a time are those of any waiter.
        if said != [("wait at".into(), 1)] {
            let said: Vec<_> = said.iter().map(|(what, count)| format!("{what} {count}")).collect();
            writeln!(transcript, "{now:?} {}", said.join(", ")).expect("a string takes everything");
        }
        let Some(due) = slots.poll_timeout() else { break };
        now = due.at;
        slots.handle_timeout(now);
    }
    expected.assert_eq(&transcript);
}

fn describe(command: &Command, gate: bool) -> &'static str {
    match command.verb {
        Verb::Vote { .. } if gate => "enter",
        Verb::Vote { wait: false, .. } => "try",
        Verb::Vote { wait: true, .. } => "wait at",
        Verb::Keep { .. } if gate => "stay in",
        Verb::Keep { .. } => "keep",
        Verb::StepBack { .. } => "step back from",
        Verb::Quit { .. } => "leave",
        Verb::Take { .. }
        | Verb::Enter { .. }
        | Verb::Extend { .. }
        | Verb::Mint
        | Verb::GiveBack
        | Verb::Leave { .. } => unreachable!("several servers are asked to vote"),
    }
}

fn answer(command: &Command, yes: bool) -> Reply {
    let Verb::Vote { ballot, .. } = command.verb else { return [1, 0, 0] };
    if yes { [1, ballot.cast_signed(), 0] } else { [0, 1, 0] }
}
