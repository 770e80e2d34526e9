use expect_test::expect;
use lock_proto::{AcquireOptions, Event, Instant, Machine as _};

use crate::file_timelines::{CONTENDED, UNCONTENDED, mutex, within_a_second};
use crate::timeline::check;

#[test]
fn a_place_that_comes_when_the_time_is_up_is_given_back() {
    check(
        mutex(within_a_second()),
        "next done done",
        expect![[r#"
            0.000    start        enter the queue
            1000.000 Budget       [timed out after 1s], leave the queue
            1000.000 done
            1000.000 done         [closed]
        "#]],
    );
}

#[test]
fn a_place_that_comes_after_the_leave_is_given_back_by_another() {
    check(
        mutex(AcquireOptions::new()),
        "release done! done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    release      leave the queue
            0.000    done!
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_before_anything_was_asked_asks_nothing() {
    let mut machine = mutex(AcquireOptions::new());
    machine.release(Instant::ZERO);
    assert!(machine.poll_request().is_none());
    let closed = machine.poll_event();
    assert!(matches!(closed, Some(Event::Closed { clean: true })), "{closed:?}");
}

#[test]
fn a_cancel_in_the_queue_withdraws() {
    check(
        mutex(AcquireOptions::new()),
        "release withdrawn done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    release      leave the queue
            0.000    withdrawn
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_while_opening_closes_what_was_opened() {
    check(
        mutex(AcquireOptions::new()),
        "done release done done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    release
            0.000    done         close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_while_locking_unlocks() {
    check(
        mutex(AcquireOptions::new()),
        "done done release done done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    release
            0.000    done         close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_while_verifying_unlocks() {
    check(
        mutex(AcquireOptions::new()),
        "done done done release done done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    release
            0.000    done         close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_while_reading_unlocks() {
    check(
        mutex(AcquireOptions::new()),
        "done done done done release empty done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    release
            0.000    empty        close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_while_writing_unlocks() {
    check(
        mutex(AcquireOptions::new()),
        "done done done done empty release done done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    release
            0.000    done         close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_while_resting_closes() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{CONTENDED} release done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            0.000    release      close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_release_while_probing_waits_for_the_probe() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{UNCONTENDED} next release done done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            500.000  Probe        verify file
            500.000  release
            500.000  done         close file
            500.000  done         leave the queue
            500.000  done         [closed]
        "#]],
    );
}
