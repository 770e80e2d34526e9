//! Locks of one process that want one mutex on Redis: who asks the server, and what is passed on.

use lock_proto::file::Identity;
use lock_proto::redis::{
    FENCES, Keys, Message, RedisLock, RedisOptions, Reply, ServerLock, Side, Token, Verb,
};
use lock_proto::{
    AcquireOptions, Event, Fault, Hub, LockError, LockId, Machine as _, Renewal, Request, Seed,
};

use crate::timeline::{at, ms, name};

/// A fence that a counter in microseconds may have reached.
const FENCE: u64 = 1_700_000_000_000_000;

#[test]
fn who_comes_later_stands_behind_and_asks_for_nothing() {
    let mut process = Process::new();
    let first = process.start(&waiting());
    let second = process.start(&waiting());
    assert!(matches!(process.ask(first).unwrap().command.verb, Verb::Take { .. }));
    assert!(process.ask(second).is_none());
    assert!(process.hub.poll_timeout().is_none_or(|at_last| at_last > at(500)));
}

#[test]
fn a_lock_that_came_by_plain_commands_has_no_second_fence_and_goes_back() {
    let mut process = Process::new();
    let (first, second) = process.held_and_wanted();
    process.hub.release(first, at(5));
    assert!(matches!(process.ask(first).unwrap().command.verb, Verb::GiveBack));
    assert!(matches!(process.ask(second).unwrap().command.verb, Verb::Enter { wait: true, .. }));
}

#[test]
fn a_lock_that_was_granted_is_passed_on_with_the_next_fence_and_without_a_word_to_the_server() {
    let mut process = Process::new();
    let second = process.granted_behind_another();
    let third = process.start(&waiting());
    process.hub.release(second, at(8));
    assert!(process.ask(second).is_none());
    assert!(matches!(process.hear(second)[..], [Event::Closed { clean: true }]));
    assert!(process.ask(third).is_none());
    let [Event::Acquired { valid_until: Some(until), fence: Some(fence) }] =
        process.hear(third)[..]
    else {
        panic!("it was not passed on")
    };
    // R2: as long as it was the holder's before.
    assert_eq!((until, fence), (at(5 + 29_698), FENCE + 1));
}

#[test]
fn without_fences_a_lock_is_passed_on_however_it_came() {
    let mut process = Process { fencing: false, ..Process::new() };
    let (first, second) = process.held_and_wanted();
    process.hub.release(first, at(5));
    assert!(process.ask(first).is_none());
    assert!(matches!(process.hear(second)[..], [Event::Acquired { fence: None, .. }]));
}

#[test]
fn a_lock_goes_back_when_its_fences_are_used_up() {
    let mut process = Process::new();
    let mut holder = process.granted_behind_another();
    for passed in 1..FENCES {
        let next = process.start(&waiting());
        process.hub.release(holder, at(6));
        let [Event::Acquired { fence: Some(fence), .. }] = process.hear(next)[..] else {
            panic!("number {passed} was not passed on")
        };
        assert_eq!(fence, FENCE + u64::from(passed));
        holder = next;
    }
    let last = process.start(&waiting());
    process.hub.release(holder, at(6));
    assert!(matches!(process.ask(holder).unwrap().command.verb, Verb::Leave { .. }));
    assert!(matches!(process.ask(last).unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn a_lock_that_came_long_ago_goes_back_where_others_may_wait() {
    let mut process = Process::new();
    let holder = process.granted_behind_another();
    let next = process.start(&waiting());
    process.hub.release(holder, at(5 + 11));
    assert!(matches!(process.ask(holder).unwrap().command.verb, Verb::Leave { .. }));
    assert!(matches!(process.ask(next).unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn a_lock_that_came_ten_milliseconds_ago_is_passed_on_once_more() {
    let mut process = Process::new();
    let holder = process.granted_behind_another();
    let next = process.start(&waiting());
    process.hub.release(holder, at(5 + 10));
    assert!(process.ask(holder).is_none());
    assert!(matches!(process.hear(next)[..], [Event::Acquired { .. }]));
}

#[test]
fn who_stands_behind_stays_there_when_nothing_has_happened() {
    let mut process = Process::new();
    let (_, second) = process.held_and_wanted();
    process.hub.nudge(second, at(1));
    assert!(process.ask(second).is_none() && process.hear(second).is_empty());
}

#[test]
fn who_waits_for_ever_sets_no_alarm() {
    let mut process = Process::new();
    let first = process.start(&waiting());
    process.start(&waiting());
    process.ask(first);
    assert_eq!(process.hub.poll_timeout(), None);
}

#[test]
fn a_lock_of_which_an_answer_is_to_come_goes_back() {
    let mut process = Process::new();
    let holder = process.granted_behind_another();
    let next = process.start(&waiting());
    process.hub.extend(holder, ms(5_000), at(6));
    assert!(matches!(process.ask(holder).unwrap().command.verb, Verb::Extend { .. }));
    process.hub.release(holder, at(7));
    assert!(matches!(process.ask(holder).unwrap().command.verb, Verb::Leave { .. }));
    assert!(matches!(process.ask(next).unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn what_was_lost_is_not_passed_on() {
    let mut process = Process::new();
    let holder = process.granted_behind_another();
    let next = process.start(&waiting());
    process.hub.disconnect(holder, "it is gone".into(), at(6));
    assert!(matches!(process.ask(holder).unwrap().command.verb, Verb::Leave { .. }));
    assert!(process.hear(next).is_empty());
    assert!(matches!(process.ask(next).unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn a_place_in_the_server_s_queue_is_passed_on_with_its_message() {
    let mut process = Process::new();
    let first = process.start(&for_a_while());
    let second = process.start(&waiting());
    process.answer(first, 0, [0, 0, 0]);
    let entered = process.answer(first, 1, [0, 20_000, 0]);
    assert!(matches!(entered.command.verb, Verb::Enter { stamp: 1, .. }));
    // The first gives up, and the second has its place: nobody leaves the queue.
    assert_eq!(process.hub.poll_due(at(300)), Some(first));
    assert!(matches!(process.hear(first)[..], [Event::Failed(_), Event::Closed { clean: true }]));
    assert!(process.ask(first).is_none());
    assert!(process.ask(second).is_none());
    let succession = process.hub.poll_succession().unwrap();
    assert_eq!((succession.before, succession.lock, succession.inherits), (first, second, true));
    // R11: the grant is dated by the refresh that the first had handed out.
    process.hub.message(second, Message { fence: FENCE, stamp: 1 }, at(400));
    assert!(matches!(process.hear(second)[..], [Event::Acquired { fence: Some(FENCE), .. }]));
    assert_eq!(process.hub.poll_due(at(500)), Some(second));
    let claim = process.ask(second).unwrap().command;
    assert!(matches!(claim.verb, Verb::Extend { .. }));
    assert_eq!(claim.token, entered.command.token);
}

#[test]
fn a_place_of_which_an_answer_is_to_come_is_given_up() {
    let mut process = Process::new();
    let first = process.start(&waiting());
    let second = process.start(&waiting());
    process.answer(first, 0, [0, 0, 0]);
    let asked = process.ask(first).unwrap();
    process.hub.release(first, at(2));
    let leave = process.ask(first).unwrap().command;
    assert!(matches!(leave.verb, Verb::Leave { refuse_for: Some(_), .. }));
    assert_eq!(leave.token, asked.command.token);
    assert_ne!(process.ask(second).unwrap().command.token, asked.command.token);
}

#[test]
fn who_stands_behind_gives_up_at_its_time_and_leaves_the_line() {
    let mut process = Process::new();
    let first = process.start(&waiting());
    let second = process.start(&for_a_while());
    let third = process.start(&waiting());
    process.answer(first, 0, [1, FENCE as i64, 0]);
    assert_eq!(process.hub.poll_due(at(300)), Some(second));
    let said = process.hear(second);
    let [Event::Failed(LockError::Timeout(waited)), Event::Closed { clean: true }] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!(*waited, ms(300));
    assert_eq!(process.behind(), 1);
    process.hub.release(first, at(400));
    assert!(matches!(process.ask(first).unwrap().command.verb, Verb::GiveBack));
    assert!(matches!(process.ask(third).unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn a_server_that_fails_for_long_fails_all_that_wait_for_ever_at_once() {
    let mut process = Process::new();
    let locks = [(); 3].map(|()| process.start(&waiting()));
    let mut now = 0;
    while process.behind() > 0 {
        if let Some(request) = process.ask(locks[0]) {
            let fault = Err(Fault::not_sent("it is down"));
            process.hub.handle_reply(locks[0], request.id, fault, at(now));
        }
        now = process.hub.poll_timeout().unwrap().as_nanos().div_ceil(1_000_000);
        while process.hub.poll_due(at(now)).is_some() {}
        assert!(now < 60_000, "they wait one after another");
    }
    for lock in locks {
        let said = process.hear(lock);
        assert!(matches!(said[0], Event::Failed(LockError::Connection(_))), "{said:?}");
    }
}

#[test]
fn what_wants_other_terms_asks_for_itself() {
    let others = [
        AcquireOptions::new().with_ttl(ms(5_000)),
        AcquireOptions::new().with_renewal(Renewal::Off),
        AcquireOptions::new().with_max_hold(ms(5_000)),
        AcquireOptions::new().with_owner("the night shift"),
        AcquireOptions::new().with_timeout(Some(ms(0))),
    ];
    for options in others {
        let mut process = Process::new();
        process.start(&waiting());
        let other = process.start(&options);
        assert!(process.ask(other).is_some(), "{options:?}");
    }
}

#[test]
fn a_lock_that_is_forgotten_makes_way() {
    let mut process = Process::new();
    let (first, second) = process.held_and_wanted();
    process.hub.forget(first);
    assert!(matches!(process.ask(second).unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn when_they_are_disbanded_nobody_asks_any_more() {
    let mut process = Process::new();
    let (first, second) = process.held_and_wanted();
    process.hub.disband();
    process.hub.release(first, at(5));
    assert!(process.ask(second).is_none());
    process.hub.release(second, at(5));
    assert!(matches!(process.ask(first).unwrap().command.verb, Verb::GiveBack));
    assert!(matches!(process.hear(second)[..], [Event::Closed { clean: true }]));
}

#[test]
fn a_lock_whose_release_is_on_its_way_is_not_passed_on() {
    // R1: the server may let somebody else in at any moment.
    let (mut first, mut second) = (leader(1, false, &waiting()), leader(2, false, &waiting()));
    second.stand_behind();
    let take = first.poll_request().unwrap();
    first.handle_reply(take.id, Ok([1, 0, 0]), at(1));
    first.release(at(5));
    assert!(matches!(first.poll_request().unwrap().command.verb, Verb::GiveBack));
    assert!(!second.follow(&mut first, at(5)));
    assert!(matches!(second.poll_request().unwrap().command.verb, Verb::Enter { .. }));
}

#[test]
fn whoever_wants_a_lock_on_the_same_terms_is_of_one_cohort() {
    let cohort = |options| leader(1, true, &options).cohort().unwrap();
    assert_eq!(cohort(waiting()), cohort(for_a_while()));
    assert_ne!(cohort(waiting()), cohort(waiting().with_ttl(ms(5_000))));
    assert!(cohort(waiting()) > cohort(waiting().with_ttl(ms(5_000))));
}

/// The locks of one process.
struct Process {
    hub: Hub<RedisLock, Token>,
    started: u8,
    fencing: bool,
}

impl Process {
    fn new() -> Self {
        Self { hub: Hub::new(), started: 0, fencing: true }
    }

    fn start(&mut self, options: &AcquireOptions) -> LockId {
        self.started += 1;
        let lock = leader(self.started, self.fencing, options);
        let token = lock.token().clone();
        self.hub.start(RedisLock::Server(lock), token, at(0))
    }

    fn ask(&mut self, lock: LockId) -> Option<Request<lock_proto::redis::Command>> {
        self.hub.poll_request(lock)
    }

    /// Answers what a lock asks.
    fn answer(
        &mut self,
        lock: LockId,
        now: u64,
        reply: Reply,
    ) -> Request<lock_proto::redis::Command> {
        let request = self.ask(lock).expect("it asks");
        self.hub.handle_reply(lock, request.id, Ok(reply), at(now));
        request
    }

    fn hear(&mut self, lock: LockId) -> Vec<Event> {
        std::iter::from_fn(|| self.hub.poll_event(lock)).collect()
    }

    fn behind(&self) -> usize {
        self.hub.crowds().map(|(_, behind)| behind).sum()
    }

    /// A lock that was taken with plain commands, and one that stands behind it.
    fn held_and_wanted(&mut self) -> (LockId, LockId) {
        let (first, second) = (self.start(&waiting()), self.start(&waiting()));
        self.answer(first, 1, [1, FENCE as i64, 0]);
        assert!(matches!(self.hear(first)[..], [Event::Acquired { .. }]));
        (first, second)
    }

    /// A lock that was granted by a script at 5 ms, with fences to pass on.
    fn granted_behind_another(&mut self) -> LockId {
        let (first, second) = self.held_and_wanted();
        self.hub.release(first, at(5));
        self.ask(first);
        self.answer(second, 5, [1, FENCE as i64, 0]);
        assert!(matches!(self.hear(second)[..], [Event::Acquired { .. }]));
        while self.hub.poll_succession().is_some() {}
        second
    }
}

fn leader(number: u8, fencing: bool, options: &AcquireOptions) -> ServerLock {
    let settings = RedisOptions::new(Identity::new("build-7", 4242)).with_fencing(fencing);
    let keys = Keys::new("", &name()).expect("a plain name");
    let seed = Seed::from_bytes([number; 32]);
    let lock = ServerLock::new(keys, Side::Exclusive, options, &settings, &seed, at(0));
    lock.expect("sensible options").leading(options)
}

fn waiting() -> AcquireOptions {
    AcquireOptions::new()
}

fn for_a_while() -> AcquireOptions {
    AcquireOptions::new().with_timeout(Some(ms(300)))
}
