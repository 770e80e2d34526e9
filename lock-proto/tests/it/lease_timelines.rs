use expect_test::expect;
use lock_proto::{AcquireOptions, Renewal};

use crate::file_timelines::{self, UNCONTENDED};
use crate::memory_timelines::mutex;
use crate::timeline::{check, ms};

#[test]
fn a_lease_is_prolonged_every_third_of_it() {
    check(
        mutex(leased()),
        "leased next prolonged next prolonged release left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 prolonged    [extended until Some(4.000s)]
            2000.000 Renewal      extend by 3s
            2000.000 prolonged    [extended until Some(5.000s)]
            2000.000 release      leave
            2000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_lease_ends_when_its_renewals_are_used_up() {
    let options = leased().with_max_renewals(1);
    check(
        mutex(options),
        "leased next prolonged next next left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 prolonged    [extended until Some(4.000s)]
            3000.000 Warning      [warned: it runs out at 4.000s]
            4000.000 Expiry       [lost: its lease ran out], leave
            4000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_lease_without_renewal_ends() {
    let options = leased().with_renewal(Renewal::Off);
    check(
        mutex(options),
        "leased next next left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            2000.000 Warning      [warned: it runs out at 3.000s]
            3000.000 Expiry       [lost: its lease ran out], leave
            3000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_hold_ends_at_its_limit_however_often_it_was_renewed() {
    let options = leased().with_max_hold(ms(1500));
    check(
        mutex(options),
        "leased next prolonged next left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 prolonged    [extended until Some(4.000s)]
            1500.000 HoldLimit    [lost: it was held for as long as max_hold allows], leave
            1500.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_renewal_that_finds_the_lock_gone_is_a_loss() {
    check(
        mutex(leased()),
        "leased next not-held left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 not-held     [lost: its lease ran out], leave
            1000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_renewal_without_an_answer_is_asked_again_until_the_lease_ends() {
    // One failed renewal once ended all renewals.
    check(
        mutex(leased()),
        "leased next refused next unknown next next next refused left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 refused
            1250.000 Renewal      extend by 3s
            1250.000 unknown
            1500.000 Renewal      extend by 3s
            2000.000 Warning      [warned: it runs out at 3.000s]
            3000.000 Expiry       [lost: its lease ran out], leave
            3000.000 refused
            3000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_renewal_answered_after_the_lease_ended_does_not_bring_it_back() {
    check(
        mutex(leased()),
        "leased next +2500ms prolonged left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            3500.000 prolonged    [lost: its lease ran out], leave
            3500.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_grant_that_was_long_on_its_way_is_renewed_in_time() {
    // The cadence once counted from the moment the grant was seen, past the end of the lease.
    let options = leased().with_renewal(Renewal::Every(ms(2900)));
    check(
        mutex(options),
        "leased-late next prolonged",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased-late  [acquired until 0.200s with fence 7]
            100.000  Renewal      extend by 3s
            100.000  prolonged    [extended until Some(3.100s)]
        "#]],
    );
}

#[test]
fn short_extensions_by_hand_do_not_put_the_renewal_off() {
    // Each once planned the next renewal a whole cadence ahead, past the end of the lease.
    check(
        mutex(leased()),
        "leased +900ms extend=100ms prolonged-little next prolonged",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            900.000  extend=100ms extend by 100ms
            900.000  prolonged-little [extended until Some(3.000s)]
            1000.000 Renewal      extend by 3s
            1000.000 prolonged    [extended until Some(4.000s)]
        "#]],
    );
}

#[test]
fn an_extension_by_hand_waits_for_the_renewal_that_is_under_way() {
    check(
        mutex(leased()),
        "leased next extend=10s prolonged prolonged",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 extend=10s
            1000.000 prolonged    extend by 10s
            1000.000 prolonged    [extended until Some(4.000s)]
        "#]],
    );
}

#[test]
fn a_renewal_under_way_does_not_hinder_the_release() {
    check(
        mutex(leased()),
        "leased next release left! prolonged",
        expect![[r#"
            0.000    start        enter the queue
            0.000    leased       [acquired until 3.000s with fence 7]
            1000.000 Renewal      extend by 3s
            1000.000 release      leave
            1000.000 left!        [closed]
            1000.000 prolonged
        "#]],
    );
}

#[test]
fn a_file_lease_is_prolonged_without_asking_anybody() {
    check(
        file_timelines::mutex(leased().with_ttl(ms(600)).with_max_renewals(2)),
        &format!("{UNCONTENDED} next next next done next next done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired until 0.600s with fence 1000000]
            200.000  Renewal      [extended until Some(0.800s)]
            400.000  Renewal      [extended until Some(1.000s)]
            500.000  Probe        verify file
            500.000  done
            800.000  Warning      [warned: it runs out at 1.000s]
            1000.000 Expiry       [lost: its lease ran out], close file
            1000.000 done         leave the queue
            1000.000 done         [closed]
        "#]],
    );
}

#[test]
fn a_renewal_and_a_probe_that_fall_due_together_are_both_done() {
    // The probe was once left for later, so the machine asked to be woken in the past.
    let options = AcquireOptions::new().with_ttl(ms(1500));
    check(
        file_timelines::mutex(options),
        &format!("{UNCONTENDED} next"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired until 1.500s with fence 1000000]
            500.000  Probe        [extended until Some(2.000s)], verify file
        "#]],
    );
}

#[test]
fn a_file_lease_that_nobody_renews_ends() {
    let options = AcquireOptions::new().with_ttl(ms(300)).with_renewal(Renewal::Off);
    check(
        file_timelines::mutex(options),
        &format!("{UNCONTENDED} next next done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired until 0.300s with fence 1000000]
            200.000  Warning      [warned: it runs out at 0.300s]
            300.000  Expiry       [lost: its lease ran out], close file
            300.000  done         leave the queue
            300.000  done         [closed]
        "#]],
    );
}

#[test]
fn a_file_lease_is_extended_by_hand_and_never_shortened() {
    let options = leased().with_renewal(Renewal::Off);
    check(
        file_timelines::mutex(options),
        &format!("{UNCONTENDED} extend=5s extend=1s"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired until 3.000s with fence 1000000]
            0.000    extend=5s    [extended until Some(5.000s)]
            0.000    extend=1s    [extended until Some(5.000s)]
        "#]],
    );
}

#[test]
fn a_file_lock_without_a_lease_is_held_to_its_limit() {
    let options = AcquireOptions::new().with_max_hold(ms(250));
    check(
        file_timelines::mutex(options),
        &format!("{UNCONTENDED} next done done"),
        expect![[r#"
            0.000    start        enter the queue
            0.000    done         open file
            0.000    done         lock file exclusive
            0.000    done         verify file
            0.000    done         read file
            0.000    empty        write file with fence 1000000
            0.000    done         [acquired with fence 1000000]
            250.000  HoldLimit    [lost: it was held for as long as max_hold allows], close file
            250.000  done         leave the queue
            250.000  done         [closed]
        "#]],
    );
}

fn leased() -> AcquireOptions {
    AcquireOptions::new().with_ttl(ms(3000))
}
