//! Sessions that end: the server's doing, or the network's.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use async_std::task;
use lock_tests::postgres::PostgresServer;
use lock_tests::redis::{Mode, Proxy};
use lock_tokio::LossReason;
use lock_tokio::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    LONG, SLACK, foreigner, give_back, holder, provider, tests, until, until_none_left,
    until_waiting, within,
};

/// A server, and a network before it, that can be made to fail.
struct Place {
    server: PostgresServer,
    proxy: Proxy,
}

/// What ends every session of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Terminated,
    ShutDown,
    ShutDownAtOnce,
    Killed,
    CutOff,
}

const ENDINGS: [Ending; 5] =
    [Ending::Terminated, Ending::ShutDown, Ending::ShutDownAtOnce, Ending::Killed, Ending::CutOff];

impl Place {
    fn new() -> Self {
        let server = PostgresServer::start();
        let proxy = server.proxy();
        Self { server, proxy }
    }

    async fn provider(&self) -> PostgresLockProvider {
        provider(&self.proxy.url()).await
    }

    fn fail(&self, ending: Ending) {
        match ending {
            Ending::Terminated => terminate_ours(&self.server),
            Ending::ShutDown => self.server.shut_down(),
            Ending::ShutDownAtOnce => {
                let pid = Pid::from_raw(self.server.pid().try_into().unwrap()).unwrap();
                kill_process(pid, Signal::QUIT).unwrap();
                lock_tests::redis::eventually("a server that is gone", || {
                    TcpStream::connect(self.server.address()).err()
                });
                self.server.kill();
            }
            Ending::Killed => self.server.kill(),
            Ending::CutOff => {
                self.proxy.set(Mode::Refuse);
                self.proxy.cut();
            }
        }
    }

    fn mend(&self, ending: Ending) {
        match ending {
            Ending::Terminated => {}
            Ending::ShutDown | Ending::ShutDownAtOnce | Ending::Killed => self.server.restart(),
            Ending::CutOff => self.proxy.set(Mode::Pass),
        }
    }
}

impl Ending {
    /// Whether the sessions of others end as well.
    fn is_everybodys(self) -> bool {
        match self {
            Self::ShutDown | Self::ShutDownAtOnce | Self::Killed => true,
            Self::Terminated | Self::CutOff => false,
        }
    }

    /// Whether nobody gets in before it is mended.
    fn lasts(self) -> bool {
        self != Self::Terminated
    }
}

fn terminate_ours(server: &PostgresServer) {
    for backend in server.backends() {
        if backend.application.starts_with("dlock") {
            server.terminate(backend.pid);
        }
    }
}

async fn a_holder_learns_of_the_end_of_its_session_at_once() {
    let place = Place::new();
    let provider = place.provider().await;
    let lock = provider.create_lock("orders");
    for ending in ENDINGS {
        let held = lock.acquire(LONG).await.unwrap();
        let (pid, lost) = (holder(&place.server, "orders"), held.lost_token());
        assert!(pid.is_some() && held.is_valid() && !lost.is_lost(), "{ending:?}");
        place.fail(ending);
        let reason = within("the loss", Duration::ZERO, lost.changed()).await;
        assert_eq!(reason, LossReason::Disconnected, "{ending:?}");
        assert!(!held.is_valid(), "{ending:?}");
        assert_eq!(held.remaining(), Some(Duration::ZERO), "{ending:?}");
        let error = held.extend(Duration::from_secs(1)).await.unwrap_err();
        assert!(error.is_lost(), "{ending:?}: {error:?}");
        let released = held.release().await;
        assert!(
            matches!(released, Err(LockError::LockLost(LossReason::Disconnected))),
            "{ending:?}: {released:?}"
        );
        place.mend(ending);
        let next = lock.acquire(LONG).await.unwrap();
        let now = holder(&place.server, "orders");
        assert!(now.is_some() && now != pid && next.is_valid(), "{ending:?}: {pid:?} {now:?}");
        next.release().await.unwrap();
        assert_eq!(holder(&place.server, "orders"), None, "{ending:?}");
    }
    until_none_left(&place.server).await;
}

async fn a_waiter_goes_on_when_the_server_is_back() {
    let place = Place::new();
    for ending in ENDINGS {
        let provider = place.provider().await;
        let other = foreigner(&place.server, "orders");
        let lock = provider.create_lock("orders");
        let waiting = task::spawn(async move { lock.acquire(LONG).await });
        until_waiting(&place.server, "orders", 1).await;
        let before = super::waiters(&place.server, "orders");
        place.fail(ending);
        task::sleep(Duration::from_millis(100)).await;
        place.mend(ending);
        if !ending.is_everybodys() {
            // The server may not have noticed yet that the first of them is gone.
            until("it waits again", || {
                let now = super::waiters(&place.server, "orders");
                now.iter().any(|pid| !before.contains(pid))
            })
            .await;
            give_back(&other, "orders");
        }
        let mut held = within("the lock", LONG.unwrap(), waiting).await.unwrap();
        if ending.is_everybodys() && holder(&place.server, "orders").is_none() {
            // The other session was ended first, and this one had the lock for a moment.
            within("the loss", Duration::ZERO, held.lost_token().changed()).await;
            held = provider.create_lock("orders").acquire(LONG).await.unwrap();
        }
        assert!(held.is_valid() && !held.lost_token().is_lost(), "{ending:?}");
        assert!(holder(&place.server, "orders").is_some(), "{ending:?}");
        held.release().await.unwrap();
        until_none_left(&place.server).await;
    }
}

async fn a_waiter_ends_in_time_with_an_error_if_the_server_stays_away() {
    let place = Place::new();
    let limits = [200, 600, 1000].map(Duration::from_millis);
    let names = limits.map(|limit| format!("within {limit:?}"));
    for ending in ENDINGS {
        let provider = place.provider().await;
        let others = names.each_ref().map(|name| foreigner(&place.server, name));
        let attempts = [0, 1, 2].map(|number| {
            let (lock, limit) = (provider.create_lock(&names[number]), limits[number]);
            task::spawn(async move {
                let started = Instant::now();
                let outcome = lock.acquire(Some(limit)).await;
                (limit, outcome.map(drop), started.elapsed(), Instant::now())
            })
        });
        until_waiting(&place.server, &names[2], 1).await;
        place.fail(ending);
        let failed = Instant::now();
        for attempt in attempts {
            let (limit, outcome, taken, ended) = attempt.await;
            assert!(taken < limit + SLACK, "{ending:?}: {taken:?} of {limit:?}");
            // It had the lock for a moment if the other session was ended first.
            if outcome.is_ok() && ending.is_everybodys() {
                continue;
            }
            assert!(taken >= limit, "{ending:?}: {taken:?} of {limit:?}");
            match outcome {
                Err(LockError::Connection(_)) if ending.lasts() => {}
                Err(LockError::Timeout(_)) if !ending.lasts() || ended < failed + SLACK / 4 => {}
                other => panic!("{ending:?}: {other:?} within {limit:?}"),
            }
        }
        // A try does not wait for the server to come back.
        let tried = within("a try", SLACK, provider.create_lock("others").try_acquire()).await;
        match tried {
            Err(LockError::Connection(_)) if ending.lasts() => {}
            Ok(Some(held)) if !ending.lasts() => held.release().await.unwrap(),
            other => panic!("{ending:?}: {other:?}"),
        }
        place.mend(ending);
        drop(others);
        for name in &names {
            let held = provider.create_lock(name).acquire(LONG).await.unwrap();
            held.release().await.unwrap();
        }
        until_none_left(&place.server).await;
    }
}

async fn a_release_that_nobody_confirmed_is_no_success() {
    let place = Place::new();
    for ending in ENDINGS {
        let provider = place.provider().await;
        let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
        let permit = provider.create_semaphore("permits", 2).acquire(LONG).await.unwrap();
        // The releases will not arrive.
        place.proxy.set(Mode::BlackHole);
        let releasing = [held, permit].map(|held| task::spawn(held.release()));
        task::sleep(Duration::from_millis(50)).await;
        place.fail(ending);
        if ending == Ending::Terminated {
            place.proxy.cut();
        }
        for releasing in releasing {
            let released = within("the release", Duration::ZERO, releasing).await;
            assert!(
                matches!(released, Err(LockError::LockLost(LossReason::Disconnected))),
                "{ending:?}: {released:?}"
            );
        }
        place.mend(ending);
        place.proxy.set(Mode::Pass);
        provider.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
    }
}

async fn a_broken_session_takes_its_own_locks_down_and_no_others() {
    let place = Place::new();
    let provider = place.provider().await;
    let names = ["one", "two", "three"];
    let mut shared = Vec::new();
    for name in names {
        shared.push(provider.create_lock(name).acquire(LONG).await.unwrap());
    }
    let pid = holder(&place.server, "one").unwrap();
    assert!(names.iter().all(|name| holder(&place.server, name) == Some(pid)));
    // Who had to wait has a session of its own.
    let other = foreigner(&place.server, "four");
    let lock = provider.create_lock("four");
    let waiting = task::spawn(async move { lock.acquire(LONG).await });
    until_waiting(&place.server, "four", 1).await;
    give_back(&other, "four");
    let alone = waiting.await.unwrap();
    assert_ne!(holder(&place.server, "four"), Some(pid));

    place.server.terminate(pid);
    for held in &shared {
        let reason = within("the loss", Duration::ZERO, held.lost_token().changed()).await;
        assert_eq!(reason, LossReason::Disconnected);
    }
    assert!(alone.is_valid() && !alone.lost_token().is_lost());
    alone.release().await.unwrap();
    for name in names {
        let next = provider.create_lock(name).try_acquire().await.unwrap().expect("it is free");
        assert!(next.is_valid());
    }
    until_none_left(&place.server).await;
}

/// That a shared session ended is the business of those whose locks stood on it alone.
async fn whoever_locks_next_never_hears_of_a_session_that_broke() {
    let place = Place::new();
    let provider = place.provider().await;
    for round in 0..30 {
        let held = provider.create_lock("held").acquire(LONG).await.unwrap();
        place.server.psql(&format!(
            "SELECT pg_terminate_backend({})",
            holder(&place.server, "held").unwrap()
        ));
        let (free, name) = (provider.create_lock("free"), format!("free {round}"));
        let tried = free.try_acquire().await;
        assert!(matches!(tried, Ok(Some(_))), "round {round}: {tried:?}");
        let waited = provider.create_lock(&name).acquire(LONG).await;
        assert!(waited.is_ok(), "round {round}: {waited:?}");
        let readers = provider.create_reader_writer_lock("readers");
        let read = readers.try_acquire_read().await;
        assert!(matches!(read, Ok(Some(_))), "round {round}: {read:?}");
        let permit = provider.create_semaphore("permits", 3).try_acquire().await;
        assert!(matches!(permit, Ok(Some(_))), "round {round}: {permit:?}");
        within("the loss", Duration::ZERO, held.lost_token().changed()).await;
    }
    until_none_left(&place.server).await;
}

tests!(
    tokio:
        a_broken_session_takes_its_own_locks_down_and_no_others,
        a_holder_learns_of_the_end_of_its_session_at_once,
        a_release_that_nobody_confirmed_is_no_success,
        a_waiter_ends_in_time_with_an_error_if_the_server_stays_away,
        a_waiter_goes_on_when_the_server_is_back,
        whoever_locks_next_never_hears_of_a_session_that_broke;
    async_std:
        a_holder_learns_of_the_end_of_its_session_at_once,
        a_waiter_goes_on_when_the_server_is_back,
        whoever_locks_next_never_hears_of_a_session_that_broke,
);

#[test]
fn a_runtime_that_ends_takes_its_sessions_along_and_whoever_asks_then_is_told() {
    let server = PostgresServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider = runtime.block_on(PostgresLockProvider::new(&server.url())).unwrap();
    let lock = provider.create_lock("orders");
    let held = runtime.block_on(lock.acquire(None)).unwrap();
    drop(runtime);
    let another = tokio::runtime::Runtime::new().unwrap();
    another.block_on(async {
        assert_eq!(held.lost_token().changed().await, LossReason::Disconnected);
        assert!(held.release().await.unwrap_err().is_lost());
        for _ in 0..40 {
            let tried = lock.try_acquire().await.map(drop);
            assert!(matches!(tried, Err(LockError::Connection(_))), "{tried:?}");
        }
        let waited = lock.acquire(Some(Duration::from_millis(100))).await.map(drop);
        assert!(matches!(waited, Err(LockError::Connection(_))), "{waited:?}");
    });
}
