use lock_proto::memory::{Command, MemoryLock, Reply};
use lock_proto::{
    AcquireOptions, Demand, Event, Hub, Instant, LockId, LossReason, Progress, RequestId,
};

use crate::timeline::{at, ms};

#[test]
fn a_reply_reaches_the_lock_that_asked() {
    let mut hub = Hub::new();
    let (first, second) = (start(&mut hub, 0), start(&mut hub, 0));
    let asked = enter(&mut hub, second);
    hub.handle_reply(second, asked, granted(), at(1));
    assert!(hub.poll_event(first).is_none());
    assert!(matches!(hub.poll_event(second), Some(Event::Acquired { .. })));
}

#[test]
fn the_earliest_deadline_counts() {
    let mut hub = Hub::new();
    let (late, early) = (start(&mut hub, 500), start(&mut hub, 200));
    let never = start(&mut hub, 0);
    assert_eq!(hub.poll_timeout(), Some(at(200)));
    assert_eq!(hub.poll_due(at(199)), None);
    assert_eq!(hub.poll_due(at(200)), Some(early));
    assert_eq!(hub.poll_due(at(200)), None);
    assert_eq!(hub.poll_timeout(), Some(at(500)));
    assert_eq!(hub.poll_due(at(500)), Some(late));
    assert_eq!(hub.poll_timeout(), None);
    assert!(hub.poll_event(never).is_none());
}

#[test]
fn every_lock_that_is_due_is_named_once() {
    let mut hub = Hub::new();
    let mut locks: Vec<LockId> = (1..=100).map(|wait| start(&mut hub, wait)).collect();
    locks.push(start(&mut hub, 7));
    let due: Vec<LockId> = std::iter::from_fn(|| hub.poll_due(at(100))).collect();
    assert_eq!(due.len(), locks.len());
    assert!(locks.iter().all(|lock| due.contains(lock)));
}

#[test]
fn a_deadline_that_an_input_removed_does_not_come() {
    let mut hub = Hub::new();
    let lock = start(&mut hub, 100);
    let asked = enter(&mut hub, lock);
    hub.handle_reply(lock, asked, granted(), at(50));
    assert_eq!(hub.poll_timeout(), None);
    assert_eq!(hub.poll_due(at(1000)), None);
}

#[test]
fn time_that_goes_back_stands_still() {
    let mut hub = Hub::new();
    let lock = start(&mut hub, 0);
    hub.nudge(lock, at(1000));
    let options = AcquireOptions::new().with_max_hold(ms(100));
    let machine = MemoryLock::new(Demand::Exclusive, &options, at(0)).unwrap();
    let held = hub.start(machine, (), at(0));
    let asked = enter(&mut hub, held);
    hub.handle_reply(held, asked, granted(), at(3));
    assert_eq!(hub.poll_timeout(), Some(at(1100)));
    assert_eq!(hub.poll_due(at(500)), None);
    assert_eq!(hub.poll_due(at(1100)), Some(held));
}

#[test]
fn a_deadline_that_passed_while_time_stood_still_is_due_at_once() {
    let mut hub = Hub::new();
    let first = start(&mut hub, 0);
    hub.nudge(first, at(1000));
    let late = start(&mut hub, 10);
    assert_eq!(hub.poll_due(at(0)), Some(late));
}

#[test]
fn an_answer_to_a_forgotten_lock_finds_nobody() {
    let mut hub = Hub::new();
    let old = start(&mut hub, 0);
    let asked = enter(&mut hub, old);
    assert!(hub.forget(old));
    let new = start(&mut hub, 0);
    assert_ne!(old, new);
    hub.handle_reply(old, asked, granted(), at(1));
    hub.release(old, at(1));
    hub.disconnect(old, LossReason::Revoked, at(1));
    hub.extend(old, ms(1), at(1));
    hub.nudge(old, at(1));
    assert!(hub.poll_request(old).is_none() && hub.poll_event(old).is_none());
    assert!(hub.attachment(old).is_none());
    assert!(hub.poll_event(new).is_none());
    assert!(!hub.forget(old));
    assert_eq!(hub.locks().collect::<Vec<_>>(), [new]);
}

#[test]
fn a_forgotten_lock_takes_its_deadline_along() {
    let mut hub = Hub::new();
    let lock = start(&mut hub, 100);
    hub.forget(lock);
    assert_eq!(hub.poll_timeout(), None);
    assert_eq!(hub.poll_due(at(1000)), None);
}

#[test]
fn what_is_kept_beside_a_lock_goes_with_it() {
    let mut hub = Hub::new();
    let machine = MemoryLock::new(Demand::Exclusive, &AcquireOptions::new(), at(0));
    let lock = hub.start(machine.unwrap(), vec![1], at(0));
    hub.attachment(lock).unwrap().push(2);
    assert_eq!(hub.attachment(lock), Some(&mut vec![1, 2]));
    assert!(hub.forget(lock));
    assert_eq!(hub.attachment(lock), None);
}

#[test]
fn a_hundred_thousand_locks_are_one_ordered_set() {
    let mut hub = Hub::new();
    let locks: Vec<LockId> = (0..100_000).map(|lock| start(&mut hub, 1 + lock % 977)).collect();
    let mut last = Instant::ZERO;
    let mut seen = 0;
    while let Some(next) = hub.poll_timeout() {
        assert!(next > last);
        last = next;
        while hub.poll_due(next).is_some() {
            seen += 1;
        }
    }
    assert_eq!(seen, locks.len());
    assert_eq!(hub.locks().count(), locks.len());
}

#[test]
fn the_next_id_is_that_of_the_lock_that_is_started_next() {
    let mut hub = Hub::new();
    for _ in 0..3 {
        let next = hub.next_id();
        assert_eq!(start(&mut hub, 0), next);
    }
    let locks: Vec<LockId> = hub.locks().collect();
    for lock in locks {
        hub.forget(lock);
        let next = hub.next_id();
        assert_ne!(next, lock);
        assert_eq!(start(&mut hub, 0), next);
    }
}

#[test]
fn a_lock_is_forgotten_only_if_it_is_over() {
    let mut hub = Hub::new();
    let lock = start(&mut hub, 100);
    assert!(!hub.is_timeless());
    assert!(!hub.forget_if(lock, at(1), |_, (), now| now > at(1)));
    assert_eq!(hub.locks().collect::<Vec<_>>(), [lock]);
    assert!(hub.forget_if(lock, at(0), |_, (), now| now == at(1)), "time never goes back");
    assert!(hub.locks().next().is_none() && hub.is_timeless());
    assert!(!hub.forget_if(lock, at(1), |_, (), _| true), "it was forgotten");
}

#[test]
fn whoever_attends_to_a_lock_gets_its_requests_then_its_events() {
    let mut hub = Hub::new();
    let (lock, mut heard) = (start(&mut hub, 100), Vec::new());
    let left: Option<(RequestId, ())> = hub.attend(
        lock,
        at(1),
        |(), request, now| {
            assert!(matches!(request.command, Command::Enter { .. }));
            assert_eq!(now, at(1));
            Progress::Answered(granted())
        },
        |(), event| heard.push(event),
    );
    assert!(left.is_none());
    assert!(matches!(heard[..], [Event::Acquired { .. }]), "{heard:?}");
    assert!(hub.is_timeless(), "its budget matters no more");

    hub.release(lock, at(2));
    let mut asked = None;
    let left = hub.attend(
        lock,
        at(2),
        |(), request, _| {
            asked = Some(request.id);
            Progress::Outside("leave")
        },
        |(), _| panic!("there is no news"),
    );
    assert_eq!(left, asked.map(|id| (id, "leave")));

    let waiter = start(&mut hub, 100);
    let later = hub.attend(waiter, at(2), |(), _, _| Progress::<_, ()>::Later, |(), _| ());
    assert!(later.is_none());
    assert_eq!(hub.poll_timeout(), Some(at(100)));
}

/// Starts a mutex that waits for `wait` milliseconds; zero is for ever.
fn start(hub: &mut Hub<MemoryLock, ()>, wait: u64) -> LockId {
    let timeout = (wait > 0).then(|| ms(wait));
    let options = AcquireOptions::new().with_timeout(timeout);
    let machine = MemoryLock::new(Demand::Exclusive, &options, Instant::ZERO);
    hub.start(machine.expect("sensible options"), (), Instant::ZERO)
}

fn enter<A>(hub: &mut Hub<MemoryLock, A>, lock: LockId) -> RequestId {
    let request = hub.poll_request(lock).expect("the request to enter");
    assert!(matches!(request.command, Command::Enter { .. }));
    request.id
}

fn granted() -> Result<Reply, lock_proto::Fault> {
    Ok(Reply::Granted { fence: 1, valid_until: None })
}
