//! Wrong servers, wrong credentials, wrong options, and servers that refuse: each is an error of its
//! own, in time, and leaves nothing locked.

use std::future::Future;
use std::time::{Duration, Instant};

use lock_tests::postgres::{PostgresOptions, PostgresServer, USER};
use lock_tests::redis::{Mode, eventually};
use lock_tokio::PostgresLockProviderBuilder;
use lock_tokio::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use crate::postgres_chaos::{
    LONG, SLACK, foreigner, give_back, until_none_left, until_waiting, waiters,
};

/// How long connecting to whoever says nothing may take.
const LIMIT: Duration = Duration::from_millis(500);
/// Long enough for an answer on a busy machine.
const PATIENT: Duration = Duration::from_secs(2);
/// What ends for a reason of its own ends before.
const BOUND: Duration = Duration::from_secs(10);

fn builder(url: &str) -> PostgresLockProviderBuilder {
    PostgresLockProvider::builder().url(url).connect_timeout(BOUND)
}

/// A provider that waits for nobody for long.
fn hasty(url: &str) -> PostgresLockProviderBuilder {
    builder(url).connect_timeout(LIMIT)
}

/// The error of what must end in time, whose text has `words` in it, and no password.
async fn refusal<T>(
    words: &[&str],
    outcome: impl Future<Output = Result<T, LockError>>,
) -> LockError {
    let started = Instant::now();
    let Err(error) = outcome.await else { panic!("it is no error: {words:?}") };
    assert!(started.elapsed() < BOUND, "{:?}: {error}", started.elapsed());
    let said = text(&error);
    for word in words {
        assert!(said.contains(word), "{said:?} says nothing of {word:?}");
    }
    error
}

/// The error and its causes, and all that is shown of them.
fn text(error: &LockError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    let shown = format!("{error:?} {error:#?} {said}");
    assert!(!shown.contains("secret"), "{shown}");
    said
}

async fn check_connection<T>(words: &[&str], outcome: impl Future<Output = Result<T, LockError>>) {
    let error = refusal(words, outcome).await;
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
}

async fn check_backend<T>(words: &[&str], outcome: impl Future<Output = Result<T, LockError>>) {
    let error = refusal(words, outcome).await;
    assert!(matches!(error, LockError::Backend(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_not_there_or_say_nothing_are_named() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let url = |address: &str| format!("postgres://locks:secret@{address}/locks");
    check_connection(&["127.0.0.1:1", "listens"], builder(&url("127.0.0.1:1")).build()).await;
    check_connection(&["nowhere.invalid"], builder(&url("nowhere.invalid:5432")).build()).await;
    check_connection(&["no such socket"], builder("postgres:///a?host=/nowhere").build()).await;
    for mode in [Mode::BlackHole, Mode::LoseAnswers] {
        proxy.set(mode);
        let started = Instant::now();
        check_connection(&["nothing answers"], hasty(&url(&proxy.address())).build()).await;
        assert!(started.elapsed() < LIMIT + SLACK, "{:?}", started.elapsed());
    }
    for mode in [Mode::Garbage, Mode::Refuse] {
        proxy.set(mode);
        check_connection(&[&proxy.address()], hasty(&url(&proxy.address())).build()).await;
    }
    proxy.set(Mode::Pass);
    builder(&url(&proxy.address())).build().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_refused_and_never_repeated() {
    let server = PostgresOptions::new().with_role("alice", "right-secret").start();
    let place =
        |login: &str, database: &str| format!("postgres://{login}@{}/{database}", server.address());
    check_connection(&["user and password"], builder(&place("alice:wrong-secret", USER)).build())
        .await;
    check_connection(&["password"], builder(&place("alice", USER)).build()).await;
    check_connection(&["pg_hba.conf"], builder(&place("bob:wrong-secret", USER)).build()).await;
    let nowhere = builder(&place("alice:right-secret", "nowhere")).build();
    check_connection(&["no such database", "nowhere"], nowhere).await;
    let provider = builder(&place("alice:right-secret", USER)).build().await.unwrap();
    let lock = provider.create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let shown = format!("{provider:?} {lock:?} {:?}", builder(&place("alice:secret", USER)));
    assert!(!shown.contains("secret"), "{shown}");

    // What was right may be wrong later.
    server.psql("ALTER ROLE alice PASSWORD 'another'");
    let backends = server.backends();
    backends.iter().for_each(|backend| server.terminate(backend.pid));
    let error = refusal(&["user and password"], lock.acquire(Some(PATIENT))).await;
    assert!(matches!(error, LockError::Connection(_) | LockError::Backend(_)), "{error:?}");
    server.psql("ALTER ROLE alice PASSWORD 'right-secret'");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_shuts_down_takes_nobody_in_and_keeps_who_is_there() {
    let server = PostgresServer::start();
    let provider = builder(&server.url()).build().await.unwrap();
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    let pid = Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    eventually("a server that shuts down", || {
        server.log().contains("received smart shutdown request").then_some(())
    });
    check_connection(&["shuts down"], builder(&server.url()).build()).await;
    assert!(held.is_valid());
    provider.create_lock("others").acquire(LONG).await.unwrap().release().await.unwrap();
    // Where it must wait, it would need another session.
    let lock = provider.create_lock("orders");
    let error = refusal(&[], lock.acquire(Some(PATIENT))).await;
    assert!(matches!(error, LockError::Connection(_) | LockError::Timeout(_)), "{error:?}");
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_connection_left_says_so_and_lets_us_in_later() {
    let server = PostgresOptions::new().with_max_connections(2).start();
    let first = foreigner(&server, "orders");
    let provider = builder(&server.url()).build().await.unwrap();
    check_connection(&["max_connections"], builder(&server.url()).build()).await;
    provider.create_lock("others").acquire(LONG).await.unwrap().release().await.unwrap();
    let (lock, again) = (provider.create_lock("orders"), provider.create_lock("orders"));
    assert!(lock.try_acquire().await.unwrap().is_none());
    let waiting = tokio::spawn(async move { again.acquire(LONG).await });
    until_waiting(&server, "orders", 1).await;
    // The only session waits, so that there is none for anything else.
    check_connection(&["max_connections"], provider.create_lock("others").acquire(Some(PATIENT)))
        .await;
    first.close();
    waiting.await.unwrap().unwrap().release().await.unwrap();
    provider.create_lock("others").acquire(LONG).await.unwrap().release().await.unwrap();
    until_none_left(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_unless_it_was_asked_for() {
    let primary = PostgresServer::start();
    let standby = PostgresOptions::new().with_primary(&primary).start();
    let url = standby.url();
    check_connection(&["standby", "primary"], builder(&url).build()).await;
    let both = format!("postgres://{USER}@{},{}/{USER}", standby.address(), primary.address());
    let provider = builder(&both).build().await.unwrap();
    provider.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
    assert_eq!((standby.backends().len(), primary.backends().len()), (0, 1));

    let asked = format!("{url}?target_session_attrs=standby");
    let provider = builder(&asked).build().await.unwrap();
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    assert_eq!(standby.advisory_locks().len(), 1);
    held.release().await.unwrap();
    // What would have to write, can't.
    let fenced = builder(&asked).fencing(true).build().await.unwrap();
    check_backend(&["recovery"], fenced.create_lock("orders").acquire(LONG)).await;
    check_backend(&["recovery"], fenced.create_lock("orders").try_acquire()).await;
    until_none_left(&standby).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_only_read_lock_and_mint_all_the_same() {
    let server = PostgresOptions::new().with_line("default_transaction_read_only = on").start();
    let provider = builder(&server.url()).fencing(true).build().await.unwrap();
    let lock = provider.create_lock("orders");
    let mut fences = Vec::new();
    for _ in 0..2 {
        let held = lock.acquire(LONG).await.unwrap();
        fences.push(held.fence().unwrap());
        held.release().await.unwrap();
    }
    assert!(fences.is_sorted() && fences[0] != fences[1], "{fences:?}");
    until_none_left(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_rights_is_told_what_it_may_not() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    let provider = builder(&server.url_for("alice", USER)).build().await.unwrap();
    let lock = provider.create_lock("0000000000000001");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let rights = |what: &str| {
        for function in ["pg_try_advisory_lock", "pg_advisory_lock"] {
            server.psql(&format!("{what} EXECUTE ON FUNCTION {function}(bigint) {}", {
                if what == "GRANT" { "TO PUBLIC" } else { "FROM PUBLIC" }
            }));
        }
    };
    rights("REVOKE");
    check_backend(&["GRANT", "permission denied"], lock.acquire(LONG)).await;
    check_backend(&["GRANT", "permission denied"], lock.try_acquire()).await;
    rights("GRANT");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    server.psql(&format!("REVOKE CONNECT ON DATABASE {USER} FROM PUBLIC"));
    check_connection(&["GRANT"], builder(&server.url_for("alice", USER)).build()).await;
    until_none_left(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_an_administrator_cancels_is_an_error_and_holds_nothing() {
    let server = PostgresServer::start();
    let sessions = builder(&server.url()).build().await.unwrap();
    let transactions = builder(&server.url()).use_transaction_scope(true).build().await.unwrap();
    for provider in [sessions, transactions] {
        let other = foreigner(&server, "orders");
        let lock = provider.create_lock("orders");
        let waiting = tokio::spawn(async move { lock.acquire(LONG).await });
        until_waiting(&server, "orders", 1).await;
        server.cancel(waiters(&server, "orders")[0]);
        let error = refusal(&["cancel"], async { waiting.await.unwrap() }).await;
        assert!(matches!(error, LockError::Backend(_)), "{error:?}");
        give_back(&other, "orders");
        until_none_left(&server).await;
        let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
        held.release().await.unwrap();
        until_none_left(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_and_connection_strings_that_make_no_sense_are_named() {
    let server = PostgresServer::start();
    let new = || PostgresLockProvider::builder().url(server.url());
    let wrong = [
        ("url", PostgresLockProvider::builder()),
        ("url", builder("secret")),
        ("url", builder("mysql://locks:secret@host/locks")),
        ("url", builder("postgres://locks:secret%zz@host/locks")),
        ("url", builder("postgres://locks:secret@[::1/locks")),
        ("url", builder("postgres://locks:secret@host:port/locks")),
        ("url", builder("postgres://locks:secret@host:99999/locks")),
        ("url", builder("postgres://locks:secret@host/locks?sslmode=secret")),
        ("url", builder("postgres://locks:secret@host/locks?secret=1")),
        ("url", builder("postgres://locks:secret@host/locks?target_session_attrs=secret")),
        ("url", builder("host=a,b port=1,2,3 password=secret")),
        ("url", builder("password='secret")),
        ("max_connections", new().max_connections(0)),
        ("max_connections", new().max_connections(1001)),
        ("idle_timeout", new().idle_timeout(Duration::ZERO)),
        ("idle_timeout", new().idle_timeout(Duration::MAX)),
        ("keepalive_cadence", new().keepalive_cadence(Duration::ZERO)),
        ("connect_timeout", new().connect_timeout(Duration::ZERO)),
        ("use_multiplexing", new().use_multiplexing(true).use_transaction_scope(true)),
    ];
    for (number, (option, builder)) in wrong.into_iter().enumerate() {
        let error = refusal(&[], builder.build()).await;
        assert!(
            matches!(error, LockError::InvalidConfig { option: named, .. } if named == option),
            "{number}, {option}: {error:?}"
        );
    }
    until_none_left(&server).await;
}
