use expect_test::expect;
use lock_proto::memory::{Command, LockTable, MemoryLock, Reply, Wish};
use lock_proto::{
    AcquireOptions, Demand, Event, Hub, Instant, LockId, LossReason, Machine as _, Renewal,
};

use crate::timeline::{Backend, at, check, ms, name, permits};

#[test]
fn an_uncontended_lock_is_won_and_given_back() {
    check(
        mutex(AcquireOptions::new()),
        "granted +5ms release left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    granted      [acquired with fence 7]
            5.000    release      leave
            5.000    left         [closed]
        "#]],
    );
}

#[test]
fn a_busy_try_leaves_nothing() {
    check(
        mutex(one_try()),
        "busy release",
        expect![[r#"
            0.000    start        enter at once
            0.000    busy         [timed out after 0ns], [closed]
            0.000    release
        "#]],
    );
}

#[test]
fn a_waiter_wins_when_its_turn_comes() {
    check(
        mutex(within_a_second()),
        "+999ms granted release left",
        expect![[r#"
            0.000    start        enter the queue
            999.000  granted      [acquired with fence 7]
            999.000  release      leave
            999.000  left         [closed]
        "#]],
    );
}

#[test]
fn a_waiter_whose_time_is_up_leaves_the_queue() {
    check(
        mutex(within_a_second()),
        "next left! withdrawn",
        expect![[r#"
            0.000    start        enter the queue
            1000.000 Budget       [timed out after 1s], leave
            1000.000 left!
            1000.000 withdrawn    [closed]
        "#]],
    );
}

#[test]
fn a_hint_at_the_end_of_the_wait_ends_it() {
    check(
        mutex(within_a_second()),
        "+1000ms nudge",
        expect![[r#"
            0.000    start        enter the queue
            1000.000 nudge        [timed out after 1s], leave
        "#]],
    );
}

#[test]
fn an_answer_to_a_question_of_somebody_else_says_nothing() {
    let mut other = mutex(AcquireOptions::new());
    other.poll_request();
    other.release(Instant::ZERO);
    let question = other.poll_request().expect("it leaves the queue").id;
    let mut machine = mutex(AcquireOptions::new());
    machine.handle_reply(question, Ok(Reply::Busy), Instant::ZERO);
    assert!(machine.poll_event().is_none());
}

#[test]
fn a_request_that_waits_to_be_taken_is_shown() {
    let mut machine = mutex(AcquireOptions::new());
    assert!(format!("{machine:?}").contains("Enter {"), "{machine:?}");
    machine.poll_request();
    assert!(!format!("{machine:?}").contains("Enter {"), "{machine:?}");
    machine.release(Instant::ZERO);
    assert!(format!("{machine:?}").contains("Leave"), "{machine:?}");
}

#[test]
fn a_lock_that_is_taken_at_once_is_as_if_it_had_asked() {
    let options = [
        AcquireOptions::new(),
        one_try().with_owner("the night shift"),
        within_a_second().with_ttl(ms(300)).with_renewal(Renewal::Off),
        AcquireOptions::new().with_ttl(ms(300)).with_max_renewals(2).with_max_hold(ms(700)),
        AcquireOptions::new().with_max_hold(ms(700)),
    ];
    for (demand, options) in [Demand::Exclusive, Demand::Shared, permits(2, 3)]
        .into_iter()
        .flat_map(|demand| options.iter().map(move |options| (demand, options)))
    {
        let (lock, now) = (some_lock(), at(5));
        let mut asked = LockTable::new();
        let mut machine = MemoryLock::new(demand, options, now).expect("sensible options");
        carry_out(&mut machine, &mut asked, lock, now);
        let told = machine.poll_event();
        assert!(matches!(told, Some(Event::Acquired { .. })), "{told:?}");
        assert!(machine.poll_event().is_none());

        let mut took = LockTable::new();
        let wish = Wish::new(demand, options).expect("sensible options");
        let grant = wish.take(&mut took, lock, &name(), now).expect("nobody is in the way");
        let told = told.map(|event| format!("{event:?}"));
        let (valid_until, fence) = (grant.valid_until, Some(grant.fence));
        assert_eq!(told, Some(format!("{:?}", Event::Acquired { valid_until, fence })));
        let mut held = wish.held(grant, now);
        assert_eq!(format!("{held:?}"), format!("{machine:?}"));
        assert_eq!(format!("{took:?}"), format!("{asked:?}"));

        machine.release(at(9));
        carry_out(&mut machine, &mut asked, lock, at(9));
        assert!(matches!(machine.poll_event(), Some(Event::Closed { clean: true })));
        assert!(held.give_back_at_once(&mut took, lock, &name(), at(9)));
        assert!(held.poll_request().is_none() && held.poll_event().is_none());
        assert_eq!(format!("{:?}", held.poll_timeout()), format!("{:?}", machine.poll_timeout()));
        assert_eq!(format!("{took:?}"), format!("{asked:?}"));
    }
}

#[test]
fn a_lock_that_somebody_has_is_not_taken_at_once() {
    let mut table = LockTable::new();
    let wish = Wish::new(Demand::Exclusive, &AcquireOptions::new()).expect("sensible options");
    assert!(wish.take(&mut table, some_lock(), &name(), at(0)).is_some());
    let before = format!("{table:?}");
    assert!(wish.take(&mut table, another_lock(), &name(), at(0)).is_none());
    assert_eq!(format!("{table:?}"), before);
    let mut waits = wish.asking(at(0));
    carry_out(&mut waits, &mut table, another_lock(), at(0));
    let before = format!("{table:?}");
    assert!(!waits.give_back_at_once(&mut table, another_lock(), &name(), at(0)), "it has nothing");
    assert_eq!(format!("{table:?}"), before);
}

#[test]
fn a_slow_table_gives_and_takes_nothing_at_once() {
    let mut table = LockTable::new();
    let wish = Wish::new(Demand::Exclusive, &AcquireOptions::new()).expect("sensible options");
    let grant = wish.take(&mut table, some_lock(), &name(), at(0)).expect("nobody is in the way");
    let mut held = wish.clone().held(grant, at(0));
    table.delay_requests(ms(40));
    assert!(!held.give_back_at_once(&mut table, some_lock(), &name(), at(0)));
    table.delay_requests(ms(0));
    assert!(held.give_back_at_once(&mut table, some_lock(), &name(), at(0)));
    table.delay_requests(ms(40));
    assert!(wish.take(&mut table, another_lock(), &name(), at(0)).is_none());
    table.delay_requests(ms(0));
    assert!(wish.take(&mut table, another_lock(), &name(), at(0)).is_some());
}

#[test]
fn a_lock_that_is_being_prolonged_is_not_given_back_at_once() {
    let mut table = LockTable::new();
    let options = AcquireOptions::new().with_ttl(ms(300));
    let wish = Wish::new(Demand::Exclusive, &options).expect("sensible options");
    let grant = wish.take(&mut table, some_lock(), &name(), at(0)).expect("nobody is in the way");
    let mut held = wish.held(grant, at(0));
    held.extend(ms(400), at(10));
    assert!(!held.give_back_at_once(&mut table, some_lock(), &name(), at(10)));
    carry_out(&mut held, &mut table, some_lock(), at(10));
    assert!(held.give_back_at_once(&mut table, some_lock(), &name(), at(10)));
    assert!(table.list(at(10)).is_empty());
}

#[test]
fn whoever_takes_at_once_comes_after_what_has_run_out() {
    let mut table = LockTable::new();
    let options = AcquireOptions::new().with_ttl(ms(300)).with_renewal(Renewal::Off);
    let wish = Wish::new(Demand::Exclusive, &options).expect("sensible options");
    let first = wish.take(&mut table, some_lock(), &name(), at(0)).expect("nobody is in the way");
    assert!(wish.take(&mut table, another_lock(), &name(), at(299)).is_none());
    let second = wish.take(&mut table, another_lock(), &name(), at(300)).expect("it has run out");
    assert!(second.fence > first.fence);
    let notice = table.poll_notice().expect("the first has lost it");
    assert_eq!((notice.lock, notice.reason), (some_lock(), LossReason::Expired));
}

#[test]
fn whoever_gives_back_at_once_does_so_after_what_has_run_out() {
    let mut table = LockTable::new();
    let lease = |ttl| {
        let options = AcquireOptions::new().with_ttl(ms(ttl)).with_renewal(Renewal::Off);
        Wish::new(Demand::Shared, &options).expect("sensible options")
    };
    let long = lease(300).take(&mut table, some_lock(), &name(), at(0)).expect("it is free");
    lease(200).take(&mut table, another_lock(), &name(), at(0)).expect("it may be shared");
    let mut held = lease(300).held(long, at(0));
    assert!(held.give_back_at_once(&mut table, some_lock(), &name(), at(250)));
    let notice = table.poll_notice().expect("the other has lost it");
    assert_eq!((notice.lock, notice.reason), (another_lock(), LossReason::Expired));
}

#[test]
fn a_lock_without_a_cohort_takes_nothing_over() {
    let (mut before, mut lock) = (mutex(AcquireOptions::new()), mutex(AcquireOptions::new()));
    assert!(!before.is_leaving() && !lock.follow(&mut before, Instant::ZERO));
}

#[test]
fn a_grant_that_meets_the_end_of_the_wait_is_given_back() {
    check(
        mutex(within_a_second()),
        "next granted left",
        expect![[r#"
            0.000    start        enter the queue
            1000.000 Budget       [timed out after 1s], leave
            1000.000 granted
            1000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_grant_that_comes_after_the_leave_is_given_back_by_another() {
    check(
        mutex(within_a_second()),
        "next left! granted left",
        expect![[r#"
            0.000    start        enter the queue
            1000.000 Budget       [timed out after 1s], leave
            1000.000 left!
            1000.000 granted      leave
            1000.000 left         [closed]
        "#]],
    );
}

#[test]
fn a_cancel_in_the_queue_withdraws() {
    check(
        mutex(AcquireOptions::new()),
        "release withdrawn left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    release      leave
            0.000    withdrawn
            0.000    left         [closed]
        "#]],
    );
}

#[test]
fn a_grant_racing_a_cancel_is_given_back() {
    check(
        mutex(AcquireOptions::new()),
        "release left! granted +1ms left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    release      leave
            0.000    left!
            0.000    granted      leave
            1.000    left         [closed]
        "#]],
    );
}

#[test]
fn a_second_release_is_ignored() {
    check(
        mutex(AcquireOptions::new()),
        "granted release release left release",
        expect![[r#"
            0.000    start        enter the queue
            0.000    granted      [acquired with fence 7]
            0.000    release      leave
            0.000    release
            0.000    left         [closed]
            0.000    release
        "#]],
    );
}

#[test]
fn a_refused_request_to_enter_is_the_callers_error() {
    check(
        mutex(AcquireOptions::new()),
        "refused",
        expect![[r#"
            0.000    start        enter the queue
            0.000    refused      [failed: no space left], [closed]
        "#]],
    );
}

#[test]
fn a_request_to_enter_that_was_never_sent_leaves_nothing() {
    check(
        mutex(AcquireOptions::new()),
        "not-sent",
        expect![[r#"
            0.000    start        enter the queue
            0.000    not-sent     [failed: too late], [closed]
        "#]],
    );
}

#[test]
fn an_unknown_outcome_is_never_taken_for_a_no() {
    check(
        mutex(AcquireOptions::new()),
        "unknown left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    unknown      [failed: nobody knows], leave
            0.000    left         [closed]
        "#]],
    );
}

#[test]
fn an_unknown_outcome_after_the_leave_was_answered_needs_another_leave() {
    check(
        mutex(AcquireOptions::new()),
        "release left! unknown left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    release      leave
            0.000    left!
            0.000    unknown      leave
            0.000    left         [closed]
        "#]],
    );
}

#[test]
fn nonsense_is_never_taken_for_a_no() {
    check(
        mutex(AcquireOptions::new()),
        "not-held left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    not-held     [failed: the lock table answered nonsense], leave
            0.000    left         [closed]
        "#]],
    );
}

#[test]
fn a_leave_of_unknown_outcome_is_not_clean() {
    check(
        mutex(AcquireOptions::new()),
        "granted release unknown",
        expect![[r#"
            0.000    start        enter the queue
            0.000    granted      [acquired with fence 7]
            0.000    release      leave
            0.000    unknown      [closed, not clean]
        "#]],
    );
}

#[test]
fn a_leave_that_is_answered_with_nonsense_is_not_clean() {
    check(
        mutex(AcquireOptions::new()),
        "granted release busy",
        expect![[r#"
            0.000    start        enter the queue
            0.000    granted      [acquired with fence 7]
            0.000    release      leave
            0.000    busy         [closed, not clean]
        "#]],
    );
}

#[test]
fn a_lock_taken_away_is_lost_and_left() {
    check(
        mutex(AcquireOptions::new()),
        "granted disconnect left",
        expect![[r#"
            0.000    start        enter the queue
            0.000    granted      [acquired with fence 7]
            0.000    disconnect   [lost: it was taken away], leave
            0.000    left         [closed]
        "#]],
    );
}

#[test]
fn a_disconnect_means_nothing_to_who_waits() {
    check(
        mutex(AcquireOptions::new()),
        "disconnect granted",
        expect![[r#"
            0.000    start        enter the queue
            0.000    disconnect
            0.000    granted      [acquired with fence 7]
        "#]],
    );
}

#[test]
fn an_extension_without_a_lease_changes_nothing() {
    check(
        mutex(AcquireOptions::new()),
        "granted extend=5s extended",
        expect![[r#"
            0.000    start        enter the queue
            0.000    granted      [acquired with fence 7]
            0.000    extend=5s    extend by 5s
            0.000    extended     [extended until None]
        "#]],
    );
}

#[test]
fn a_release_drops_an_extension_that_was_not_handed_out() {
    let mut machine = mutex(AcquireOptions::new());
    let enter = machine.poll_request().unwrap();
    let granted = Reply::Granted { fence: 1, valid_until: None };
    machine.handle_reply(enter.id, Ok(granted), Instant::ZERO);
    machine.extend(ms(500), Instant::ZERO);
    machine.release(Instant::ZERO);
    assert!(matches!(machine.poll_request().unwrap().command, Command::Leave { .. }));
    assert!(machine.poll_request().is_none());
}

pub(crate) fn mutex(options: AcquireOptions) -> MemoryLock {
    MemoryLock::new(Demand::Exclusive, &options, Instant::ZERO).expect("sensible options")
}

fn one_try() -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(0))
}

fn within_a_second() -> AcquireOptions {
    AcquireOptions::new().with_timeout(ms(1000))
}

impl Backend for MemoryLock {
    fn reply(word: &str, now: Instant) -> Reply {
        match word {
            "granted" => Reply::Granted { fence: 7, valid_until: None },
            "leased" => Reply::Granted { fence: 7, valid_until: Some(now + ms(3000)) },
            "leased-late" => Reply::Granted { fence: 7, valid_until: Some(now + ms(200)) },
            "prolonged-little" => Reply::Extended { valid_until: Some(now + ms(2100)) },
            "prolonged" => Reply::Extended { valid_until: Some(now + ms(3000)) },
            "extended" => Reply::Extended { valid_until: None },
            "busy" => Reply::Busy,
            "withdrawn" => Reply::Withdrawn,
            "not-held" => Reply::NotHeld,
            "left" => Reply::Left,
            _ => panic!("no reply is called {word}"),
        }
    }

    fn describe(command: &Command) -> String {
        match command {
            Command::Enter { wait: true, .. } => "enter the queue".into(),
            Command::Enter { wait: false, .. } => "enter at once".into(),
            Command::Extend { ttl, .. } => format!("extend by {ttl:?}"),
            Command::Leave { .. } => "leave".into(),
        }
    }
}

fn some_lock() -> LockId {
    Hub::<MemoryLock, ()>::new().next_id()
}

fn another_lock() -> LockId {
    let mut hub = Hub::new();
    hub.start(mutex(AcquireOptions::new()), (), Instant::ZERO);
    hub.next_id()
}

/// Lets `table` carry out what `machine` asks for.
fn carry_out(machine: &mut MemoryLock, table: &mut LockTable, lock: LockId, now: Instant) {
    while let Some(request) = machine.poll_request() {
        let id = request.id;
        if let Some(reply) = table.execute(lock, &name(), request, now) {
            machine.handle_reply(id, Ok(reply), now);
        }
    }
}
