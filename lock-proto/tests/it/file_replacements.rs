use expect_test::expect;
use lock_proto::file::{Command, Reply};
use lock_proto::{AcquireOptions, Instant, Machine as _};

use crate::file_timelines::{CONTENDED, UNCONTENDED, mutex, removing_mutex, within_a_second};
use crate::timeline::check;

#[test]
fn a_file_that_was_replaced_before_it_was_locked_is_opened_again() {
    check(
        mutex(AcquireOptions::new()),
        "done done done replaced done done done done empty done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    replaced     close file
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
        "#]],
    );
}

#[test]
fn a_file_that_was_replaced_while_it_was_waited_for_is_watched_again() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{CONTENDED} nudge done replaced done done busy done busy"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            0.000    nudge        lock file exclusive
            0.000    done         verify file
            0.000    replaced     close file
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
        "#]],
    );
}

#[test]
fn a_file_that_is_replaced_while_it_is_held_is_lost_within_half_a_second() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{UNCONTENDED} next done next replaced done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            500.000  Probe        verify file
            500.000  done
            1000.000 Probe        verify file
            1000.000 replaced     [lost: its lock file was deleted or replaced], close file
            1000.000 done         leave the queue
            1000.000 done         [closed]
        "#]],
    );
}

#[test]
fn a_hint_looks_at_the_held_file_at_once() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{UNCONTENDED} +100ms nudge replaced done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            100.000  nudge        verify file
            100.000  replaced     [lost: its lock file was deleted or replaced], close file
            100.000  done         leave the queue
            100.000  done         [closed]
        "#]],
    );
}

#[test]
fn a_missing_directory_is_made() {
    check(
        mutex(AcquireOptions::new()),
        "done no-directory done done done done empty done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    no-directory create the directory
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
        "#]],
    );
}

#[test]
fn a_directory_that_vanishes_again_is_made_again() {
    check(
        mutex(AcquireOptions::new()),
        "done no-directory done no-directory done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    no-directory create the directory
            0.000    done         open file
            0.000    no-directory create the directory
            0.000    done         open file
        "#]],
    );
}

#[test]
fn a_file_that_always_vanishes_is_waited_for_like_a_busy_one() {
    let mut machine = mutex(within_a_second());
    let mut openings = 0;
    while let Some(request) = machine.poll_request() {
        openings += u32::from(matches!(request.command, Command::Open(_)));
        let reply =
            if let Command::Verify(_) = request.command { Reply::Replaced } else { Reply::Done };
        machine.handle_reply(request.id, Ok(reply), Instant::ZERO);
    }
    assert_eq!(openings, 1 + 1600, "the first, and as many more as are tried without a rest");
    assert!(machine.poll_timeout().unwrap().at > Instant::ZERO);
}

#[test]
fn a_directory_that_always_vanishes_is_waited_for_like_a_busy_lock() {
    let mut machine = mutex(within_a_second());
    let mut openings = 0;
    while let Some(request) = machine.poll_request() {
        let opens = matches!(request.command, Command::Open(_));
        openings += u32::from(opens);
        assert!(openings < 10_000, "it never rests");
        let reply = if opens { Reply::NoDirectory } else { Reply::Done };
        machine.handle_reply(request.id, Ok(reply), Instant::ZERO);
    }
    assert!(openings > 1);
    assert!(machine.poll_timeout().unwrap().at > Instant::ZERO);
}

#[test]
fn a_file_is_deleted_while_it_is_still_locked() {
    check(
        removing_mutex(),
        &format!("{UNCONTENDED} release done done done done"),
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
            0.000    done         close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_was_replaced_is_not_ours_to_delete() {
    check(
        removing_mutex(),
        &format!("{UNCONTENDED} release replaced done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            0.000    release      verify file
            0.000    replaced     close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_lost_file_is_not_ours_to_delete() {
    check(
        removing_mutex(),
        &format!("{UNCONTENDED} disconnect done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            0.000    disconnect   [lost: it was taken away], close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

/// It was: a provider that deletes what it releases deleted files that it had only been told to
/// lock.
#[test]
fn a_foreign_file_is_not_ours_to_delete() {
    check(
        removing_mutex(),
        "done done done done foreign release done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    foreign      [acquired]
            0.000    release      close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_file_that_was_not_read_yet_may_be_foreign_and_is_not_deleted() {
    check(
        removing_mutex(),
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
