//! A transport that answers while it is still being handed what to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_engine::redis::{Inbox, Parcel, Redis, Session, Transport, seed};
use lock_engine::{Clock, Target};
use lock_proto::file::Identity;
use lock_proto::redis::RedisOptions;
use lock_proto::{AcquireOptions, Demand};
use redis::Value;

const LEASE: Duration = Duration::from_millis(100);

/// Says yes to all that it is asked, and to a first question too late.
struct Hesitant {
    asked: Arc<AtomicUsize>,
    session: Session,
}

impl Transport for Hesitant {
    fn servers(&self) -> usize {
        1
    }

    fn send(&self, parcel: Parcel) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let words = parcel.pack(&self.session).get_packed_pipeline();
        let is_first = words.windows(3).any(|word| word == b"SET");
        let over = Clock::System.now() + LEASE;
        while is_first && Clock::System.now() < over {
            std::hint::spin_loop();
        }
        let yes = if is_first { Value::Okay } else { Value::Int(1) };
        assert!(parcel.replied(&self.session, Ok(vec![yes])).is_none());
    }

    fn close(&self) {}
}

#[test]
fn a_lease_that_ran_out_before_an_early_answer_is_no_lock() {
    let asked = Arc::new(AtomicUsize::new(0));
    let transport = Hesitant { asked: Arc::clone(&asked), session: Session::new() };
    let seed = seed().unwrap();
    let options = RedisOptions::new(Identity::new("here", 1)).with_fencing(false);
    let locks = Redis::new(transport, &Inbox::new(&seed), options, "").unwrap();
    let lease = AcquireOptions::new().with_ttl(LEASE);
    let cx = Context::from_waker(Waker::noop());
    // A look of the background thread, about one a second, would tell the lock the time as well.
    for _ in 0..5 {
        asked.store(0, Ordering::Relaxed);
        let lock = Target::named(&locks.client(), "orders");
        let outcome = lock.acquire(Demand::Exclusive, &lease).poll(&cx);
        let Poll::Ready(Ok((held, _))) = outcome else { panic!("{outcome:?}") };
        assert!(asked.load(Ordering::Relaxed) > 1, "it has to be asked for again");
        drop(held);
    }
}
