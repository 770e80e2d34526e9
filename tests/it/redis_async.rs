//! The async adapters on real Redis servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lock_tests::redis::{
    Certificates, Cluster, Proxy, Sentinels, Server, ServerOptions, eventually,
};
use lock_tokio::prelude::*;

const LONG: Option<Duration> = Some(Duration::from_secs(20));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncontended_lock_is_one_write_and_one_script() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let lock = provider.create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    server.reset_statistics();
    let handle = lock.acquire(LONG).await.unwrap();
    assert!(handle.fence() > Some(1_600_000_000_000_000));
    handle.release().await.unwrap();
    let mut sent = server.commands_sent();
    // What the script itself does.
    for inner in ["get", "del", "exists", "time"] {
        sent.remove(inner);
    }
    let sent: Vec<_> = sent.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(sent, [("evalsha", 1), ("incr", 1), ("set", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_let_in_by_the_release() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let other = RedisLockProvider::new(&server.url()).await.unwrap();
    let first = provider.create_lock("orders").acquire(LONG).await.unwrap();
    let lock = other.create_lock("orders");
    let waiting = tokio::spawn(async move { lock.acquire(LONG).await });
    eventually("a waiter in the queue", || {
        server
            .command(&["ZCARD", "{orders}:dlock:writers"])
            .ok()
            .filter(|n| *n == redis::Value::Int(1))
    });
    let info = provider.create_lock("orders").info().await.unwrap();
    assert!(info.locked);
    assert_eq!(info.waiters, Some(1));
    assert_eq!(info.holders[0].pid, Some(std::process::id()));
    let fence = first.fence();
    let released = Instant::now();
    first.release().await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    let taken = released.elapsed();
    assert!(taken < Duration::from_millis(500), "{taken:?}");
    assert!(second.fence() > fence);
    second.release().await.unwrap();
    assert!(!provider.create_lock("orders").is_locked().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_let_in_by_a_script_that_the_server_forgot() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let other = RedisLockProvider::new(&server.url()).await.unwrap();
    let first = provider.create_lock("orders").acquire(LONG).await.unwrap();
    let lock = other.create_lock("orders");
    let waiting = tokio::spawn(async move { lock.acquire(LONG).await });
    eventually("a waiter in the queue", || (waiters(&server, "orders") == Some(1)).then_some(()));
    server.command(&["SCRIPT", "FLUSH"]).unwrap();
    first.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_acquisition_leaves_nothing_behind() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let lock = provider.create_lock("orders");
    for polls in 0..4 {
        let mut waiting = Box::pin(lock.acquire(LONG));
        for _ in 0..polls {
            if futures_lite::future::poll_once(&mut waiting).await.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        drop(waiting);
    }
    let elsewhere = RedisLockProvider::new(&server.url()).await.unwrap();
    let held = elsewhere.create_lock("orders").acquire(LONG).await.unwrap();
    let mut waiting = Box::pin(lock.acquire(LONG));
    assert!(futures_lite::future::poll_once(&mut waiting).await.is_none());
    eventually("a waiter in the queue", || waiters(&server, "orders").filter(|n| *n == 1));
    drop(waiting);
    eventually("nobody in the queue", || waiters(&server, "orders").filter(|n| *n == 0));
    held.release().await.unwrap();
    assert!(!lock.is_locked().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_had_again_once_its_server_is_back() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let lock = provider.create_lock("orders");
    let held = lock.acquire(LONG).await.unwrap();
    let first = held.fence();
    server.kill();
    let (waiting, other) = (lock.clone(), provider.create_lock("others"));
    let waiting = tokio::spawn(async move { waiting.acquire(LONG).await });
    let started = Instant::now();
    other.acquire(Some(Duration::from_secs(1))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    server.restart();
    // The server has forgotten everything.
    let next = waiting.await.unwrap().unwrap();
    assert!(next.fence() > first);
    drop(held);
    assert!(next.is_valid());
    next.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_hears_of_its_turn_after_a_lost_connection() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let other = RedisLockProvider::new(&server.url()).await.unwrap();
    let held = other.create_lock("orders").acquire(LONG).await.unwrap();
    let lock = provider.create_lock("orders");
    let waiting = tokio::spawn(async move { lock.acquire(LONG).await });
    eventually("a waiter in the queue", || waiters(&server, "orders").filter(|n| *n == 1));
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    held.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
    provider.close().await;
}

#[test]
fn a_handle_may_be_dropped_outside_of_the_runtime() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (lock, held) = runtime.block_on(async {
        let provider = RedisLockProvider::new(&server.url()).await.unwrap();
        let lock = provider.create_lock("orders");
        let held = lock.acquire(LONG).await.unwrap();
        (lock, held)
    });
    drop(held);
    // Any executor will do to wait.
    let again = futures_lite::future::block_on(lock.acquire(LONG)).unwrap();
    drop(again);
    drop(lock);
    eventually("no connection", || server.clients().is_empty().then_some(()));
    assert_eq!(server.command(&["EXISTS", "orders"]).unwrap(), redis::Value::Int(0));
}

#[test]
fn locks_of_a_runtime_that_has_ended_say_so() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let provider = runtime.block_on(RedisLockProvider::new(&server.url())).unwrap();
    drop(runtime);
    let lock = provider.create_lock("orders");
    let error = futures_lite::future::block_on(lock.acquire(Some(Duration::from_millis(200))));
    let error = error.unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
}

#[test]
fn async_std_waits_and_is_let_in() {
    let server = Server::start();
    async_std::task::block_on(async {
        let provider = RedisLockProvider::new(&server.url()).await.unwrap();
        let elsewhere = RedisLockProvider::new(&server.url()).await.unwrap();
        let held = elsewhere.create_lock("orders").acquire(LONG).await.unwrap();
        let waiter = provider.create_lock("orders");
        let waiting = async_std::task::spawn(async move { waiter.acquire(LONG).await });
        eventually("a waiter in the queue", || waiters(&server, "orders").filter(|n| *n == 1));
        let started = Instant::now();
        held.release().await.unwrap();
        let next = waiting.await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        next.release().await.unwrap();
    });
    eventually("no connection", || server.clients().is_empty().then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_when_a_provider_is_built() {
    let server = ServerOptions::new().with_password("secret").start();
    let url = format!("redis://:wrong@{}", server.address());
    let error = RedisLockProvider::new(&url).await.unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    assert!(error.to_string().contains("password"), "{error}");
    assert!(!format!("{error:?} {error}").contains("wrong@"), "{error:?}");
    RedisLockProvider::new(&server.url()).await.unwrap();
    server.kill();
    let error = RedisLockProvider::new(&server.url()).await.unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    assert!(error.to_string().contains("runs"), "{error}");
    for url in ["", "http://a", "redis://a,b", "redis://a:1?x=1", "redis+sentinel://a", "redis://"]
    {
        let error = RedisLockProvider::new(url).await.unwrap_err();
        assert!(matches!(error, LockError::InvalidConfig { .. }), "{url}: {error:?}");
    }
    let twice = RedisLockProvider::builder().urls(["redis://a:1", "redis://a:1"]).build().await;
    assert!(matches!(twice, Err(LockError::InvalidConfig { .. })));
    let server = Server::start();
    let other = format!("redis://localhost:{}", server.port());
    let twice = RedisLockProvider::builder().urls([server.url(), other]).build().await;
    assert!(matches!(twice, Err(LockError::InvalidConfig { .. })), "{twice:?}");
    let builder = RedisLockProvider::builder().url("redis://me:secret@host:1/0");
    assert!(!format!("{builder:?}").contains("secret"), "{builder:?}");
    // Somebody who accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let builder = RedisLockProvider::builder().url(url).connect_timeout(Duration::from_millis(200));
    let started = Instant::now();
    assert!(matches!(builder.build().await, Err(LockError::Connection(_))));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_listed_held_or_not() {
    let server = Server::start();
    let builder = RedisLockProvider::builder().url(server.url()).key_prefix("app:");
    let provider = builder.build().await.unwrap();
    let held = provider.create_lock("held").acquire(LONG).await.unwrap();
    provider.create_lock("free").acquire(LONG).await.unwrap().release().await.unwrap();
    let permit = provider.create_semaphore("permits", 3).acquire_many(2, LONG).await.unwrap();
    let mut locks = provider.list().await.unwrap();
    locks.sort_by(|one, other| one.name.cmp(&other.name));
    let seen: Vec<_> = locks
        .iter()
        .map(|lock| (lock.name.as_deref().unwrap(), lock.locked, lock.holders.len()))
        .collect();
    assert_eq!(seen, [("free", false, 0), ("held", true, 1), ("permits", true, 1)]);
    assert_eq!(locks[1].holders[0].fence, held.fence());
    drop((held, permit));
    provider.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_left_and_found_again() {
    let server = Server::start();
    let builder = RedisLockProvider::builder().url(server.url());
    let provider = builder.response_timeout(Duration::from_millis(200)).build().await.unwrap();
    let lock = provider.create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    server.pause();
    let started = Instant::now();
    let error = lock.acquire(Some(Duration::from_millis(500))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}: {error}", started.elapsed());
    server.resume();
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_told_although_a_later_question_has_none() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let builder = RedisLockProvider::builder().url(proxy.url());
    let provider = builder.response_timeout(Duration::from_secs(10)).build().await.unwrap();
    let (first, second) = (provider.create_lock("first"), provider.create_lock("second"));
    proxy.delay(Duration::ZERO, Duration::from_millis(500));
    let mut answered = Box::pin(first.acquire(LONG));
    assert!(futures_lite::future::poll_once(&mut answered).await.is_none());
    eventually("the first lock on the server", || {
        let exists = server.command(&["EXISTS", "first"]).ok();
        exists.filter(|count| *count == redis::Value::Int(1))
    });
    proxy.delay(Duration::from_secs(60), Duration::ZERO);
    let mut unanswered = Box::pin(second.acquire(LONG));
    assert!(futures_lite::future::poll_once(&mut unanswered).await.is_none());
    let started = Instant::now();
    let held = answered.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(held.is_valid());
}

/// How many wait for the mutex `name`.
fn waiters(server: &Server, name: &str) -> Option<i64> {
    let key = format!("{{{name}}}:dlock:writers");
    redis::from_redis_value(server.command(&["ZCARD", &key]).ok()?).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_of_servers_is_enough_for_a_lock() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let builder = RedisLockProvider::builder().urls(servers.iter().map(Server::url));
    let provider = builder.clone().build().await.unwrap();
    let other = builder.clone().build().await.unwrap();
    let lock = provider.create_lock("orders");
    let held = lock.acquire(LONG).await.unwrap();
    let info = lock.info().await.unwrap();
    assert_eq!((info.locked, info.holders.len()), (true, 1));
    assert_eq!(info.holders[0].fence, held.fence());
    servers[1].kill();
    assert!(!matches!(other.create_lock("orders").try_acquire().await, Ok(Some(_))));
    let waiter = other.create_lock("orders");
    let waiting = tokio::spawn(async move { waiter.acquire(LONG).await });
    eventually("a waiter in the queue", || waiters(&servers[0], "orders").filter(|n| *n == 1));
    let (fence, started) = (held.fence(), Instant::now());
    held.release().await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(next.fence() > fence);
    next.release().await.unwrap();
    assert_eq!(provider.list().await.unwrap().len(), 1);
    let third = builder.clone().build().await.unwrap();
    servers[0].kill();
    let started = Instant::now();
    assert!(matches!(third.list().await, Err(LockError::Connection(_))));
    let error = third.create_lock("orders").acquire(Some(Duration::from_secs(1))).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(matches!(error, Err(LockError::Connection(_) | LockError::Timeout(_))), "{error:?}");
    assert!(matches!(builder.build().await, Err(LockError::Connection(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_of_a_cluster_outlive_one_of_its_masters() {
    let cluster = Cluster::start();
    let hosts: Vec<_> = cluster.nodes()[..3].iter().map(Server::address).collect();
    let url = format!("redis+cluster://{}", hosts.join(","));
    let provider = RedisLockProvider::new(&url).await.unwrap();
    let other = RedisLockProvider::new(&url).await.unwrap();
    for name in ["a", "b", "c", "d"] {
        let lock = provider.create_lock(name);
        let held = lock.acquire(LONG).await.unwrap();
        assert!(other.create_lock(name).try_acquire().await.unwrap().is_none());
        let waiter = other.create_lock(name);
        let waiting = tokio::spawn(async move { waiter.acquire(LONG).await });
        let master = &cluster.nodes()[cluster.master_of(name)];
        eventually("a waiter in the queue", || waiters(master, name).filter(|n| *n == 1));
        let (fence, started) = (held.fence(), Instant::now());
        held.release().await.unwrap();
        let next = waiting.await.unwrap().unwrap();
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert!(next.fence() > fence);
        next.release().await.unwrap();
    }
    assert_eq!(provider.list().await.unwrap().len(), 4);

    let lock = provider.create_lock("a");
    let former = cluster.master_of("a");
    cluster.kill(former);
    let started = Instant::now();
    let _ = lock.acquire(Some(Duration::from_millis(500))).await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let held = lock.acquire(LONG).await.unwrap();
    held.release().await.unwrap();
    provider.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_across_the_move_of_its_slot() {
    let cluster = Cluster::start();
    let url = format!("redis+cluster://{}", cluster.nodes()[0].address());
    let provider = RedisLockProvider::new(&url).await.unwrap();
    let other = RedisLockProvider::new(&url).await.unwrap();
    let held = provider.create_lock("a").acquire(LONG).await.unwrap();
    let waiter = other.create_lock("a");
    let waiting = tokio::spawn(async move { waiter.acquire(LONG).await });
    let (slot, from) = (cluster.slot_of("a"), cluster.master_of("a"));
    eventually("a waiter", || waiters(&cluster.nodes()[from], "a").filter(|n| *n == 1));
    let open = cluster.begin_move(slot, from, (from + 1) % 3).unwrap();
    for key in open.keys().unwrap() {
        let tried = other.create_lock("a").try_acquire().await;
        assert!(matches!(tried, Ok(None) | Err(LockError::Connection(_))), "{tried:?}");
        open.move_key(&key).unwrap();
    }
    open.end().unwrap();
    assert!(held.is_valid());
    let fence = held.fence();
    held.release().await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert!(next.fence() > fence);
    next.release().await.unwrap();
}

/// What a client does for one question may be carried out in part: the lock was taken where the
/// slot was to be, its fence refused, and the lock left there for the whole of its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_try_while_the_slot_is_moved() {
    let cluster = Cluster::start();
    let url = format!("redis+cluster://{}", cluster.nodes()[0].address());
    let provider = RedisLockProvider::new(&url).await.unwrap();
    let lock = provider.create_lock("a");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let (slot, from) = (cluster.slot_of("a"), cluster.master_of("a"));
    let to = (from + 1) % 3;
    let open = cluster.begin_move(slot, from, to).unwrap();
    let tried = lock.try_acquire().await;
    assert!(matches!(tried, Err(LockError::Connection(_))), "{tried:?}");
    open.end().unwrap();
    let keys = cluster.nodes()[to].command(&["EXISTS", "a"]).unwrap();
    assert_eq!(keys, redis::Value::Int(0));
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_that_sentinels_name_is_found_again() {
    let sentinels = Sentinels::start();
    let provider = RedisLockProvider::new(&sentinels.url()).await.unwrap();
    let lock = provider.create_lock("orders");
    lock.acquire(LONG).await.unwrap().release().await.unwrap();
    let former = sentinels.kill_master();
    let held = lock.acquire(LONG).await.unwrap();
    let master = sentinels.wait_for_successor_of(former);
    assert_eq!(master.command(&["EXISTS", "orders"]).unwrap(), redis::Value::Int(1));
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_reached_by_every_kind_of_address() {
    let certificates = Certificates::new();
    let server = ServerOptions::new().with_tls(&certificates).start();
    let pem = certificates.authority_pem();
    let builder = RedisLockProvider::builder().url(server.url());
    let provider = builder.clone().tls_root_certificates(&pem).build().await.unwrap();
    provider.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
    assert!(matches!(builder.build().await, Err(LockError::Connection(_))));
    let plain = server.url().replace("rediss://", "redis://");
    let builder = RedisLockProvider::builder().url(plain).connect_timeout(Duration::from_secs(1));
    assert!(matches!(builder.build().await, Err(LockError::Connection(_))));

    let server = ServerOptions::new().with_user("alice", "secret").start();
    let provider = RedisLockProvider::new(&format!("{}/3", server.url())).await.unwrap();
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    let socket = server.unix_socket();
    let url = format!("unix://{}?db=3&user=alice&pass=secret", socket.display());
    let other = connect(&url).await.unwrap();
    assert!(other.create_lock("orders").try_acquire().await.unwrap().is_none());
    drop(held);
    other.create_lock("orders").acquire(LONG).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_and_forgotten_scripts_let_nobody_in_twice() {
    let server = Arc::new(Server::start());
    let (inside, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let provider = RedisLockProvider::new(&server.url()).await.unwrap();
        for _ in 0..8 {
            let lock = provider.create_lock("orders");
            let (inside, last) = (Arc::clone(&inside), Arc::clone(&last));
            tasks.push(tokio::spawn(async move {
                for _ in 0..25 {
                    let held = lock.acquire(LONG).await.unwrap();
                    let fence = held.fence().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    assert!(last.swap(fence, Ordering::SeqCst) < fence);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    held.release().await.unwrap();
                }
            }));
        }
    }
    let done = Arc::new(AtomicU64::new(0));
    let (chaos, end) = (Arc::clone(&server), Arc::clone(&done));
    let chaos = tokio::task::spawn_blocking(move || {
        while end.load(Ordering::SeqCst) == 0 {
            let _ = chaos.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            let _ = chaos.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            std::thread::sleep(Duration::from_millis(40));
            chaos.command(&["SCRIPT", "FLUSH"]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for task in tasks {
        task.await.unwrap();
    }
    done.store(1, Ordering::SeqCst);
    chaos.await.unwrap();
}

#[test]
fn a_runtime_without_io_is_no_place_for_a_provider() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(RedisLockProvider::new(&server.url())).unwrap_err();
    assert!(error.to_string().contains("I/O"), "{error}");
    // No timer of the runtime is needed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let provider = RedisLockProvider::new(&server.url()).await.unwrap();
        let lock = provider.create_lock("orders");
        let held = lock.acquire(LONG).await.unwrap();
        let late = lock.acquire(Some(Duration::from_millis(50))).await;
        assert!(matches!(late, Err(LockError::Timeout(_))), "{late:?}");
        held.release().await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_nobody_waited_for_leaves_no_connection() {
    let server = Server::start();
    let url = server.url();
    let mut building = Box::pin(RedisLockProvider::new(&url));
    let _ = futures_lite::future::poll_once(&mut building).await;
    drop(building);
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    drop(provider);
    assert!(held.is_valid());
    drop(held);
    eventually("no connection", || server.clients().is_empty().then_some(()));
    assert_eq!(server.command(&["EXISTS", "orders"]).unwrap(), redis::Value::Int(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_without_a_server_ends() {
    let server = Server::start();
    let provider = RedisLockProvider::new(&server.url()).await.unwrap();
    let held = provider.create_lock("orders").acquire(LONG).await.unwrap();
    server.kill();
    let started = Instant::now();
    provider.close().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(held.lost_token().is_lost());
}
