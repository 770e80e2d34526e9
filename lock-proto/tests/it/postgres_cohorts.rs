//! How a process passes an advisory lock on among its own.

use lock_proto::postgres::{AdvisoryKey, AdvisoryLock, Command, Mode, PostgresLock, Reply, Verb};
use lock_proto::{AcquireOptions, Event, Hub, LockError, LockId, Machine as _, Request, Seed};

use crate::postgres_timelines::{forever, lock, within};
use crate::timeline::{at, ms};

#[test]
fn who_comes_later_stands_behind_and_takes_the_hold_over() {
    let mut process = Process::new(false);
    let first = process.start(&forever());
    let second = process.start(&forever());
    assert!(process.ask(second).is_none());
    process.answer(first, Reply::Granted { fence: None }, 1);
    process.hub.release(first, at(5));
    assert!(process.ask(first).is_none());
    assert!(matches!(
        process.hear(first)[..],
        [Event::Acquired { .. }, Event::Closed { clean: true }]
    ));
    assert!(matches!(process.hear(second)[..], [Event::Acquired { .. }]));
    // What was passed on is given back like any other.
    process.hub.release(second, at(6));
    assert_eq!(process.ask(second).unwrap().command.verb, Verb::Unlock);
}

#[test]
fn a_hold_that_began_long_ago_goes_back_where_others_may_wait() {
    let mut process = Process::new(false);
    let first = process.start(&forever());
    let second = process.start(&forever());
    process.answer(first, Reply::Granted { fence: None }, 1);
    process.hub.release(first, at(12));
    assert_eq!(process.ask(first).unwrap().command.verb, Verb::Unlock);
    assert_eq!(process.ask(second).unwrap().command.verb, Verb::Try);
}

#[test]
fn a_hold_with_a_fence_is_never_passed_on() {
    let mut process = Process::new(true);
    let first = process.start(&forever());
    let second = process.start(&forever());
    process.answer(first, Reply::Granted { fence: Some(7) }, 1);
    process.hub.release(first, at(2));
    assert_eq!(process.ask(first).unwrap().command.verb, Verb::Unlock);
    assert_eq!(process.ask(second).unwrap().command.verb, Verb::Try);
}

#[test]
fn a_release_that_was_handed_out_is_not_called_off() {
    let mut process = Process::new(false);
    let first = process.start(&forever());
    process.answer(first, Reply::Granted { fence: None }, 1);
    process.hub.release(first, at(2));
    let unlock = process.ask(first).unwrap();
    let second = process.start(&forever());
    assert_eq!(process.ask(second).unwrap().command.verb, Verb::Try);
    process.hub.handle_reply(first, unlock.id, Ok(Reply::Unlocked(true)), at(3));
    assert!(process.hear(second).is_empty());
}

#[test]
fn who_stands_behind_gives_up_in_its_own_time() {
    let mut process = Process::new(false);
    let first = process.start(&forever());
    let second = process.start(&within(50));
    process.answer(first, Reply::Granted { fence: None }, 1);
    process.hub.nudge(second, at(49));
    assert!(process.hear(second).is_empty());
    while process.hub.poll_due(at(50)).is_some() {}
    assert!(matches!(
        process.hear(second)[..],
        [Event::Failed(LockError::Timeout(_)), Event::Closed { clean: true }]
    ));
}

#[test]
fn a_hold_is_passed_on_only_among_those_who_may_all_keep_it() {
    let limited = forever().with_max_hold(ms(1000));
    for (first, second) in [(forever(), limited.clone()), (limited, forever())] {
        let mut process = Process::new(false);
        let (first, second) = (process.start(&first), process.start(&second));
        process.answer(first, Reply::Granted { fence: None }, 1);
        process.hub.release(first, at(2));
        assert_eq!(process.ask(first).unwrap().command.verb, Verb::Unlock);
        assert_eq!(process.ask(second).unwrap().command.verb, Verb::Try);
    }
}

#[test]
fn readers_and_single_tries_stand_behind_nobody() {
    let reader = |options| {
        let key = AdvisoryKey::Single(7);
        AdvisoryLock::new(key, Mode::Shared, options, &Seed::from_bytes([7; 32]), at(0)).unwrap()
    };
    assert_eq!(reader(&forever()).leading(false).cohort(), None);
    assert_eq!(lock(&within(0)).leading(false).cohort(), None);
    assert!(lock(&forever()).leading(false).cohort().is_some());
}

#[test]
fn who_stands_behind_for_ever_is_counted_and_sets_no_alarm() {
    let mut process = Process::new(false);
    process.start(&forever());
    assert_eq!(process.hub.crowds().count(), 0, "nobody stands behind the first");
    let second = process.start(&forever());
    assert_eq!(process.hub.crowds().map(|(_, behind)| behind).collect::<Vec<_>>(), [1]);
    assert_eq!(process.hub.poll_timeout(), None);
    process.hub.release(second, at(1));
    process.hub.forget(second);
    assert_eq!(process.hub.crowds().count(), 0, "he has gone");
}

/// The locks of one process on one mutex.
struct Process {
    hub: Hub<PostgresLock, ()>,
    fenced: bool,
}

impl Process {
    fn new(fenced: bool) -> Self {
        Self { hub: Hub::new(), fenced }
    }

    fn start(&mut self, options: &AcquireOptions) -> LockId {
        let lock = lock(options).leading(self.fenced);
        self.hub.start(PostgresLock::Advisory(lock), (), at(0))
    }

    fn ask(&mut self, lock: LockId) -> Option<Request<Command>> {
        while self.hub.poll_succession().is_some() {}
        self.hub.poll_request(lock)
    }

    fn answer(&mut self, lock: LockId, reply: Reply, millis: u64) {
        let request = self.ask(lock).expect("it has asked");
        self.hub.handle_reply(lock, request.id, Ok(reply), at(millis));
    }

    fn hear(&mut self, lock: LockId) -> Vec<Event> {
        std::iter::from_fn(|| self.hub.poll_event(lock)).collect()
    }
}
