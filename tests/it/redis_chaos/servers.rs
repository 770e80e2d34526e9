//! A server that is killed, stopped, cut off and started again.

use std::future::Future;
use std::time::{Duration, Instant};

use lock_tests::redis::{Mode, Proxy, Server, ServerOptions};
use lock_tokio::prelude::*;
use lock_tokio::{LossReason, LostToken};
use tokio::time::timeout;

use super::{LONG, SLACK, expiring, keys_left, provider, until, until_waiting};

const MULTI: Duration = Duration::from_secs(60);

/// A server, and a network before it, that can be made to fail.
struct Place {
    server: Server,
    proxy: Proxy,
}

impl Place {
    fn new() -> Self {
        let server = ServerOptions::new().with_append_only().start();
        let proxy = Proxy::to(&server);
        Self { server, proxy }
    }

    async fn provider(&self, expiry: Duration) -> RedisLockProvider {
        let builder = RedisLockProvider::builder().url(self.proxy.url()).expiry(expiry);
        let builder = builder.connect_timeout(Duration::from_millis(500));
        builder.response_timeout(Duration::from_millis(500)).build().await.unwrap()
    }

    fn fail(&self, failure: Failure) {
        match failure {
            Failure::Killed => self.server.kill(),
            Failure::Paused => self.server.pause(),
            Failure::CutOff => {
                self.proxy.set(Mode::Refuse);
                self.proxy.cut();
            }
            Failure::Silent => self.proxy.set(Mode::BlackHole),
            Failure::Deaf => self.proxy.set(Mode::LoseAnswers),
        }
    }

    fn mend(&self, failure: Failure) {
        match failure {
            Failure::Killed => self.server.restart(),
            Failure::Paused => self.server.resume(),
            Failure::CutOff | Failure::Silent | Failure::Deaf => self.proxy.set(Mode::Pass),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    Killed,
    Paused,
    CutOff,
    Silent,
    Deaf,
}

const FAILURES: [Failure; 5] =
    [Failure::Killed, Failure::Paused, Failure::CutOff, Failure::Silent, Failure::Deaf];

/// Checks each failure at a place of its own, all at once.
async fn check_each<F: Future<Output = ()> + Send + 'static>(check: impl Fn(Place, Failure) -> F) {
    let checks = FAILURES.map(|failure| (failure, tokio::spawn(check(Place::new(), failure))));
    for (failure, check) in checks {
        let ended = timeout(MULTI, check).await;
        assert!(ended.unwrap_or_else(|_| panic!("{failure:?}: it hangs")).is_ok(), "{failure:?}");
    }
}

/// Waits for a loss that is due when what `remaining` was at `since` has passed.
async fn check_lost_in_time(lost: &LostToken, since: Instant, remaining: Duration) {
    let reason = timeout(remaining + SLACK, lost.changed()).await.expect("the loss is told");
    assert_eq!(reason, LossReason::Expired);
    assert!(since.elapsed() >= remaining, "{:?} of {remaining:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_learns_of_its_loss_at_the_deadline_and_the_provider_recovers() {
    check_each(|place, failure| async move {
        let ttl = Duration::from_secs(1);
        let provider = place.provider(ttl).await;
        let lock = provider.create_lock("orders");
        let held = lock.acquire(LONG).await.unwrap();
        place.fail(failure);
        let (failed, remaining) = (Instant::now(), held.remaining().unwrap());
        assert!(remaining <= ttl, "{remaining:?}");
        check_lost_in_time(&held.lost_token(), failed, remaining).await;
        assert!(!held.is_valid());
        assert_eq!(held.remaining(), Some(Duration::ZERO));
        assert!(held.extend(ttl).await.unwrap_err().is_lost());
        let fence = held.fence();
        drop(held);

        place.mend(failure);
        let back = Instant::now();
        let next = lock.acquire(LONG).await.unwrap();
        assert!(back.elapsed() < ttl + 2 * SLACK, "{failure:?}: {:?}", back.elapsed());
        assert!(next.fence() > fence);
        next.release().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_goes_on_if_the_server_is_back_in_time() {
    check_each(|place, failure| async move {
        let ttl = Duration::from_secs(5);
        let provider = place.provider(ttl).await;
        let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
        place.fail(failure);
        // A renewal is asked for when two thirds are left, and again and again.
        let asked = ttl / 2;
        until("less is left", || held.remaining().unwrap() < asked).await;
        assert!(held.is_valid());
        place.mend(failure);
        until("more is left", || held.remaining().unwrap() > asked).await;
        assert!(held.is_valid() && !held.lost_token().is_lost());
        held.release().await.unwrap();
        assert_eq!(keys_left(&place.server), [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquisition_ends_in_time_and_leaves_nobody_locked_out() {
    check_each(|place, failure| async move {
        let ttl = Duration::from_secs(3);
        let provider = place.provider(ttl).await;
        // What a connection has done before is no different from what it does first.
        provider.create_lock("before").acquire(LONG).await.unwrap().release().await.unwrap();
        place.fail(failure);
        let limits = [1, 200, 700, 1200].map(Duration::from_millis);
        let attempts = limits.map(|limit| {
            let lock = provider.create_lock(&format!("orders {limit:?}"));
            tokio::spawn(async move {
                let started = Instant::now();
                let outcome = lock.acquire(Some(limit)).await;
                (limit, outcome.map(drop), started.elapsed())
            })
        });
        let patient = provider.create_lock("patient");
        let patient = tokio::spawn(async move { patient.acquire(None).await });
        let single = provider.create_lock("single");
        let single = tokio::spawn(async move { single.try_acquire().await.map(drop) });
        for attempt in attempts {
            let (limit, outcome, taken) = attempt.await.unwrap();
            assert!(taken < limit + SLACK, "{failure:?}: {taken:?} of {limit:?}");
            match outcome {
                Err(LockError::Connection(_)) => assert!(taken >= limit, "{taken:?}"),
                Err(LockError::Timeout(_)) if limit < Duration::from_millis(500) => {}
                other => panic!("{failure:?}: {other:?} within {limit:?}"),
            }
        }
        // A try has no time-out but that of the connection.
        let single = timeout(SLACK, single).await.expect("a try ends").unwrap();
        assert!(matches!(single, Err(LockError::Connection(_))), "{failure:?}: {single:?}");

        place.mend(failure);
        let (back, other) = (Instant::now(), super::provider(&place.server).await);
        for name in limits.map(|limit| format!("orders {limit:?}")).iter().chain([&"single".into()])
        {
            other.create_lock(name).acquire(LONG).await.unwrap().release().await.unwrap();
        }
        assert!(back.elapsed() < ttl + SLACK, "{failure:?}: {:?}", back.elapsed());
        let held = timeout(MULTI, patient).await.expect("it gets in").unwrap().unwrap();
        assert!(held.is_valid());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_ends_in_time_whatever_the_server_does() {
    check_each(|place, failure| async move {
        let ttl = Duration::from_secs(1);
        let provider = place.provider(ttl).await;
        let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
        place.fail(failure);
        let (failed, remaining) = (Instant::now(), held.remaining().unwrap());
        let outcome = timeout(remaining + SLACK, held.extend(ttl)).await.expect("it ends");
        assert!(matches!(outcome, Err(LockError::LockLost(LossReason::Expired))), "{outcome:?}");
        assert!(failed.elapsed() >= remaining, "{:?} of {remaining:?}", failed.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_repeated_until_the_server_is_back() {
    check_each(|place, failure| async move {
        let provider = place.provider(Duration::from_secs(30)).await;
        let lock = provider.create_lock("orders");
        let held = lock.acquire(LONG).await.unwrap();
        place.fail(failure);
        let releasing = tokio::spawn(held.release());
        tokio::time::sleep(Duration::from_millis(300)).await;
        place.mend(failure);
        let back = Instant::now();
        let other = super::provider(&place.server).await;
        other.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
        assert!(back.elapsed() < 3 * SLACK, "{failure:?}: {:?}", back.elapsed());
        releasing.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_gives_up_on_a_server_that_stays_away() {
    check_each(|place, failure| async move {
        let provider = place.provider(Duration::from_secs(2)).await;
        let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
        place.fail(failure);
        let released = timeout(Duration::from_secs(5) + SLACK, held.release()).await;
        // The rest is left to the lease.
        released.expect("it ends").unwrap();
        timeout(Duration::from_secs(5) + SLACK, provider.close()).await.expect("it ends");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_keeps_its_place_through_every_failure() {
    check_each(|place, failure| async move {
        let (near, far) = (provider(&place.server).await, place.provider(Duration::from_secs(9)));
        let held = near.create_lock("orders").acquire(LONG).await.unwrap();
        let waiting = far.await.create_lock("orders");
        let waiting = tokio::spawn(async move { waiting.acquire(LONG).await });
        until_waiting(&place.server, "orders", 1).await;
        place.fail(failure);
        tokio::time::sleep(Duration::from_millis(200)).await;
        place.mend(failure);
        let fence = held.fence();
        held.release().await.unwrap();
        let next = waiting.await.unwrap().unwrap();
        assert!(next.is_valid() && next.fence() > fence);
        next.release().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_a_lock_to_a_server_without_memory_learns_of_it_in_time() {
    let server = Server::start();
    let ttl = Duration::from_secs(3);
    let holder = expiring(&server.url(), ttl).await;
    let held = holder.create_lock("orders").acquire(LONG).await.unwrap();
    let waiter = expiring(&server.url(), ttl).await.create_lock("orders");
    let waiting = tokio::spawn(async move { waiter.acquire(LONG).await });
    until_waiting(&server, "orders", 1).await;
    server.restart();
    let (back, remaining) = (Instant::now(), held.remaining().unwrap());
    // Its next renewal finds that nothing is held, or its waiter in its place.
    let reason = timeout(remaining + SLACK, held.lost_token().changed()).await.unwrap();
    assert_eq!(reason, LossReason::Revoked);
    let next = waiting.await.unwrap().unwrap();
    assert!(back.elapsed() < ttl + SLACK, "{:?}", back.elapsed());
    assert!(next.fence() > held.fence());
    assert!(matches!(held.release().await, Err(LockError::LockLost(LossReason::Revoked))));
    assert!(next.is_valid());
    next.extend(ttl).await.unwrap();
    next.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_and_goes_serves_everybody() {
    let server = Server::start();
    let provider = provider(&server).await;
    for round in 0..5 {
        let locks: Vec<_> =
            (0..4).map(|number| provider.create_lock(&format!("{round} {number}"))).collect();
        let attempts: Vec<_> = locks
            .into_iter()
            .map(|lock| {
                tokio::spawn(async move { lock.acquire(LONG).await.map(|held| held.fence()) })
            })
            .collect();
        server.restart();
        for attempt in attempts {
            assert!(attempt.await.unwrap().unwrap().is_some());
        }
    }
    provider.close().await;
    assert_eq!(keys_left(&server), [""; 0]);
}
