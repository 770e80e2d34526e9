use expect_test::expect;
use lock_proto::AcquireOptions;
use lock_proto::file::FileLock;

use crate::file_timelines::{file_lock, one_try};
use crate::timeline::{check, permits};

/// What is answered until the gate is ours.
const GATE: &str = "done done done done";

#[test]
fn one_of_three_permits_is_taken_behind_the_gate() {
    check(
        semaphore(1, 3, AcquireOptions::new()),
        &format!("{GATE} done done done empty done done release done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         read permit 0
            0.000    empty        write permit 0 with fence 1000000
            0.000    done         close gate
            0.000    done         [acquired]
            0.000    release      close permit 0
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_try_takes_what_is_free_although_the_gate_is_not() {
    check(
        semaphore(1, 3, one_try()),
        "done done busy done done busy done done done done empty done release done done",
        expect![[r#"
            0.000    start        enter at once
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    busy         close gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    busy         close permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    done         verify permit 1
            0.000    done         read permit 1
            0.000    empty        write permit 1 with fence 1000000
            0.000    done         [acquired]
            0.000    release      close permit 1
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_try_gives_back_the_permits_that_are_not_enough() {
    check(
        semaphore(2, 2, one_try()),
        &format!("{GATE} done done done done busy done done done done"),
        expect![[r#"
            0.000    start        enter at once
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         close permit 1
            0.000    done         [timed out after 0ns], close gate
            0.000    done         close permit 0
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_waiter_rests_at_the_gate() {
    check(
        semaphore(1, 2, AcquireOptions::new()),
        "done done busy done busy +1ms nudge done done done done done empty done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    busy         watch gate
            0.000    done         lock gate exclusive
            0.000    busy
            1.000    nudge        lock gate exclusive
            1.000    done         verify gate
            1.000    done         open permit 0
            1.000    done         lock permit 0 exclusive
            1.000    done         verify permit 0
            1.000    done         read permit 0
            1.000    empty        write permit 0 with fence 1001000
            1.000    done         close gate
            1.000    done         [acquired]
        "#]],
    );
}

#[test]
fn a_waiter_behind_the_gate_keeps_every_permit_open_and_watched() {
    check(
        semaphore(1, 2, AcquireOptions::new()),
        &format!(
            "{GATE} done busy done done busy done done busy done busy done busy done busy \
             +9ms nudge done busy done done empty done done done release done done"
        ),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    busy         close permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         close permit 1
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    busy         watch permit 0
            0.000    done         lock permit 0 exclusive
            0.000    busy         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         watch permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy
            9.000    nudge        verify gate
            9.000    done         lock permit 0 exclusive
            9.000    busy         lock permit 1 exclusive
            9.000    done         verify permit 1
            9.000    done         read permit 1
            9.000    empty        write permit 1 with fence 1009000
            9.000    done         close gate
            9.000    done         close permit 0
            9.000    done         [acquired]
            9.000    release      close permit 1
            9.000    done         leave the queue
            9.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_waiter_of_two_permits_keeps_the_first_while_it_waits_for_the_second() {
    check(
        semaphore(2, 2, AcquireOptions::new()),
        &format!(
            "{GATE} done done done done busy done done busy done busy +9ms nudge done done done \
             empty done empty done done release done done done"
        ),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         close permit 1
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         watch permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy
            9.000    nudge        verify gate
            9.000    done         lock permit 1 exclusive
            9.000    done         verify permit 1
            9.000    done         read permit 0
            9.000    empty        write permit 0 with fence 1009000
            9.000    done         read permit 1
            9.000    empty        write permit 1 with fence 1009000
            9.000    done         close gate
            9.000    done         [acquired]
            9.000    release      close permit 0
            9.000    done         close permit 1
            9.000    done         leave the queue
            9.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_waiter_of_two_permits_gives_the_first_back_when_it_is_cancelled() {
    check(
        semaphore(2, 2, AcquireOptions::new()),
        &format!("{GATE} done done done done busy done done busy release done done done done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         close permit 1
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         watch permit 1
            0.000    release
            0.000    done         close gate
            0.000    done         close permit 0
            0.000    done         close permit 1
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn every_permit_that_is_held_is_looked_at() {
    check(
        semaphore(2, 2, AcquireOptions::new()),
        &format!(
            "{GATE} done done done done done done empty done empty done done next done done \
             next done replaced done done done"
        ),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    done         verify permit 1
            0.000    done         read permit 0
            0.000    empty        write permit 0 with fence 1000000
            0.000    done         read permit 1
            0.000    empty        write permit 1 with fence 1000000
            0.000    done         close gate
            0.000    done         [acquired]
            500.000  Probe        verify permit 0
            500.000  done         verify permit 1
            500.000  done
            1000.000 Probe        verify permit 0
            1000.000 done         verify permit 1
            1000.000 replaced     [lost: its lock file was deleted or replaced], close permit 0
            1000.000 done         close permit 1
            1000.000 done         leave the queue
            1000.000 done         [closed]
        "#]],
    );
}

#[test]
fn a_replaced_gate_is_opened_again() {
    check(
        semaphore(1, 1, AcquireOptions::new()),
        "done done done replaced done done done done done done done empty done done",
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    replaced     close gate
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         read permit 0
            0.000    empty        write permit 0 with fence 1000000
            0.000    done         close gate
            0.000    done         [acquired]
        "#]],
    );
}

#[test]
fn a_gate_that_is_replaced_while_permits_are_waited_for_costs_those_that_are_had() {
    // Two takers of two permits, each behind a gate of its own, once waited for one another.
    check(
        semaphore(2, 2, AcquireOptions::new()),
        &format!(
            "{GATE} done done done done busy done done busy done busy \
             next replaced done done done busy done busy release done done done"
        ),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         close permit 1
            0.000    done         open permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy         watch permit 1
            0.000    done         lock permit 1 exclusive
            0.000    busy
            1000.000 Retry        verify gate
            1000.000 replaced     close gate
            1000.000 done         close permit 0
            1000.000 done         open gate
            1000.000 done         lock gate exclusive
            1000.000 busy         watch gate
            1000.000 done         lock gate exclusive
            1000.000 busy
            1000.000 release      close gate
            1000.000 done         close permit 1
            1000.000 done         leave the queue
            1000.000 done         [closed]
        "#]],
    );
}

#[test]
fn the_gate_is_never_deleted() {
    let machine = file_lock(permits(1, 1), &AcquireOptions::new(), true);
    check(
        machine,
        &format!("{GATE} done done done empty done done release done done done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         read permit 0
            0.000    empty        write permit 0 with fence 1000000
            0.000    done         close gate
            0.000    done         [acquired]
            0.000    release      verify permit 0
            0.000    done         remove permit 0
            0.000    done         close permit 0
            0.000    done         leave the queue
            0.000    done         [closed]
        "#]],
    );
}

#[test]
fn a_gate_that_does_not_close_is_not_clean() {
    // A close that failed before the lock was ours was once forgotten.
    check(
        semaphore(1, 1, AcquireOptions::new()),
        &format!("{GATE} done done done empty done unknown done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open gate
            0.000    done         lock gate exclusive
            0.000    done         verify gate
            0.000    done         open permit 0
            0.000    done         lock permit 0 exclusive
            0.000    done         verify permit 0
            0.000    done         read permit 0
            0.000    empty        write permit 0 with fence 1000000
            0.000    done         close gate
            0.000    unknown      [failed: nobody knows], close permit 0
            0.000    done         leave the queue
            0.000    done         [closed, not clean]
        "#]],
    );
}

fn semaphore(count: u32, limit: u32, options: AcquireOptions) -> FileLock {
    file_lock(permits(count, limit), &options, false)
}
