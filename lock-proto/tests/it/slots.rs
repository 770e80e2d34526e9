//! Permits of a semaphore on several servers, input by input.

use expect_test::expect;
use lock_proto::redis::{Command, Keys, Message, RedLock, Reply, Slots};
use lock_proto::{AcquireOptions, Demand, Instant, LockError, Seed};

use crate::redlock::{WALL, one_try, settings, within_ten_seconds};
use crate::timeline::{Backend, check, ms, name, permits};

#[test]
fn a_permit_is_a_slot_that_is_chosen_inside_the_gate() {
    check(
        slots(permits(1, 1), &one_try()),
        "1:yes 2:yes 3:yes 1:yes@1000001 2:yes@1000001 3:yes@1000001 release 1:done 2:done 3:done 1:done 2:done 3:done",
        expect![[r#"
            0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
            0.000    1:yes
            0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once
            0.000    3:yes
            0.000    1:yes@1000001
            0.000    2:yes@1000001 [acquired until 29.698s with fence 1000000], gate 1: quit, gate 2: quit, gate 3: quit
            0.000    3:yes@1000001
            0.000    release      permit:0 1: quit, permit:0 2: quit, permit:0 3: quit
            0.000    1:done
            0.000    2:done
            0.000    3:done
            0.000    1:done
            0.000    2:done       [released]
            0.000    3:done       [closed]
        "#]],
    );
}

#[test]
fn permits_are_had_all_or_none() {
    check(
        slots(permits(2, 2), &one_try()),
        "1:yes 2:yes 3:yes 1:yes@1000001 2:yes@1000001 3:yes@1000001 1:no 2:no 3:no 1:done 2:done 3:done 1:done 2:done 3:done",
        expect![[r#"
            0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
            0.000    1:yes
            0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once, permit:1 1: vote@1000002, at once, permit:1 2: vote@1000002, at once, permit:1 3: vote@1000002, at once
            0.000    3:yes
            0.000    1:yes@1000001
            0.000    2:yes@1000001
            0.000    3:yes@1000001
            0.000    1:no
            0.000    2:no         [timed out after 0ns], gate 1: quit, gate 2: quit, gate 3: quit, permit:0 1: quit, permit:0 2: quit, permit:0 3: quit
            0.000    3:no
            0.000    1:done
            0.000    2:done
            0.000    3:done
            0.000    1:done
            0.000    2:done       [released]
            0.000    3:done       [closed]
        "#]],
    );
}

#[test]
fn a_huge_semaphore_costs_no_more_than_a_small_one() {
    check(
        slots(permits(1, u32::MAX), &one_try()),
        "1:yes 2:yes 3:yes 1:no 2:no 3:no 1:yes@1000002 2:yes@1000002 3:yes@1000002",
        expect![[r#"
            0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
            0.000    1:yes
            0.000    2:yes        permit:2770424469 1: vote@1000001, at once, permit:2770424469 2: vote@1000001, at once, permit:2770424469 3: vote@1000001, at once
            0.000    3:yes
            0.000    1:no
            0.000    2:no         permit:2770424470 1: vote@1000002, at once, permit:2770424470 2: vote@1000002, at once, permit:2770424470 3: vote@1000002, at once
            0.000    3:no
            0.000    1:yes@1000002
            0.000    2:yes@1000002 [acquired until 29.698s with fence 1000000], gate 1: quit, gate 2: quit, gate 3: quit
            0.000    3:yes@1000002
        "#]],
    );
}

#[test]
fn a_taker_waits_at_the_slots_of_a_small_semaphore() {
    check(
        slots(permits(1, 1), &within_ten_seconds()),
        "1:yes 2:yes 3:yes 1:no 2:no 3:no 1:no 2:no 3:no +300ms told=1000002 1:yes@1300002 2:yes@1300002 3:yes@1300002",
        expect![[r#"
            0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
            0.000    1:yes
            0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once
            0.000    3:yes
            0.000    1:no
            0.000    2:no         permit:0 1: vote@1000002, permit:0 2: vote@1000002, permit:0 3: vote@1000002
            0.000    3:no
            0.000    1:no
            0.000    2:no
            0.000    3:no
            300.000  told=1000002 permit:0 1: vote@1300002, permit:0 2: vote@1300002, permit:0 3: vote@1300002
            300.000  1:yes@1300002
            300.000  2:yes@1300002 [acquired until 29.998s with fence 1000000], gate 1: quit, gate 2: quit, gate 3: quit
            300.000  3:yes@1300002
        "#]],
    );
}

#[test]
fn slots_that_could_not_be_asked_for_are_no_time_out() {
    check(
        slots(permits(1, 1), &one_try()),
        "1:yes 2:yes 3:yes not-sent not-sent not-sent",
        expect![[r#"
            0.000    start        gate 1: vote@1000000, gate 2: vote@1000000, gate 3: vote@1000000
            0.000    1:yes
            0.000    2:yes        permit:0 1: vote@1000001, at once, permit:0 2: vote@1000001, at once, permit:0 3: vote@1000001, at once
            0.000    3:yes
            0.000    not-sent
            0.000    not-sent     [failed: too late], gate 1: quit, gate 2: quit, gate 3: quit
            0.000    not-sent
        "#]],
    );
}

#[test]
fn too_many_permits_at_once_are_refused() {
    let error = made(permits(65, 100), &one_try()).unwrap_err();
    assert!(error.to_string().starts_with("invalid option permits"), "{error}");
    assert!(matches!(made(Demand::Shared, &one_try()), Err(LockError::Unsupported(_))));
}

pub(crate) fn slots(demand: Demand, options: &AcquireOptions) -> Slots {
    made(demand, options).expect("sensible options")
}

fn made(demand: Demand, options: &AcquireOptions) -> Result<Slots, LockError> {
    let keys = Keys::new("", &name()).expect("a plain name");
    let (seed, now) = (Seed::from_bytes([7; 32]), Instant::ZERO);
    Slots::new(keys, demand, options, &settings(), &[ms(50); 3], WALL, &seed, now)
}

impl Backend for Slots {
    fn reply(word: &str, now: Instant) -> Reply {
        RedLock::reply(word, now)
    }

    fn describe(command: &Command) -> String {
        let at = command.keys.lock().rsplit_once("dlock:").map_or("", |(_, at)| at);
        format!("{at} {}", RedLock::describe(command))
    }

    fn server(command: &Command) -> usize {
        command.server
    }

    fn message(word: &str) -> Option<Message> {
        let stamp = word.strip_prefix("told=")?.parse().expect("a whole number");
        Some(Message { fence: 0, stamp })
    }
}
