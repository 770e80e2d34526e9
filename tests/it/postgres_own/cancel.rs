//! Futures that are dropped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::{Pin, pin};
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use lock_blocking::LockProvider as _;
use lock_proto::LockError;
use lock_tests::postgres::PostgresServer;
use lock_tests::redis::eventually;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::lender::{Futures, Lender as _, NoTokio, Runs, rows};
use super::{LONG, ORDERS, orders_lock, provider};

const ROUNDS: u64 = 150;

macro_rules! on_both_runtimes {
    ($($test:ident),* $(,)?) => {
        mod on_tokio {
            $(#[test] fn $test() { super::$test::<super::Runtime>(); })*
        }
        mod on_async_std {
            $(#[test] fn $test() { super::$test::<super::NoTokio>(); })*
        }
    };
}

on_both_runtimes!(
    a_transaction_goes_on_as_if_a_dropped_wait_had_not_been,
    a_session_has_nothing_of_a_wait_that_was_dropped,
    what_is_dropped_at_once_leaves_nothing,
    a_dropped_release_is_one_all_the_same,
    time_outs_and_drops_at_the_moment_of_the_grant_leave_no_lock_on_a_session,
    time_outs_and_drops_at_the_moment_of_the_grant_leave_no_lock_in_a_transaction,
);

fn a_transaction_goes_on_as_if_a_dropped_wait_had_not_been<R: Runs>() {
    let server = PostgresServer::start();
    let provider = provider(&server);
    let Futures { runtime, mut client } = Futures::<R>::connect(&server.url());
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    runtime.run(async {
        client.batch_execute("create table work (id int); set lock_timeout = '3s'").await.unwrap();
        let mut transaction = client.transaction().await.unwrap();
        transaction.batch_execute("insert into work values (1)").await.unwrap();
        let lock = orders_lock().on_futures();
        dropped_while_waiting(&server, pin!(lock.acquire_in(&mut transaction, None))).await;
        held.release().unwrap();
        // This stands behind the wait.
        transaction.batch_execute("insert into work values (2)").await.unwrap();
        assert_eq!(ask(transaction.client(), "show lock_timeout").await, "3s");
        assert_eq!(ask(transaction.client(), "show statement_timeout").await, "0");
        assert!(server.advisory_locks().is_empty());
        let gone = transaction.batch_execute("release savepoint dlock_acquire").await.unwrap_err();
        assert_eq!(gone.code().map(|state| state.code()), Some("3B001"));
    });
}

fn a_session_has_nothing_of_a_wait_that_was_dropped<R: Runs>() {
    let server = PostgresServer::start();
    let provider = provider(&server);
    let Futures { runtime, client } = Futures::<R>::connect(&server.url());
    let lock = orders_lock().on_futures();
    for inside in [false, true] {
        let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
        runtime.run(async {
            client.batch_execute(if inside { "begin" } else { "" }).await.unwrap();
            dropped_while_waiting(&server, pin!(lock.acquire_on(&client, None))).await;
            held.release().unwrap();
            assert_eq!(ask(&client, "show lock_timeout").await, "0");
            assert!(server.advisory_locks().is_empty());
            client.batch_execute(if inside { "commit" } else { "" }).await.unwrap();
            lock.acquire_on(&client, LONG).await.unwrap();
            lock.release_on(&client).await.unwrap();
        });
    }
}

fn what_is_dropped_at_once_leaves_nothing<R: Runs>() {
    let server = PostgresServer::start();
    let Futures { runtime, mut client } = Futures::<R>::connect(&server.url());
    let lock = orders_lock().on_futures();
    runtime.run(async {
        for timeout in [Some(Duration::ZERO), LONG, None] {
            drop(movable(lock.acquire_on(&client, timeout)));
            let polled = poll_once(lock.acquire_on(&client, timeout)).await;
            if check_dropped(&client, polled).await {
                lock.release_on(&client).await.unwrap();
            }
            let mut transaction = client.transaction().await.unwrap();
            drop(movable(lock.acquire_in(&mut transaction, timeout)));
            let polled = poll_once(lock.acquire_in(&mut transaction, timeout)).await;
            check_dropped(transaction.client(), polled).await;
            transaction.commit().await.unwrap();
            assert!(server.advisory_locks().is_empty());
        }
    });
}

fn a_dropped_release_is_one_all_the_same<R: Runs>() {
    let server = PostgresServer::start();
    let Futures { runtime, client } = Futures::<R>::connect(&server.url());
    let lock = orders_lock().on_futures();
    runtime.run(async {
        lock.acquire_on(&client, None).await.unwrap();
        let _ = poll_once(movable(lock.release_on(&client))).await;
        assert_eq!(held_by(&client).await, 0);
    });
}

#[test]
fn a_wait_that_was_dropped_is_ended_by_the_cancel_token() {
    let server = PostgresServer::start();
    let provider = provider(&server);
    let Futures { runtime, mut client } = Futures::<Runtime>::connect(&server.url());
    let held = provider.create_lock(ORDERS).acquire(LONG).unwrap();
    runtime.block_on(async {
        let lock = orders_lock().on_futures();
        let cancel = client.cancel_token();
        let mut transaction = client.transaction().await.unwrap();
        dropped_while_waiting(&server, pin!(lock.acquire_in(&mut transaction, None))).await;
        cancel.cancel_query(NoTls).await.unwrap();
        assert_eq!(held_by(transaction.client()).await, 0);
        assert!(!lock.try_acquire_in(&mut transaction).await.unwrap());
        transaction.commit().await.unwrap();
    });
    held.release().unwrap();
}

fn time_outs_and_drops_at_the_moment_of_the_grant_leave_no_lock_on_a_session<R: Runs>() {
    let server = PostgresServer::start();
    let Futures { runtime, client } = Futures::<R>::connect(&server.url());
    let lock = orders_lock().on_futures();
    contended(&server, || {
        let mut dice = Dice(7);
        for _ in 0..ROUNDS {
            runtime.run(async {
                let result = hurried(&mut dice, |limit| lock.acquire_on(&client, limit)).await;
                let expected = u64::from(matches!(result, Some(Ok(()))));
                check_fair(&result);
                assert_eq!(held_by(&client).await, expected, "{result:?}");
                if expected == 1 {
                    lock.release_on(&client).await.unwrap();
                }
                assert_eq!(held_by(&client).await, 0);
                assert_eq!(ask(&client, "show lock_timeout").await, "0");
            });
        }
    });
}

fn time_outs_and_drops_at_the_moment_of_the_grant_leave_no_lock_in_a_transaction<R: Runs>() {
    let server = PostgresServer::start();
    let Futures { runtime, mut client } = Futures::<R>::connect(&server.url());
    let lock = orders_lock().on_futures();
    contended(&server, || {
        let mut dice = Dice(11);
        for _ in 0..ROUNDS {
            runtime.run(async {
                let mut transaction = client.transaction().await.unwrap();
                let result =
                    hurried(&mut dice, |limit| lock.acquire_in(&mut transaction, limit)).await;
                let expected = u64::from(matches!(result, Some(Ok(()))));
                check_fair(&result);
                assert_eq!(held_by(transaction.client()).await, expected, "{result:?}");
                assert_eq!(ask(transaction.client(), "show lock_timeout").await, "0");
                transaction.commit().await.unwrap();
                assert_eq!(held_by(&client).await, 0);
            });
        }
    });
}

type Outcome = Option<Result<(), LockError>>;

/// Polls an acquisition until the server has it wait. Its owner then drops it.
async fn dropped_while_waiting(
    server: &PostgresServer,
    mut waiting: Pin<&mut impl Future<Output = Result<(), LockError>>>,
) {
    // The first answer, and the question that waits.
    while !server.advisory_locks().iter().any(|lock| !lock.granted) {
        assert!(poll_once(waiting.as_mut()).await.is_none());
        thread::sleep(Duration::from_millis(1));
    }
}

/// What was granted within the one poll is held, and of anything else there is nothing. A poll that
/// is interrupted for long enough finds every answer there.
async fn check_dropped(client: &Client, polled: Outcome) -> bool {
    check_fair(&polled);
    let held = matches!(polled, Some(Ok(())));
    assert_eq!(held_by(client).await, u64::from(held));
    held
}

fn check_fair(result: &Outcome) {
    if let Some(Err(error)) = result {
        assert!(error.is_timeout(), "{error:?}");
    }
}

/// Waits for a moment, and drops what is not ready then.
async fn hurried<F: Future<Output = Result<(), LockError>>>(
    dice: &mut Dice,
    acquire: impl FnOnce(Option<Duration>) -> F,
) -> Outcome {
    let limit = Duration::from_micros(dice.up_to(4_000));
    if dice.up_to(2) == 0 {
        return Some(acquire(Some(limit)).await);
    }
    let mut acquisition = pin!(acquire(None));
    let end = std::time::Instant::now() + limit;
    loop {
        let polled = poll_once(acquisition.as_mut()).await;
        if polled.is_some() || std::time::Instant::now() >= end {
            return polled;
        }
        thread::sleep(Duration::from_micros(dice.up_to(500)));
    }
}

/// Does something while somebody else takes and frees the lock all the time.
fn contended(server: &PostgresServer, work: impl FnOnce()) {
    let orders = provider(server).create_lock(ORDERS);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut dice = Dice(3);
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let handle = orders.acquire(LONG).unwrap();
                thread::sleep(Duration::from_micros(dice.up_to(3_000)));
                handle.release().unwrap();
                thread::sleep(Duration::from_micros(dice.up_to(500)));
            }
        });
        work();
        drop(stop);
    });
    eventually("a free lock", || server.advisory_locks().is_empty().then_some(()));
}

async fn ask(client: &Client, sql: &str) -> String {
    rows(client.simple_query(sql).await.unwrap()).remove(0).remove(0)
}

/// How many locks the session has.
async fn held_by(client: &Client) -> u64 {
    const HELD: &str = "select count(*) from pg_locks \
                        where locktype = 'advisory' and pid = pg_backend_pid()";
    ask(client, HELD).await.parse().unwrap()
}

/// A future that may be moved to another thread.
fn movable<F: Future + Send>(future: F) -> F {
    future
}

/// Numbers without a pattern.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
