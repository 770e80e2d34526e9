//! One acquisition of permits on PostgreSQL, step by step.

use expect_test::expect;
use lock_proto::postgres::{Command, PermitKeys, PermitLock, Reply, Subject, Verb};
use lock_proto::{AcquireOptions, Event, Hub, Instant, LockName, Seed};

use crate::timeline::{Backend, at, check, ms};

#[test]
fn free_permits_are_one_question_and_one_release() {
    check(
        lock(2, &forever()),
        "took=1,2 release unlocked",
        expect![[r#"
        0.000    start        take 2 outside, but []
        0.000    took=1,2     [acquired]
        0.000    release      give [1, 2] back, outside
        0.000    unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_single_try_of_what_is_out_ends_with_the_first_answer() {
    check(
        lock(2, &within(0)),
        "busy",
        expect![[r#"
        0.000    start        take 2 outside, but []
        0.000    busy         [timed out after 0ns], [closed]
    "#]],
    );
}

#[test]
fn who_finds_none_waits_at_the_gate_and_is_told_when_one_comes_back() {
    check(
        lock(1, &forever()),
        "busy +1s granted took= +200ms nudge took=4 release unlocked",
        expect![[r#"
            0.000    start        take 1 outside, but []
            0.000    busy         wait at the gate
            1000.000 granted      take 1 inside, but []
            1000.000 took=
            1200.000 nudge        take 1 inside, but []
            1200.000 took=4       [acquired]
            1200.000 release      give [4] back, outside
            1200.000 unlocked     [closed]
        "#]],
    );
}

#[test]
fn who_is_inside_keeps_what_it_gets_and_looks_once_a_second() {
    check(
        lock(3, &forever()),
        "busy granted took=2 next took= next took=1,5",
        expect![[r#"
        0.000    start        take 3 outside, but []
        0.000    busy         wait at the gate
        0.000    granted      take 3 inside, but []
        0.000    took=2
        1000.000 Retry        take 2 inside, but [2]
        1000.000 took=
        2000.000 Retry        take 2 inside, but [2]
        2000.000 took=1,5     [acquired]
    "#]],
    );
}

#[test]
fn who_is_told_while_it_asks_asks_again_at_once() {
    check(
        lock(1, &forever()),
        "busy granted nudge took= took= next took=1",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    busy         wait at the gate
        0.000    granted      take 1 inside, but []
        0.000    nudge
        0.000    took=        take 1 inside, but []
        0.000    took=
        1000.000 Retry        take 1 inside, but []
        1000.000 took=1       [acquired]
    "#]],
    );
}

#[test]
fn a_time_out_inside_gives_back_what_was_got_and_the_gate() {
    check(
        lock(3, &within(1500)),
        "busy granted took=2 next took= next unlocked",
        expect![[r#"
        0.000    start        take 3 outside, but []
        0.000    busy         wait at the gate
        0.000    granted      take 3 inside, but []
        0.000    took=2
        1000.000 Retry        take 2 inside, but [2]
        1000.000 took=
        1500.000 Budget       [timed out after 1.5s], give [2] back, inside
        1500.000 unlocked     [closed]
    "#]],
    );
}

#[test]
fn a_question_that_came_too_late_to_be_asked_is_a_time_out() {
    check(
        lock(1, &within(1)),
        "+1ms not-sent",
        expect![[r#"
            0.000    start        take 1 outside, but []
            1.000    not-sent     [timed out after 1ms], [closed]
        "#]],
    );
}

#[test]
fn a_time_out_at_the_gate_gives_everything_back_that_may_be_ours() {
    check(
        lock(1, &within(500)),
        "busy +499ms expired next unlocked",
        expect![[r#"
            0.000    start        take 1 outside, but []
            0.000    busy         wait at the gate
            499.000  expired
            500.000  Budget       [timed out after 500ms], give all back, inside
            500.000  unlocked     [closed]
        "#]],
    );
}

#[test]
fn who_gives_up_at_the_gate_cancels() {
    check(
        lock(1, &forever()),
        "busy release cancelled done unlocked",
        expect![[r#"
            0.000    start        take 1 outside, but []
            0.000    busy         wait at the gate
            0.000    release      cancel
            0.000    cancelled
            0.000    done         give all back, inside
            0.000    unlocked     [closed]
        "#]],
    );
}

#[test]
fn the_end_of_the_session_is_the_loss_of_the_permits() {
    check(
        lock(1, &forever()),
        "took=3 disconnect",
        expect![[r#"
        0.000    start        take 1 outside, but []
        0.000    took=3       [acquired]
        0.000    disconnect   [lost: it was taken away], [closed, not clean]
    "#]],
    );
}

#[test]
fn the_end_of_the_session_inside_begins_again() {
    check(
        lock(2, &forever()),
        "busy granted took=3 disconnect next took=1,2",
        expect![[r#"
        0.000    start        take 2 outside, but []
        0.000    busy         wait at the gate
        0.000    granted      take 2 inside, but []
        0.000    took=3
        0.000    disconnect
        5.464    Retry        take 2 outside, but []
        5.464    took=1,2     [acquired]
    "#]],
    );
    check(
        lock(2, &forever()),
        "busy granted unknown next busy",
        expect![[r#"
        0.000    start        take 2 outside, but []
        0.000    busy         wait at the gate
        0.000    granted      take 2 inside, but []
        0.000    unknown
        5.464    Retry        take 2 outside, but []
        5.464    busy         wait at the gate
    "#]],
    );
}

#[test]
fn a_question_that_failed_leaves_every_permit_in_doubt() {
    check(
        lock(1, &forever()),
        "refused unlocked",
        expect![[r#"
            0.000    start        take 1 outside, but []
            0.000    refused      [failed: no space left], give all back, inside
            0.000    unlocked     [closed]
        "#]],
    );
}

#[test]
fn who_has_its_permits_makes_way_for_the_next_of_its_process() {
    let mut hub = Hub::new();
    let first = hub.start(lock(1, &forever()), (), at(0));
    let second = hub.start(lock(1, &forever()), (), at(0));
    assert!(hub.poll_request(second).is_none());
    let request = hub.poll_request(first).expect("it asks");
    hub.handle_reply(first, request.id, Ok(Reply::Took(vec![1])), at(1));
    assert_eq!(hub.poll_succession().map(|it| (it.lock, it.inherits)), Some((second, false)));
    assert_eq!(hub.poll_request(second).map(|it| it.command.verb), Some(Verb::Try));
    assert!(matches!(hub.poll_event(first), Some(Event::Acquired { .. })));
}

#[test]
fn the_locks_of_a_semaphore_follow_one_another() {
    let name = LockName::new("pool").expect("a short name");
    let keys = PermitKeys::new(&name, 3);
    assert_eq!(keys.permit(3), keys.permit(0) + 3);
    assert_eq!(keys.channel(), format!("dlock_{:016x}", keys.permit(0)));
    assert_eq!(PermitKeys::gate_of(&keys.channel()), Some(keys.gate()));
    let most = PermitKeys::new(&name, u32::MAX);
    assert_eq!(most.permit(u32::MAX) - most.permit(0), i64::from(u32::MAX));
}

impl Backend for PermitLock {
    fn reply(word: &str, _now: Instant) -> Reply {
        if let Some(numbers) = word.strip_prefix("took=") {
            let numbers = numbers.split(',').filter(|it| !it.is_empty());
            return Reply::Took(numbers.map(|it| it.parse().expect("a number")).collect());
        }
        match word {
            "granted" => Reply::Granted { fence: None },
            "busy" => Reply::Busy,
            "full" => Reply::Full,
            "soon" => Reply::Soon,
            "deadlock" => Reply::Deadlock("process 7 waits for process 8".into()),
            "expired" => Reply::Expired,
            "cancelled" => Reply::Cancelled,
            "unlocked" => Reply::Unlocked(true),
            "done" => Reply::Done,
            _ => panic!("no reply is called {word}"),
        }
    }

    fn describe(command: &Command) -> String {
        let Subject::Permits(permits) = &command.subject else { panic!("it is about permits") };
        let (wanted, ours, inside) = (permits.wanted, &permits.ours, permits.inside);
        let place = if inside { "inside" } else { "outside" };
        match command.verb {
            Verb::Try => format!("take {wanted} {place}, but {ours:?}"),
            Verb::Wait { .. } => "wait at the gate".into(),
            Verb::Unlock if permits.doubt => format!("give all back, {place}"),
            Verb::Unlock => format!("give {ours:?} back, {place}"),
            verb @ (Verb::Cancel | Verb::Close) => format!("{verb:?}").to_lowercase(),
        }
    }
}

pub(crate) fn lock(count: u32, options: &AcquireOptions) -> PermitLock {
    let name = LockName::new("pool").expect("a short name");
    let keys = PermitKeys::new(&name, 5);
    let seed = Seed::from_bytes([7; 32]);
    PermitLock::new(keys, count, options, &seed, at(0)).expect("sensible options")
}

pub(crate) fn forever() -> AcquireOptions {
    AcquireOptions::new()
}

pub(crate) fn within(millis: u64) -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(millis))
}
