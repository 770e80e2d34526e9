use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::memory::{Command, LockTable, MemoryLock, Notice, Reply};
use lock_proto::{
    AcquireOptions, Demand, Hub, Instant, LockId, LockInfo, LockName, LossReason, Machine as _,
    Request,
};

use crate::timeline::{at, ms, name, permits};

#[test]
fn writers_are_served_in_the_order_they_came() {
    let mut bench = Bench::new();
    let writers = bench.locks::<4>();
    assert!(bench.granted(writers[0], Demand::Exclusive));
    for writer in &writers[1..] {
        assert!(!bench.granted(*writer, Demand::Exclusive));
    }
    for pair in writers.windows(2) {
        bench.leave(pair[0], Demand::Exclusive);
        assert_eq!(bench.news(), [pair[1]]);
    }
}

#[test]
fn a_taker_of_many_permits_is_not_overtaken_by_takers_of_few() {
    let mut bench = Bench::new();
    let [first, many, few, last] = bench.locks();
    assert!(bench.granted(first, permits(1, 3)));
    assert!(!bench.granted(many, permits(3, 3)));
    assert!(!bench.granted(few, permits(1, 3)));
    assert!(!bench.granted(last, permits(2, 3)));
    assert_eq!(bench.enter(bench.spare, permits(1, 3), false), Some(Reply::Busy));
    bench.leave(first, permits(1, 3));
    assert_eq!(bench.news(), [many]);
    bench.leave(many, permits(3, 3));
    assert_eq!(bench.news(), [few, last]);
}

#[test]
fn a_taker_that_withdraws_lets_those_behind_it_through() {
    let mut bench = Bench::new();
    let [first, many, few] = bench.locks();
    assert!(bench.granted(first, permits(1, 3)));
    assert!(!bench.granted(many, permits(3, 3)));
    assert!(!bench.granted(few, permits(1, 3)));
    bench.leave(many, permits(3, 3));
    assert_eq!(bench.replies(), [(many, Reply::Withdrawn), (few, granted(2))]);
}

#[test]
fn each_taker_is_held_to_its_own_limit() {
    let mut bench = Bench::new();
    let [one, two, tight, wide] = bench.locks();
    assert!(bench.granted(one, permits(1, 5)));
    assert!(bench.granted(two, permits(1, 2)));
    assert!(!bench.granted(tight, permits(1, 2)));
    assert!(!bench.granted(wide, permits(1, 5)), "it stands behind the tighter one");
    bench.leave(one, permits(1, 5));
    assert_eq!(bench.news(), [tight, wide]);
}

#[test]
fn the_greatest_weights_do_not_overflow() {
    let mut bench = Bench::new();
    let [first, second] = bench.locks();
    assert!(bench.granted(first, permits(u32::MAX, u32::MAX)));
    assert!(!bench.granted(second, permits(u32::MAX, u32::MAX)));
    bench.leave(first, permits(u32::MAX, u32::MAX));
    assert_eq!(bench.news(), [second]);
}

#[test]
fn readers_share_and_a_writer_excludes_them() {
    let mut bench = Bench::new();
    let [reader, other, writer] = bench.locks();
    assert!(bench.granted(reader, Demand::Shared));
    assert!(bench.granted(other, Demand::Shared));
    assert!(!bench.granted(writer, Demand::Exclusive));
    bench.leave(reader, Demand::Shared);
    assert!(bench.news().is_empty());
    bench.leave(other, Demand::Shared);
    assert_eq!(bench.news(), [writer]);
}

#[test]
fn a_stream_of_readers_does_not_starve_a_writer() {
    let mut bench = Bench::new();
    let [reader, writer, late] = bench.locks();
    assert!(bench.granted(reader, Demand::Shared));
    assert!(!bench.granted(writer, Demand::Exclusive));
    assert!(!bench.granted(late, Demand::Shared), "no reader joins while a writer waits");
    assert_eq!(bench.enter(bench.spare, Demand::Shared, false), Some(Reply::Busy));
    bench.leave(reader, Demand::Shared);
    assert_eq!(bench.news(), [writer]);
}

#[test]
fn a_stream_of_writers_does_not_starve_readers() {
    let mut bench = Bench::new();
    let [writer, next, early, late] = bench.locks();
    assert!(bench.granted(writer, Demand::Exclusive));
    assert!(!bench.granted(next, Demand::Exclusive));
    assert!(!bench.granted(early, Demand::Shared));
    assert!(!bench.granted(late, Demand::Shared));
    bench.leave(writer, Demand::Exclusive);
    assert_eq!(bench.news(), [early, late], "all readers that waited go before the next writer");
    let newcomer = bench.spare;
    assert!(!bench.granted(newcomer, Demand::Shared), "and none after them");
    bench.leave(early, Demand::Shared);
    bench.leave(late, Demand::Shared);
    assert_eq!(bench.news(), [next]);
    bench.leave(next, Demand::Exclusive);
    assert_eq!(bench.news(), [newcomer]);
}

#[test]
fn readers_go_when_the_only_writer_before_them_withdraws() {
    let mut bench = Bench::new();
    let [reader, writer, late] = bench.locks();
    assert!(bench.granted(reader, Demand::Shared));
    assert!(!bench.granted(writer, Demand::Exclusive));
    assert!(!bench.granted(late, Demand::Shared));
    bench.leave(writer, Demand::Exclusive);
    assert_eq!(bench.replies(), [(writer, Reply::Withdrawn), (late, granted(2))]);
}

#[test]
fn readers_that_wait_for_a_writer_to_expire_go_before_the_next() {
    let mut bench = Bench::new();
    let [writer, next, reader] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(writer, Demand::Exclusive));
    bench.ttl = None;
    assert!(!bench.granted(next, Demand::Exclusive));
    assert!(!bench.granted(reader, Demand::Shared));
    bench.pass(500);
    assert_eq!(bench.news(), [reader]);
}

#[test]
fn the_table_says_whether_it_has_something_to_tell() {
    let mut bench = Bench::new();
    let [writer, next] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(writer, Demand::Exclusive));
    assert!(!bench.table.has_answers());
    bench.pass(500);
    assert!(bench.table.has_answers(), "the notice of a loss");
    assert!(bench.table.poll_notice().is_some() && !bench.table.has_answers());
    assert!(bench.granted(next, Demand::Exclusive));
    assert!(!bench.granted(writer, Demand::Exclusive));
    bench.leave(next, Demand::Exclusive);
    assert!(bench.table.has_answers(), "a reply");
    assert!(bench.table.poll_reply().is_some() && !bench.table.has_answers());
}

#[test]
fn a_semaphore_and_a_lock_of_one_name_are_two_locks() {
    let mut bench = Bench::new();
    let [writer, taker] = bench.locks();
    assert!(bench.granted(writer, Demand::Exclusive));
    assert!(bench.granted(taker, permits(1, 1)));
    assert_eq!(bench.table.list(at(0)).len(), 2);
}

#[test]
fn thousands_of_readers_come_and_go() {
    let mut bench = Bench::new();
    let readers: Vec<LockId> = (0..5000).map(|_| bench.lock()).collect();
    let [writer, last] = bench.locks();
    assert!(readers.iter().all(|reader| bench.granted(*reader, Demand::Shared)));
    assert!(!bench.granted(writer, Demand::Exclusive));
    let waiting: Vec<LockId> = (0..5000).map(|_| bench.lock()).collect();
    assert!(!waiting.iter().any(|reader| bench.granted(*reader, Demand::Shared)));
    assert!(!bench.granted(last, Demand::Exclusive));
    readers.iter().for_each(|reader| bench.leave(*reader, Demand::Shared));
    assert_eq!(bench.news(), [writer]);
    bench.leave(writer, Demand::Exclusive);
    assert_eq!(bench.news(), waiting);
    waiting.iter().rev().for_each(|reader| bench.leave(*reader, Demand::Shared));
    assert_eq!(bench.news(), [last]);
    bench.leave(last, Demand::Exclusive);
    assert!(bench.table.list(at(0)).is_empty());
}

#[test]
fn a_lease_that_ends_is_told_and_hands_the_lock_on() {
    let mut bench = Bench::new();
    let [holder, waiter] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(holder, Demand::Exclusive));
    assert!(!bench.granted(waiter, Demand::Exclusive));
    assert_eq!(bench.table.poll_timeout(), Some(at(500)));
    bench.pass(499);
    assert!(bench.news().is_empty());
    bench.pass(1);
    assert_eq!(bench.notices(), [(holder, LossReason::Expired)]);
    let leased = Reply::Granted { fence: 2, valid_until: Some(at(1000)) };
    assert_eq!(bench.replies(), [(waiter, leased)]);
    assert_eq!(bench.extend(holder, 500), Reply::NotHeld);
}

#[test]
fn a_try_sees_that_a_lease_has_ended_although_nobody_let_time_pass() {
    // It was once refused because of a holder whose time was up.
    let mut bench = Bench::new();
    let [holder, other] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(holder, Demand::Exclusive));
    bench.now = at(500);
    let reply = bench.enter(other, Demand::Exclusive, false);
    assert!(matches!(reply, Some(Reply::Granted { fence: 2, .. })), "{reply:?}");
    assert_eq!(bench.notices(), [(holder, LossReason::Expired)]);
}

#[test]
fn an_extension_counts_from_when_it_is_carried_out_and_never_shortens() {
    let mut bench = Bench::new();
    let [holder] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(holder, Demand::Exclusive));
    bench.pass(100);
    assert_eq!(bench.extend(holder, 500), Reply::Extended { valid_until: Some(at(600)) });
    assert_eq!(bench.extend(holder, 100), Reply::Extended { valid_until: Some(at(600)) });
    assert_eq!(bench.table.poll_timeout(), Some(at(600)));
}

#[test]
fn an_extension_of_a_lock_without_a_lease_leaves_it_so() {
    let mut bench = Bench::new();
    let [holder, stranger] = bench.locks();
    assert!(bench.granted(holder, Demand::Exclusive));
    assert_eq!(bench.extend(holder, 500), Reply::Extended { valid_until: None });
    assert_eq!(bench.extend(stranger, 500), Reply::NotHeld);
    assert_eq!(bench.table.poll_timeout(), None);
}

#[test]
fn a_lease_that_was_given_back_does_not_end_later() {
    let mut bench = Bench::new();
    let [holder] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(holder, Demand::Exclusive));
    bench.leave(holder, Demand::Exclusive);
    assert_eq!(bench.table.poll_timeout(), None);
    bench.pass(1000);
    assert!(bench.notices().is_empty());
}

#[test]
fn a_revoked_lock_is_lost_by_all_its_holders() {
    let mut bench = Bench::new();
    let [reader, other, writer, taker] = bench.locks();
    assert!(bench.granted(reader, Demand::Shared));
    assert!(bench.granted(other, Demand::Shared));
    assert!(bench.granted(taker, permits(1, 2)));
    assert!(!bench.granted(writer, Demand::Exclusive));
    assert_eq!(bench.table.revoke(&name(), &LossReason::Revoked, at(0)), 3);
    let lost: Vec<LockId> = bench.notices().into_iter().map(|(lock, _)| lock).collect();
    assert_eq!(lost, [reader, other, taker]);
    assert_eq!(bench.news(), [writer]);
}

#[test]
fn leaving_twice_is_harmless() {
    let mut bench = Bench::new();
    let [holder, waiter, next] = bench.locks();
    assert!(bench.granted(holder, Demand::Exclusive));
    assert!(!bench.granted(waiter, Demand::Exclusive));
    assert!(!bench.granted(next, Demand::Exclusive));
    bench.leave(holder, Demand::Exclusive);
    bench.leave(holder, Demand::Exclusive);
    assert_eq!(bench.news(), [waiter]);
}

#[test]
fn delayed_requests_are_carried_out_late_and_in_order() {
    let mut bench = Bench::new();
    let [first, second] = bench.locks();
    bench.table.delay_requests(ms(100));
    assert_eq!(bench.enter(first, Demand::Exclusive, true), None);
    bench.table.delay_requests(Duration::ZERO);
    assert_eq!(bench.enter(second, Demand::Exclusive, false), None, "it may not overtake");
    assert_eq!(bench.table.poll_timeout(), Some(at(100)));
    bench.pass(99);
    assert!(bench.news().is_empty());
    bench.pass(1);
    assert_eq!(bench.replies(), [(first, granted(1)), (second, Reply::Busy)]);
}

#[test]
fn the_table_says_who_holds_and_how_many_wait() {
    let mut bench = Bench::new();
    let [holder, waiter] = bench.locks();
    bench.ttl = Some(ms(500));
    assert!(bench.granted(holder, Demand::Exclusive));
    assert!(!bench.granted(waiter, Demand::Exclusive));
    bench.pass(200);
    let info = bench.table.info(&name(), Demand::Exclusive, bench.now);
    assert!(info.locked);
    assert_eq!(info.name.as_deref(), Some(name().as_str()));
    assert_eq!(info.waiters, Some(1));
    assert_eq!(info.holders.len(), 1);
    assert_eq!(info.holders[0].owner.as_deref(), Some("the night shift"));
    assert_eq!(info.holders[0].held_for, Some(ms(200)));
    assert_eq!(info.holders[0].remaining, Some(ms(300)));
    assert_eq!(info.holders[0].fence, Some(1));
    let free: LockInfo = bench.table.info(&name(), permits(1, 1), bench.now);
    assert_eq!(free.name.as_deref(), Some(name().as_str()));
    assert!(!free.locked && free.waiters == Some(0));
}

#[test]
fn names_that_nobody_uses_are_forgotten_but_for_the_last_few() {
    let mut bench = Bench::new();
    let empty = format!("{:?}", bench.table).len();
    for number in 0..1_000 {
        let name = LockName::new(format!("orders/{number:04}")).expect("a short name");
        for demand in [Demand::Exclusive, permits(1, 1)] {
            let reply = bench.execute_at(&name, bench.spare, command(demand));
            assert!(matches!(reply, Some(Reply::Granted { .. })), "{reply:?}");
            let left = bench.execute_at(&name, bench.spare, Command::Leave { demand });
            assert_eq!(left, Some(Reply::Left));
        }
    }
    assert!(bench.table.list(bench.now).is_empty(), "nobody holds any");
    let kept = format!("{:?}", bench.table);
    assert!(!kept.contains("orders/0900") && kept.contains("orders/0999"), "{kept}");
    assert!(kept.len() > empty);
}

#[test]
fn a_name_that_is_used_again_is_forgotten_only_after_that() {
    let use_others = |bench: &mut Bench| {
        for number in 0..100 {
            let name = LockName::new(format!("orders/{number:04}")).expect("a short name");
            bench.execute_at(&name, bench.spare, command(Demand::Exclusive));
            bench.execute_at(&name, bench.spare, Command::Leave { demand: Demand::Exclusive });
        }
    };
    let mut bench = Bench::new();
    let [holder, other] = bench.locks();
    assert!(bench.granted(holder, Demand::Exclusive));
    bench.leave(holder, Demand::Exclusive);
    assert!(bench.granted(holder, Demand::Exclusive));
    use_others(&mut bench);
    assert!(!bench.granted(other, Demand::Exclusive), "it is held all the time");
    bench.leave(holder, Demand::Exclusive);
    assert_eq!(bench.news(), [other]);
    bench.leave(other, Demand::Exclusive);
    let known = |bench: &Bench| format!("{:?}", bench.table).contains(&format!("{:?}", name()));
    assert!(known(&bench));
    use_others(&mut bench);
    assert!(!known(&bench), "{:?}", bench.table);
}

#[test]
fn a_table_is_timeless_unless_somebody_waits_or_has_a_lease() {
    let mut bench = Bench::new();
    let [first, second, third] = bench.locks();
    assert!(bench.table.is_timeless());
    assert!(bench.granted(first, Demand::Exclusive));
    assert!(bench.table.is_timeless());
    assert!(!bench.granted(second, Demand::Exclusive));
    assert!(!bench.granted(third, Demand::Exclusive));
    bench.leave(second, Demand::Exclusive);
    assert!(!bench.table.is_timeless(), "one waits");
    bench.leave(first, Demand::Exclusive);
    assert_eq!(bench.news(), [third]);
    assert!(bench.table.is_timeless());
    bench.leave(third, Demand::Exclusive);
    bench.ttl = Some(ms(300));
    assert!(bench.granted(first, Demand::Exclusive));
    assert!(!bench.table.is_timeless(), "it has a lease");
    bench.leave(first, Demand::Exclusive);
    assert!(bench.table.is_timeless());
    bench.table.delay_requests(ms(1));
    assert_eq!(bench.enter(first, Demand::Exclusive, true), None);
    assert!(!bench.table.is_timeless(), "it is slow");
}

fn command(demand: Demand) -> Command {
    Command::Enter { demand, wait: false, ttl: None, owner: None }
}

fn granted(fence: u64) -> Reply {
    Reply::Granted { fence, valid_until: None }
}

/// A table, and locks that ask it by hand.
struct Bench {
    table: LockTable,
    hub: Hub<MemoryLock, ()>,
    spare: LockId,
    now: Instant,
    ttl: Option<Duration>,
    limits: BTreeMap<LockId, Demand>,
}

impl Bench {
    fn new() -> Self {
        let mut hub = Hub::new();
        let spare = hub.start(machine(Demand::Exclusive), (), Instant::ZERO);
        let now = Instant::ZERO;
        Self { table: LockTable::new(), hub, spare, now, ttl: None, limits: BTreeMap::new() }
    }

    fn lock(&mut self) -> LockId {
        self.hub.start(machine(Demand::Exclusive), (), Instant::ZERO)
    }

    fn locks<const N: usize>(&mut self) -> [LockId; N] {
        std::array::from_fn(|_| self.lock())
    }

    fn granted(&mut self, lock: LockId, demand: Demand) -> bool {
        matches!(self.enter(lock, demand, true), Some(Reply::Granted { .. }))
    }

    fn enter(&mut self, lock: LockId, demand: Demand, wait: bool) -> Option<Reply> {
        let owner = Some("the night shift".into());
        let command = Command::Enter { demand, wait, ttl: self.ttl, owner };
        self.limits.insert(lock, demand);
        self.execute(lock, command)
    }

    fn leave(&mut self, lock: LockId, demand: Demand) {
        let reply = self.execute(lock, Command::Leave { demand });
        assert_eq!(reply, Some(Reply::Left));
    }

    fn extend(&mut self, lock: LockId, ttl: u64) -> Reply {
        let demand = self.limits.get(&lock).copied().unwrap_or(Demand::Exclusive);
        let command = Command::Extend { demand, ttl: ms(ttl) };
        self.execute(lock, command).expect("an extension is answered at once")
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + ms(millis);
        self.table.handle_timeout(self.now);
    }

    fn replies(&mut self) -> Vec<(LockId, Reply)> {
        std::iter::from_fn(|| self.table.poll_reply())
            .map(|(lock, _, reply)| (lock, reply))
            .collect()
    }

    /// Whose turn has come since.
    fn news(&mut self) -> Vec<LockId> {
        let granted = |reply: &Reply| matches!(reply, Reply::Granted { .. });
        self.replies()
            .into_iter()
            .filter(|(_, reply)| granted(reply))
            .map(|(lock, _)| lock)
            .collect()
    }

    fn notices(&mut self) -> Vec<(LockId, LossReason)> {
        std::iter::from_fn(|| self.table.poll_notice())
            .map(|Notice { lock, reason, .. }| (lock, reason))
            .collect()
    }

    fn execute(&mut self, lock: LockId, command: Command) -> Option<Reply> {
        self.execute_at(&name(), lock, command)
    }

    /// Only a machine makes requests, so one lends its own.
    fn execute_at(&mut self, name: &LockName, lock: LockId, command: Command) -> Option<Reply> {
        let mut lender = machine(Demand::Exclusive);
        let mut request: Request<Command> = lender.poll_request().expect("the request to enter");
        request.command = command;
        self.table.execute(lock, name, request, self.now)
    }
}

fn machine(demand: Demand) -> MemoryLock {
    MemoryLock::new(demand, &AcquireOptions::new(), Instant::ZERO).expect("sensible options")
}
