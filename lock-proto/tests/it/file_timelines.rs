use expect_test::expect;
use lock_proto::file::{Command, File, FileLock, FileLockOptions, Identity, Record, Reply};
use lock_proto::{AcquireOptions, Demand, Instant, Seed};

use crate::timeline::{Backend, check, ms, name};

/// What is answered while a free mutex is taken.
pub(crate) const UNCONTENDED: &str = "done done done done empty done";
/// What is answered until a mutex turns out to be busy for a machine that waits.
pub(crate) const CONTENDED: &str = "done done busy done busy";

#[test]
fn an_uncontended_mutex_is_won_and_given_back() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{UNCONTENDED} +5ms release done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            5.000    release      close file
            5.000    done         leave the queue
            5.000    done         [closed]
        "#]],
    );
}

#[test]
fn an_uncontended_reader_writes_nothing() {
    check(
        reader(AcquireOptions::new()),
        "done done done done release done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file shared
            0.000    done         verify file
            0.000    done         [acquired]
            0.000    release      close file
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_busy_try_leaves_nothing_open() {
    check(
        mutex(one_try()),
        "done done busy done done",
        expect![[r#"
            0.000    start        enter at once
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         close file
            0.000    done         [timed out after 0ns], leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_try_that_its_own_process_refuses_opens_nothing() {
    check(
        mutex(one_try()),
        "busy",
        expect![[r#"
            0.000    start        enter at once
            0.000    busy         [timed out after 0ns], [closed]
        "#]],
    );
}

#[test]
fn a_waiter_that_is_woken_tries_at_once_and_soon_again() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{CONTENDED} +70ms nudge busy next busy next done done empty done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            70.000   nudge        lock file exclusive
            70.000   busy
            70.050   Retry        lock file exclusive
            70.050   busy
            70.150   Retry        lock file exclusive
            70.150   done         verify file
            70.150   done         read file
            70.150   empty        write file with fence 1070150
            70.150   done         [acquired with fence 1070150]
        "#]],
    );
}

#[test]
fn a_close_that_comes_while_the_lock_is_tried_is_not_forgotten() {
    check(
        mutex(AcquireOptions::new()),
        "done done busy nudge done busy next",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    nudge
            0.000    done         lock file exclusive
            0.000    busy
            0.050    Retry        lock file exclusive
        "#]],
    );
}

#[test]
fn a_waiter_that_nobody_wakes_tries_every_second() {
    check(
        mutex(AcquireOptions::new()),
        &format!("{CONTENDED} next busy next"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            1000.000 Retry        lock file exclusive
            1000.000 busy
            2000.000 Retry        lock file exclusive
        "#]],
    );
}

#[test]
fn a_waiter_that_nothing_can_wake_rests_longer_and_longer() {
    check(
        mutex(AcquireOptions::new()),
        "done done busy refused busy next busy next busy next busy next busy next busy next busy",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    refused      lock file exclusive
            0.000    busy
            5.464    Retry        lock file exclusive
            5.464    busy
            19.941   Retry        lock file exclusive
            19.941   busy
            46.493   Retry        lock file exclusive
            46.493   busy
            113.297  Retry        lock file exclusive
            113.297  busy
            240.963  Retry        lock file exclusive
            240.963  busy
            365.428  Retry        lock file exclusive
            365.428  busy
        "#]],
    );
}

#[test]
fn time_that_is_up_in_the_queue_ends_the_wait() {
    check(
        mutex(within_a_second()),
        "next done! withdrawn",
        expect![[r#"
            0.000    start        enter the queue
            1000.000 Budget       [timed out after 1s], leave the queue
            1000.000 done!
            1000.000 withdrawn    [closed]
        "#]],
    );
}

#[test]
fn time_that_is_up_while_resting_ends_the_wait_after_a_last_try() {
    check(
        mutex(within_a_second()),
        &format!("{CONTENDED} +900ms next busy done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            1000.000 Budget       lock file exclusive
            1000.000 busy         [timed out after 1s], close file
            1000.000 done         leave the queue
            1000.000 done         [closed]
        "#]],
    );
}

#[test]
fn a_lock_that_came_free_unnoticed_is_found_by_the_last_try() {
    check(
        mutex(within_a_second()),
        &format!("{CONTENDED} +900ms next done done foreign"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    busy         watch file
            0.000    done         lock file exclusive
            0.000    busy
            1000.000 Budget       lock file exclusive
            1000.000 done         verify file
            1000.000 done         read file
            1000.000 foreign      [acquired]
        "#]],
    );
}

#[test]
fn a_foreign_file_is_locked_and_not_written_to() {
    check(
        mutex(AcquireOptions::new()),
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
fn a_fence_is_greater_than_the_last_one_even_if_the_clock_went_back() {
    check(
        mutex(AcquireOptions::new()),
        "done done done done fence-ahead done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    fence-ahead  write file with fence 5000001
            0.000    done         [acquired with fence 5000001]
        "#]],
    );
}

pub(crate) fn mutex(options: AcquireOptions) -> FileLock {
    file_lock(Demand::Exclusive, &options, false)
}

pub(crate) fn reader(options: AcquireOptions) -> FileLock {
    file_lock(Demand::Shared, &options, false)
}

pub(crate) fn removing_mutex() -> FileLock {
    file_lock(Demand::Exclusive, &AcquireOptions::new(), true)
}

pub(crate) fn file_lock(demand: Demand, options: &AcquireOptions, remove: bool) -> FileLock {
    let identity = Identity::new("build-7", 4242);
    let settings = FileLockOptions::new(identity).with_remove_on_release(remove);
    let seed = Seed::from_bytes([7; 32]);
    FileLock::new(name(), demand, options, settings, &seed, Instant::ZERO)
        .expect("sensible options")
}

pub(crate) fn one_try() -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(0))
}

pub(crate) fn within_a_second() -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(1000))
}

impl Backend for FileLock {
    fn reply(word: &str, now: Instant) -> Reply {
        let contents = |bytes: &[u8]| Reply::Contents {
            bytes: bytes.to_vec(),
            wall_micros: 1_000_000 + now.as_nanos() / 1_000,
        };
        match word {
            "done" => Reply::Done,
            "busy" => Reply::Busy,
            "withdrawn" => Reply::Withdrawn,
            "replaced" => Reply::Replaced,
            "no-directory" => Reply::NoDirectory,
            "empty" => contents(b""),
            "foreign" => contents(b"#!/bin/sh\n"),
            "fence-ahead" => contents(b"distributed-lock 1\nfence 5000000\nend\n"),
            _ => panic!("no reply is called {word}"),
        }
    }

    fn describe(command: &Command) -> String {
        let path = |file: &File| match file {
            File::Lock => "file".into(),
            File::Gate => "gate".into(),
            File::Permit(permit) => format!("permit {permit}"),
        };
        match command {
            Command::Enter { wait: true, .. } => "enter the queue".into(),
            Command::Enter { wait: false, .. } => "enter at once".into(),
            Command::Leave => "leave the queue".into(),
            Command::CreateDirectory => "create the directory".into(),
            Command::Open(file) => format!("open {}", path(file)),
            Command::TryLock(file, mode) => format!("lock {} {mode:?}", path(file)).to_lowercase(),
            Command::Watch(file) => format!("watch {}", path(file)),
            Command::Verify(file) => format!("verify {}", path(file)),
            Command::Read(file) => format!("read {}", path(file)),
            Command::Write(file, bytes) => {
                let fence = Record::parse(bytes).map(|record| record.fence);
                format!("write {} with fence {}", path(file), fence.expect("our own record"))
            }
            Command::Remove(file) => format!("remove {}", path(file)),
            Command::Close(file) => format!("close {}", path(file)),
        }
    }
}
