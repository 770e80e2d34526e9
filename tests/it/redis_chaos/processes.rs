//! Processes that hold or want a lock and are killed or stopped.

use std::time::{Duration, Instant};

use lock_tests::redis::{Server, eventually};

use super::{CLAIM, REFRESH, SLACK, number, waiters};
use crate::worker::{BOUND, Worker};

fn worker(server: &Server, expiry: &str) -> Worker {
    let mut worker = Worker::start();
    assert_eq!(worker.ask(&format!("open-redis {}?expiry={expiry}", server.url())), "opened");
    worker
}

/// Lets `worker` wait behind `others`.
fn wait_behind(server: &Server, worker: &mut Worker, others: i64) {
    worker.tell("acquire lock - a");
    eventually("a waiter in the queue", || (waiters(server, "a") > others).then_some(()));
}

#[test]
fn the_lock_of_a_killed_holder_is_free_after_its_lease() {
    let server = Server::start();
    let ttl = Duration::from_secs(2);
    let (mut holder, mut waiter) = (worker(&server, "2s"), worker(&server, "30s"));
    let first = holder.hold("lock - a");
    wait_behind(&server, &mut waiter, 0);
    holder.kill();
    let killed = Instant::now();
    assert!(waiter.held() > first);
    assert!(killed.elapsed() < ttl + SLACK, "{:?}", killed.elapsed());
    assert_eq!(waiter.ask("release"), "released");
}

#[test]
fn a_killed_reader_and_a_killed_taker_are_gone_after_their_leases() {
    let server = Server::start();
    let ttl = Duration::from_secs(2);
    let (mut doomed, mut alive) = (worker(&server, "2s"), worker(&server, "2s"));
    let mut writer = worker(&server, "30s");
    doomed.hold("read - a");
    alive.hold("read - a");
    doomed.hold("1/2 - b");
    alive.hold("1/2 - b");
    doomed.kill();
    let killed = Instant::now();
    // The other reader renews its lease all the time, and the dead one's with it in no way.
    writer.hold("1/2 - b");
    assert!(killed.elapsed() < ttl + REFRESH + SLACK, "{:?}", killed.elapsed());
    assert_eq!(writer.ask("acquire write 0 a"), "busy");
    let readers = || number(&server, &["ZCARD", "{a}:dlock:readers"]);
    wait_behind(&server, &mut writer, 0);
    eventually("one reader", || (readers() == 1).then_some(()));
    assert!(killed.elapsed() < ttl + REFRESH + SLACK, "{:?}", killed.elapsed());
    assert_eq!(alive.ask("release"), "released");
    assert_eq!(alive.ask("release"), "released");
    writer.held();
}

#[test]
fn a_killed_head_of_the_queue_costs_a_claim_and_no_lease() {
    let server = Server::start();
    let mut workers = [(); 4].map(|()| worker(&server, "30s"));
    let [holder, head, second, next] = &mut workers;
    let first = holder.hold("lock - a");
    for (others, waiter) in [&mut *head, second, next].into_iter().enumerate() {
        wait_behind(&server, waiter, others as i64);
    }
    let [mut holder, head, second, next] = workers;
    head.kill();
    second.kill();
    assert_eq!(holder.ask("release"), "released");
    let released = Instant::now();
    assert!(next.held() > first);
    // The second of the dead has not refreshed its place for longer than is believed by then.
    let bound = CLAIM + REFRESH + SLACK;
    assert!(released.elapsed() < bound, "{:?}", released.elapsed());
}

#[test]
fn a_holder_that_was_stopped_finds_its_lock_lost() {
    let server = Server::start();
    let (mut holder, mut other) = (worker(&server, "1s"), worker(&server, "30s"));
    let first = holder.hold("lock - a");
    holder.stop();
    let fence = other.hold("lock - a");
    assert!(fence > first);
    let held = server.command(&["GET", "a"]).unwrap();
    holder.resume();
    assert_eq!(holder.ask("status"), "invalid Some(0ns)");
    assert_eq!(holder.ask(&format!("lost {}", BOUND.as_millis())), "lost Expired");
    holder.refuses("extend 1000", "LockLost", "ran out");
    holder.refuses("release", "LockLost", "ran out");
    assert_eq!(server.command(&["GET", "a"]).unwrap(), held);
    assert!(other.ask("status").starts_with("valid"));
}

#[test]
fn a_waiter_that_was_stopped_gets_in_when_it_goes_on() {
    let server = Server::start();
    let mut workers = [(); 3].map(|()| worker(&server, "30s"));
    let [holder, stopped, next] = &mut workers;
    holder.hold("lock - a");
    wait_behind(&server, stopped, 0);
    wait_behind(&server, next, 1);
    stopped.stop();
    let at_stop = Instant::now();
    assert_eq!(holder.ask("release"), "released");
    // It was let in and did not claim what it got.
    next.held();
    assert!(at_stop.elapsed() < CLAIM + REFRESH + SLACK, "{:?}", at_stop.elapsed());
    stopped.resume();
    assert_eq!(next.ask("release"), "released");
    stopped.held();
    assert!(stopped.ask("status").starts_with("valid"));
}

#[test]
fn a_process_that_ends_without_a_release_blocks_nobody_for_longer_than_its_lease() {
    let server = Server::start();
    let (mut holder, mut next) = (worker(&server, "1s"), worker(&server, "1s"));
    holder.hold("lock - a");
    holder.tell("exit");
    holder.finish();
    let ended = Instant::now();
    next.hold("lock - a");
    assert!(ended.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", ended.elapsed());
    next.kill();
    eventually("nobody connected", || server.clients().is_empty().then_some(()));
}
