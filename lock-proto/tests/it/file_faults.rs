use expect_test::expect;
use lock_proto::file::FileLock;
use lock_proto::{AcquireOptions, Event, Instant, LockError, Machine as _};

use crate::file_timelines::{UNCONTENDED, mutex, removing_mutex};
use crate::timeline::{Backend as _, check};

#[test]
fn a_refused_place_in_the_queue_is_the_callers_error() {
    check(
        waiting(),
        "refused",
        expect![[r#"
            0.000    start        enter the queue
            0.000    refused      [failed: no space left], [closed]
        "#]],
    );
}

#[test]
fn a_place_of_unknown_outcome_is_given_back() {
    // It was once taken for a no.
    check(
        waiting(),
        "unknown done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    unknown      [failed: nobody knows], leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_place_that_is_answered_with_nonsense_is_given_back() {
    check(
        waiting(),
        "replaced done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    replaced     [failed: the queue answered nonsense], leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_place_of_unknown_outcome_after_the_leave_needs_another_leave() {
    check(
        waiting(),
        "release done! unknown done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    release      leave the queue
            0.000    done!
            0.000    unknown      leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_leave_that_was_refused_is_not_clean() {
    // It was once.
    check(
        waiting(),
        &format!("{UNCONTENDED} release done refused"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            0.000    release      close file
            0.000    done         leave the queue
            0.000    refused      [closed, not clean]
        "#]],
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_the_callers_error() {
    check(
        waiting(),
        "done no-directory refused done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    no-directory create the directory
            0.000    refused      [failed: no space left], leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_the_callers_error() {
    check(
        waiting(),
        "done refused done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    refused      [failed: no space left], leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn an_opening_of_unknown_outcome_is_closed() {
    check(
        waiting(),
        "done unknown done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    unknown      [failed: nobody knows], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_locked_is_an_error_and_not_busy() {
    check(
        waiting(),
        "done done refused done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    refused      [failed: no space left], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_locking_of_unknown_outcome_is_closed() {
    check(
        waiting(),
        "done done unknown done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    unknown      [failed: nobody knows], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_verified_is_the_callers_error() {
    check(
        waiting(),
        "done done done refused done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    refused      [failed: no space left], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_the_callers_error() {
    check(
        waiting(),
        "done done done done refused done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    refused      [failed: no space left], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_full_disk_is_the_callers_error() {
    check(
        waiting(),
        "done done done done empty refused done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    refused      [failed: no space left], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn nonsense_in_answer_to_any_step_is_an_error() {
    for answers in ["done busy", "done done replaced", "done done done busy"] {
        check_closes_with_an_error(&format!("{answers} done done"));
    }
    check_closes_with_an_error("done done done done done done done");
    check_closes_with_an_error("done done done done empty busy done done");
}

#[test]
fn a_held_file_that_cannot_be_looked_at_is_still_held() {
    check(
        waiting(),
        &format!("{UNCONTENDED} next refused next done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            500.000  Probe        verify file
            500.000  refused
            1000.000 Probe        verify file
            1000.000 done
        "#]],
    );
}

#[test]
fn a_close_of_unknown_outcome_is_not_clean() {
    check(
        waiting(),
        &format!("{UNCONTENDED} release unknown done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            0.000    release      close file
            0.000    unknown      leave the queue
            0.000    done         [closed, not clean]
        "#]],
    );
}

#[test]
fn a_close_that_failed_while_a_replaced_file_was_given_up_is_not_clean() {
    // It was once, because only closes of the way out counted.
    check(
        waiting(),
        "done done done replaced unknown done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    replaced     close file
            0.000    unknown      [failed: nobody knows], leave the queue
            0.000    done         [closed, not clean]
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_deleted_is_unlocked_all_the_same() {
    check(
        removing_mutex(),
        &format!("{UNCONTENDED} release done refused done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            0.000    release      verify file
            0.000    done         remove file
            0.000    refused      close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_cannot_be_verified_is_not_deleted() {
    check(
        removing_mutex(),
        &format!("{UNCONTENDED} release refused done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            0.000    release      verify file
            0.000    refused      close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

fn check_closes_with_an_error(script: &str) {
    let mut machine = waiting();
    for word in script.split_whitespace() {
        let Some(request) = machine.poll_request() else {
            break;
        };
        let reply = FileLock::reply(word, Instant::ZERO);
        machine.handle_reply(request.id, Ok(reply), Instant::ZERO);
    }
    assert!(machine.poll_request().is_none(), "{script}");
    let failed = machine.poll_event();
    assert!(matches!(failed, Some(Event::Failed(LockError::Backend(_)))), "{script}: {failed:?}");
    assert!(matches!(machine.poll_event(), Some(Event::Closed { .. })), "{script}");
}

fn waiting() -> FileLock {
    mutex(AcquireOptions::new())
}
