//! A wait for a lock file that is woken for nothing.

use expect_test::expect;
use lock_proto::file::{Command, Reply};
use lock_proto::{AcquireOptions, Event, Instant, Machine as _};

use crate::file_timelines::{CONTENDED, mutex, one_try, within_a_second};
use crate::timeline::{at, check};

#[test]
fn a_wake_up_in_the_queue_costs_nobody_his_place() {
    check(
        mutex(within_a_second()),
        "+999ms nudge timeout done",
        expect![[r#"
            0.000    start        enter the queue
            999.000  nudge
            999.000  timeout
            999.000  done         open file
        "#]],
    );
    check(
        mutex(one_try()),
        "nudge timeout done",
        expect![[r#"
            0.000    start        enter at once
            0.000    nudge
            0.000    timeout
            0.000    done         open file
        "#]],
    );
}

#[test]
fn a_wake_up_before_its_time_does_not_end_a_rest() {
    check(
        mutex(within_a_second()),
        &format!("{CONTENDED} +900ms timeout next"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            900.000  timeout
            1000.000 Budget       lock file exclusive
        "#]],
    );
}

#[test]
fn who_waits_for_ever_sets_no_alarm_in_the_queue() {
    assert_eq!(mutex(AcquireOptions::new()).poll_timeout(), None);
}

#[test]
fn a_step_that_nobody_has_taken_is_called_off() {
    let mut machine = mutex(AcquireOptions::new());
    let enter = machine.poll_request().expect("it enters the queue");
    machine.handle_reply(enter.id, Ok(Reply::Done), Instant::ZERO);
    // The file is to be opened, and before it is, nobody wants the lock any more.
    machine.release(at(1));
    let leave = machine.poll_request().expect("it leaves the queue");
    assert!(matches!(leave.command, Command::Leave), "{leave:?}");
    machine.handle_reply(leave.id, Ok(Reply::Done), at(1));
    assert!(matches!(machine.poll_event(), Some(Event::Closed { clean: true })));
}

#[test]
fn an_answer_to_a_question_of_somebody_else_says_nothing() {
    let mut other = mutex(AcquireOptions::new());
    other.poll_request();
    other.release(at(0));
    let question = other.poll_request().expect("it leaves the queue").id;
    let mut machine = mutex(AcquireOptions::new());
    machine.handle_reply(question, Ok(Reply::Busy), at(0));
    assert!(machine.poll_event().is_none());
}
