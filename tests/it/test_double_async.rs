//! The in-memory provider as the double of any other, polled by hand: what happens at a moment, and
//! that nobody is woken before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::block_on;
use lock_async::{
    AcquireOptions, InMemoryLockProvider, LockError, LockProvider, LossReason, ManualClock, Renewal,
};

const BOUND: Duration = Duration::from_secs(30);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn expiring_a_lock_tells_its_holder_and_lets_the_next_in() {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("a");
    assert_eq!(provider.expire("a"), 0);
    let handle = block_on(lock.acquire(None)).unwrap();
    assert_eq!(provider.expire("b"), 0, "another name is another lock");
    assert!(handle.is_valid() && !handle.lost_token().is_lost());
    assert_eq!(provider.expire("a"), 1);
    assert_eq!(provider.expire("a"), 0, "nobody holds it any more");
    assert!(!handle.is_valid());
    assert_eq!(handle.remaining(), Some(Duration::ZERO));
    assert_eq!(handle.lost_token().reason(), Some(LossReason::Expired));
    let next = block_on(lock.try_acquire()).unwrap().unwrap();
    let lost = block_on(handle.release());
    assert!(matches!(lost, Err(LockError::LockLost(LossReason::Expired))));
    assert!(next.is_valid(), "whoever lost it can't release the next holder's");
    block_on(next.release()).unwrap();
}

#[test]
fn expiring_says_how_many_held() {
    let provider = InMemoryLockProvider::new();
    let readers = provider.create_reader_writer_lock("a");
    let permits = provider.create_semaphore("a", 5);
    let reading: Vec<_> = (0..3).map(|_| block_on(readers.acquire_read(None)).unwrap()).collect();
    assert_eq!(provider.expire("a"), 3);
    let two = block_on(permits.acquire_many(2, None)).unwrap();
    let one = block_on(permits.acquire(None)).unwrap();
    assert_eq!(provider.expire("a"), 2, "it counts holders, not permits");
    for handle in reading.iter().chain([&two, &one]) {
        assert_eq!(handle.lost_token().reason(), Some(LossReason::Expired));
    }
    let all = block_on(permits.try_acquire_many(5)).unwrap();
    assert!(all.is_some(), "all permits are back");
    let writer = block_on(readers.try_acquire_write()).unwrap();
    assert!(writer.is_some());
    assert_eq!(provider.expire("a"), 2, "as a lock and as a semaphore");
}

#[test]
fn fencing_tokens_rise_over_all_names() {
    let provider = InMemoryLockProvider::new();
    let mut last = None;
    for name in ["b", "a", "c", "a", "b"] {
        let lock = block_on(provider.create_lock(name).acquire(None)).unwrap();
        let permit = block_on(provider.create_semaphore(name, 2).acquire(None)).unwrap();
        assert!(lock.fence() > last && permit.fence() > lock.fence());
        last = permit.fence();
    }
}

#[test]
fn a_lease_that_is_extended_by_hand_lasts_from_then() {
    let (provider, clock) = on_clock();
    let options = AcquireOptions::new().with_ttl(SECOND).with_renewal(Renewal::Off);
    let handle = block_on(provider.create_lock("a").acquire_with(options)).unwrap();
    clock.advance(SECOND / 2);
    block_on(handle.extend(10 * SECOND)).unwrap();
    assert_eq!(handle.remaining(), Some(10 * SECOND));
    block_on(handle.extend(SECOND)).unwrap();
    assert_eq!(handle.remaining(), Some(10 * SECOND), "it is never shortened");
    clock.advance(10 * SECOND - MILLISECOND);
    assert!(handle.is_valid());
    clock.advance(MILLISECOND);
    assert!(handle.lost_token().is_lost());
}

#[test]
fn renewals_happen_exactly_at_their_cadence_and_as_often_as_allowed() {
    let (provider, clock) = on_clock();
    let options = AcquireOptions::new()
        .with_ttl(3 * SECOND)
        .with_renewal(Renewal::Every(SECOND))
        .with_max_renewals(2);
    let handle = block_on(provider.create_lock("a").acquire_with(options)).unwrap();
    for _ in 0..2 {
        clock.advance(SECOND - MILLISECOND);
        assert_eq!(handle.remaining(), Some(2 * SECOND + MILLISECOND));
        clock.advance(MILLISECOND);
        assert_eq!(handle.remaining(), Some(3 * SECOND));
    }
    clock.advance(3 * SECOND - MILLISECOND);
    assert_eq!(handle.remaining(), Some(MILLISECOND));
    clock.advance(MILLISECOND);
    assert_eq!(handle.lost_token().reason(), Some(LossReason::Expired));
}

#[test]
fn a_provider_hears_of_its_clock_also_when_another_is_gone() {
    let (one, clock) = on_clock();
    let two = InMemoryLockProvider::builder().clock(&clock).build();
    let options = AcquireOptions::new().with_ttl(SECOND).with_renewal(Renewal::Off);
    let hold = |provider: &InMemoryLockProvider| {
        block_on(provider.create_lock("a").acquire_with(options.clone())).unwrap()
    };
    let handles = [hold(&one), hold(&two)];
    clock.advance(SECOND);
    assert!(handles.iter().all(|handle| handle.lost_token().is_lost()));
    drop((one, handles));
    let handle = hold(&two);
    clock.advance(SECOND);
    assert!(handle.lost_token().is_lost(), "one of them is gone");
}

#[test]
fn a_delayed_request_is_carried_out_exactly_when_its_time_has_come() {
    let (provider, clock) = on_clock();
    provider.delay_requests(2 * SECOND);
    let lock = provider.create_lock("a");
    let waiting = Wakes::default();
    let mut acquiring = Box::pin(lock.acquire(None));
    assert!(waiting.poll(&mut acquiring).is_pending());
    clock.advance(2 * SECOND - MILLISECOND);
    assert!(waiting.poll(&mut acquiring).is_pending() && waiting.count() == 0);
    clock.advance(MILLISECOND);
    assert_eq!(waiting.count(), 1);
    let Poll::Ready(Ok(handle)) = waiting.poll(&mut acquiring) else { panic!("it is granted") };

    let mut releasing = Box::pin(handle.release());
    assert!(waiting.poll(&mut releasing).is_pending());
    clock.advance(2 * SECOND - MILLISECOND);
    assert!(waiting.poll(&mut releasing).is_pending() && waiting.count() == 1);
    clock.advance(MILLISECOND);
    assert!(matches!(waiting.poll(&mut releasing), Poll::Ready(Ok(()))));
}

#[test]
fn a_grant_that_comes_after_the_time_out_is_given_back() {
    let (provider, clock) = on_clock();
    provider.delay_requests(2 * SECOND);
    let lock = provider.create_lock("a");
    let waiting = Wakes::default();
    let mut acquiring = Box::pin(lock.acquire(Some(SECOND)));
    assert!(waiting.poll(&mut acquiring).is_pending());
    clock.advance(SECOND);
    let Poll::Ready(Err(error)) = waiting.poll(&mut acquiring) else { panic!("time is up") };
    assert!(error.is_timeout());
    for _ in 0..10 {
        clock.advance(SECOND);
    }
    provider.delay_requests(Duration::ZERO);
    assert!(block_on(lock.try_acquire()).unwrap().is_some());
}

#[test]
fn a_time_out_happens_exactly_when_its_time_has_come() {
    let (provider, clock) = on_clock();
    let lock = provider.create_lock("a");
    let holder = block_on(lock.acquire(None)).unwrap();
    let waiting = Wakes::default();
    let mut acquiring = Box::pin(lock.acquire(Some(5 * SECOND)));
    assert!(waiting.poll(&mut acquiring).is_pending());
    clock.advance(5 * SECOND - MILLISECOND);
    assert!(waiting.poll(&mut acquiring).is_pending() && waiting.count() == 0);
    clock.advance(MILLISECOND);
    assert_eq!(waiting.count(), 1);
    let outcome = waiting.poll(&mut acquiring);
    assert!(matches!(outcome, Poll::Ready(Err(LockError::Timeout(after))) if after == 5 * SECOND));
    assert!(holder.is_valid());
}

#[test]
fn a_lease_that_ends_lets_in_who_waits_at_that_moment() {
    let (provider, clock) = on_clock();
    let lock = provider.create_lock("a");
    let options = AcquireOptions::new().with_ttl(SECOND).with_renewal(Renewal::Off);
    let holder = block_on(lock.acquire_with(options.clone())).unwrap();
    let waiting = Wakes::default();
    let mut acquiring = Box::pin(lock.acquire_with(options));
    assert!(waiting.poll(&mut acquiring).is_pending());
    clock.advance(SECOND - MILLISECOND);
    assert!(waiting.poll(&mut acquiring).is_pending());
    clock.advance(MILLISECOND);
    let Poll::Ready(Ok(next)) = waiting.poll(&mut acquiring) else { panic!("it is granted") };
    assert!(holder.lost_token().is_lost());
    assert_eq!(next.remaining(), Some(SECOND), "its lease runs from its grant");
    assert!(next.fence() > holder.fence());
}

#[test]
fn who_is_woken_by_the_clock_may_move_it() {
    let (provider, clock) = on_clock();
    let lock = provider.create_lock("a");
    let options = AcquireOptions::new().with_ttl(SECOND).with_renewal(Renewal::Off);
    let first = block_on(lock.acquire_with(options.clone())).unwrap();
    let other = block_on(provider.create_lock("b").acquire_with(options.with_ttl(2 * SECOND)));
    let other = other.unwrap();
    let mover = Waker::from(Arc::new(Mover { clock: clock.clone(), moves: AtomicUsize::new(0) }));
    let mut lost = first.lost_token().changed();
    assert!(poll_with(&mover, &mut lost).is_pending());
    let mut acquiring = Box::pin(lock.acquire(Some(3 * SECOND)));
    assert!(poll_with(&mover, &mut acquiring).is_pending());

    let (done, finished) = std::sync::mpsc::channel();
    thread::spawn(move || {
        clock.advance(SECOND);
        done.send(())
    });
    finished.recv_timeout(BOUND).expect("moving a clock from a waker does not hang");
    assert_eq!(poll_with(&mover, &mut lost), Poll::Ready(LossReason::Expired));
    assert!(poll_with(&mover, &mut acquiring).is_ready());
    assert!(other.lost_token().is_lost(), "the waker moved the clock by a second more");
}

fn on_clock() -> (InMemoryLockProvider, ManualClock) {
    let clock = ManualClock::new();
    (InMemoryLockProvider::builder().clock(&clock).build(), clock)
}

fn poll_with<F: Future + Unpin>(waker: &Waker, future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A waker that counts.
#[derive(Default)]
struct Wakes(Arc<Count>);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        poll_with(&Waker::from(Arc::clone(&self.0)), future)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker that moves the clock, the first time.
struct Mover {
    clock: ManualClock,
    moves: AtomicUsize,
}

impl Wake for Mover {
    fn wake(self: Arc<Self>) {
        if self.moves.fetch_add(1, Ordering::SeqCst) == 0 {
            self.clock.advance(SECOND);
        }
    }
}
