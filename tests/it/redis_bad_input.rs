//! Wrong servers, wrong credentials, wrong keys and wrong options: each is an error of its own, in
//! time, and leaves nothing locked.

use std::future::Future;
use std::time::{Duration, Instant};

use lock_tests::redis::{Cluster, Mode, Proxy, Server, ServerOptions};
use lock_tokio::prelude::*;
use lock_tokio::{RedisLockProviderBuilder, Renewal};

use crate::redis_chaos::{LONG, SLACK, keys_left, number, provider};

/// How long connecting and answers may take.
const LIMIT: Duration = Duration::from_millis(500);

/// A provider that waits for nobody for long.
fn builder(url: &str) -> RedisLockProviderBuilder {
    RedisLockProvider::builder().url(url).connect_timeout(LIMIT).response_timeout(LIMIT)
}

/// The error of what must end in time, whose text has `words` in it.
async fn refusal<T>(
    words: &[&str],
    outcome: impl Future<Output = Result<T, LockError>>,
) -> LockError {
    let started = Instant::now();
    let Err(error) = outcome.await else { panic!("it is no error: {words:?}") };
    assert!(started.elapsed() < LIMIT + SLACK, "{:?}: {error}", started.elapsed());
    let said = text(&error);
    for word in words {
        assert!(said.contains(word), "{said:?} says nothing of {word:?}");
    }
    error
}

/// The error and its causes.
fn text(error: &LockError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}

fn check_connection(error: &LockError) {
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
}

fn check_backend(error: &LockError) {
    assert!(matches!(error, LockError::Backend(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_refused_and_never_repeated() {
    let open = Server::start();
    let closed = ServerOptions::new().with_password("right-secret").start();
    let known = ServerOptions::new().with_user("me", "right-secret").start();
    let wrong = [
        format!("redis://:wrong-secret@{}", closed.address()),
        format!("redis://me:wrong-secret@{}", closed.address()),
        format!("redis://me:wrong-secret@{}", known.address()),
        format!("redis://you:wrong-secret@{}", known.address()),
        format!("redis://{}", closed.address()),
        format!("redis://{}", known.address()),
        format!("redis://you:wrong-secret@{}", open.address()),
    ];
    for url in wrong {
        let error = refusal(&["password"], builder(&url).build()).await;
        check_connection(&error);
        let said = format!("{error:?} {}", text(&error));
        assert!(!said.contains("-secret"), "{said}");
    }
    builder(&known.url()).build().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_changed_is_an_error_and_no_loop() {
    let server = ServerOptions::new().with_password("first-secret").start();
    let lock = builder(&server.url()).build().await.unwrap().create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    server.command(&["CONFIG", "SET", "requirepass", "second-secret"]).unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    let error = refusal(&["password"], lock.acquire(Some(LIMIT))).await;
    assert!(matches!(error, LockError::Backend(_) | LockError::Connection(_)), "{error:?}");
    let said = format!("{error:?} {}", text(&error));
    assert!(!said.contains("-secret"), "{said}");
    server.command(&["CONFIG", "SET", "requirepass", "first-secret"]).unwrap();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_not_there_are_named() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let address = server.address();
    for mode in [Mode::BlackHole, Mode::Refuse, Mode::Garbage] {
        proxy.set(mode);
        let error = refusal(&[&proxy.address()], builder(&proxy.url()).build()).await;
        check_connection(&error);
    }
    server.kill();
    let error = refusal(&[&address, "runs"], builder(&server.url()).build()).await;
    check_connection(&error);
    let error = refusal(&["no.such.host.invalid"], builder("redis://no.such.host.invalid").build());
    check_connection(&error.await);
    let socket = format!("unix://{}", server.unix_socket().display());
    check_connection(&refusal(&["redis.sock"], builder(&socket).build()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_plain_ports_are_not_confused() {
    let server = Server::start();
    let url = format!("rediss://{}", server.address());
    check_connection(&refusal(&[&server.address()], builder(&url).build()).await);
    let certificates = lock_tests::redis::Certificates::new();
    let secure = ServerOptions::new().with_tls(&certificates).start();
    let url = format!("redis://{}", secure.address());
    check_connection(&refusal(&[&secure.address()], builder(&url).build()).await);
    // Nobody has heard of who signed for it.
    check_connection(&refusal(&[&secure.address()], builder(&secure.url()).build()).await);
    let trusting = builder(&secure.url()).tls_root_certificates(certificates.authority_pem());
    trusting.build().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_can_not_write_are_an_error_in_time() {
    let master = Server::start();
    let replica = ServerOptions::new().with_master(&master).start();
    // Its connection is given up for one to whoever is the master, which may be all that is told.
    let lock = builder(&replica.url()).build().await.unwrap().create_lock("orders");
    check_connection(&refusal(&[], lock.acquire(Some(LIMIT))).await);
    check_connection(&refusal(&[], lock.try_acquire()).await);
    let permits = builder(&replica.url()).build().await.unwrap().create_semaphore("permits", 2);
    check_connection(&refusal(&[], permits.acquire(Some(LIMIT))).await);
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    permits.acquire(LONG).await.unwrap().release().await.unwrap();

    let server = ServerOptions::new().with_line("min-replicas-to-write 1").start();
    let lock = builder(&server.url()).build().await.unwrap().create_lock("orders");
    check_connection(&refusal(&["can't carry out"], lock.acquire(Some(LIMIT))).await);
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_or_is_busy_is_waited_for() {
    let server = ServerOptions::new()
        .with_append_only()
        .with_line("busy-reply-threshold 1")
        .with_line("enable-debug-command yes")
        .start();
    let lock = builder(&server.url()).build().await.unwrap().create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let mut stuck = server.connection().unwrap();
    let stuck = std::thread::spawn(move || {
        redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut stuck).unwrap_err();
    });
    let busy = || server.command(&["GET", "a"]).is_err();
    crate::redis_chaos::until("a script that never ends", busy).await;
    check_connection(&refusal(&["can't carry out"], lock.acquire(Some(LIMIT))).await);
    server.command(&["SCRIPT", "KILL"]).unwrap();
    stuck.join().unwrap();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();

    // It loads for a while, one key after another.
    server.command(&["DEBUG", "POPULATE", "2000", "filler"]).unwrap();
    server.command(&["BGREWRITEAOF"]).unwrap();
    crate::redis_chaos::until("everything on disk", || {
        server.info("persistence")["aof_rewrite_in_progress"] == "0"
            && server.info("persistence")["aof_rewrite_scheduled"] == "0"
    })
    .await;
    server.command(&["CONFIG", "SET", "key-load-delay", "500"]).unwrap();
    server.command(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]).unwrap();
    let reload = std::thread::spawn({
        let mut connection = server.connection().unwrap();
        move || redis::cmd("DEBUG").arg("LOADAOF").exec(&mut connection)
    });
    crate::redis_chaos::until("a server that loads", || {
        server.info("persistence")["loading"] == "1"
    })
    .await;
    check_connection(&refusal(&["can't carry out"], lock.acquire(Some(LIMIT / 2))).await);
    server.command(&["CONFIG", "SET", "key-load-delay", "0"]).unwrap();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    reload.join().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_refuses_and_still_takes_locks_back() {
    let server = Server::start();
    let provider = provider(&server).await;
    let held = provider.create_lock("held").acquire(LONG).await.unwrap();
    let permit = provider.create_semaphore("permits", 3).acquire_many(2, LONG).await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    for attempt in [LIMIT, Duration::ZERO] {
        let lock = provider.create_lock("orders");
        check_backend(&refusal(&["memory"], lock.acquire(Some(attempt))).await);
    }
    // A script that has deleted something may write.
    let reader = provider.create_reader_writer_lock("shared").acquire_read(Some(LIMIT)).await;
    let permits = provider.create_semaphore("tickets", 2).acquire(Some(LIMIT)).await;
    for outcome in [reader, permits] {
        match outcome {
            Ok(held) => held.release().await.unwrap(),
            Err(error) => check_backend(&error),
        }
    }
    held.release().await.unwrap();
    permit.release().await.unwrap();
    assert_eq!(keys_left(&server), [""; 0]);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    provider.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_an_error_and_the_server_behind_it_is_found_again() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let lock = builder(&proxy.url()).build().await.unwrap().create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    proxy.set(Mode::Garbage);
    check_connection(&refusal(&[], lock.acquire(Some(LIMIT))).await);
    let error = refusal(&[], lock.try_acquire()).await;
    assert!(matches!(error, LockError::Connection(_) | LockError::Backend(_)), "{error:?}");
    proxy.set(Mode::Pass);
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_not_touched() {
    let server = Server::start();
    let provider = provider(&server).await;
    server.command(&["LPUSH", "orders", "precious"]).unwrap();
    server.command(&["SET", "permits", "precious"]).unwrap();
    server.command(&["SADD", "{fenced}:dlock:fence", "precious"]).unwrap();
    let lock = provider.create_lock("orders");
    check_backend(&refusal(&["another type"], lock.acquire(Some(LIMIT))).await);
    let reader = provider.create_reader_writer_lock("orders");
    check_backend(&refusal(&["another type"], reader.acquire_read(Some(LIMIT))).await);
    let permits = provider.create_semaphore("permits", 2);
    check_backend(&refusal(&["another type"], permits.acquire(Some(LIMIT))).await);
    let fenced = provider.create_lock("fenced");
    check_backend(&refusal(&["another type"], fenced.acquire(Some(LIMIT))).await);
    provider.close().await;
    assert_eq!(number(&server, &["LLEN", "orders"]), 1);
    assert_eq!(number(&server, &["STRLEN", "permits"]), 8);
    let mut left = keys_left(&server);
    left.sort();
    assert_eq!(left, ["orders", "permits"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_slots_says_so_and_serves_again() {
    let cluster = Cluster::start();
    let urls: Vec<String> = cluster.urls();
    let hosts = urls.join(",").replace("redis://", "");
    let lock = builder(&format!("redis+cluster://{hosts}")).build().await.unwrap();
    let lock = lock.create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let (slot, master) = (cluster.slot_of("orders"), cluster.master_of("orders"));
    cluster.drop_slots(slot..=slot);
    let error = refusal(&[], lock.acquire(Some(LIMIT))).await;
    check_connection(&error);
    cluster.add_slots(master, slot..=slot);
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_make_no_sense_are_named() {
    let server = Server::start();
    let millis = Duration::from_millis;
    let new = || RedisLockProvider::builder().url(server.url());
    let wrong = [
        ("expiry", new().expiry(Duration::ZERO)),
        ("expiry", new().expiry(millis(99))),
        ("expiry", new().expiry(millis(1 << 31))),
        ("expiry", new().expiry(Duration::MAX)),
        ("min_validity", new().min_validity(Duration::ZERO)),
        ("min_validity", new().expiry(millis(1000)).min_validity(millis(1000))),
        ("extension_cadence", new().extension_cadence(Duration::ZERO)),
        ("extension_cadence", new().expiry(millis(1000)).extension_cadence(millis(900))),
        ("extension_cadence", new().extension_cadence(millis(900)).min_validity(millis(900))),
        ("busy_wait_sleep_range", new().busy_wait_sleep_range(millis(20)..=millis(10))),
        ("connect_timeout", new().connect_timeout(Duration::ZERO)),
        ("response_timeout", new().response_timeout(Duration::MAX)),
        ("urls", new().url(server.url())),
        ("urls", new().url("redis+cluster://a,b")),
        ("url", RedisLockProvider::builder()),
    ];
    for (option, builder) in wrong {
        match builder.build().await {
            Err(LockError::InvalidConfig { option: named, .. }) => assert_eq!(named, option),
            other => panic!("{option}: {other:?}"),
        }
    }
    let lock = new().build().await.unwrap().create_lock("orders");
    let wrong = [
        AcquireOptions::new().with_ttl(Duration::ZERO),
        AcquireOptions::new().with_ttl(millis(99)),
        AcquireOptions::new().with_ttl(millis(1 << 31)),
        AcquireOptions::new().with_ttl(millis(500)).with_renewal(Renewal::Every(millis(450))),
    ];
    for options in wrong {
        let error = lock.acquire_with(options).await.unwrap_err();
        assert!(matches!(error, LockError::InvalidConfig { .. }), "{error:?}");
    }
    assert_eq!(keys_left(&server), [""; 0]);
    for expiry in [millis(100), millis((1 << 31) - 1)] {
        let lock = new().expiry(expiry).build().await.unwrap().create_lock("orders");
        lock.acquire(LONG).await.unwrap().release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_even_number_of_servers_is_allowed_and_one_server_twice_is_not() {
    let servers = [(); 4].map(|()| Server::start());
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let provider = RedisLockProvider::builder().urls(&urls).build().await.unwrap();
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    held.release().await.unwrap();
    // By another name.
    let again = urls[0].replace("127.0.0.1", "localhost");
    let twice = RedisLockProvider::builder().urls(&urls).url(again).build().await;
    match twice {
        Err(LockError::InvalidConfig { option: "urls", problem }) => {
            assert!(problem.contains("twice"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}
