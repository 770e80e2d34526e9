//! Locks on Redis for plain threads: what depends on how threads talk to servers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::{AcquireOptions, Lock, LockError, LockProvider, RedisLockProvider, Renewal};
use lock_tests::redis::{
    Certificates, Cluster, Mode, PATIENCE, Proxy, Sentinels, Server, ServerOptions, eventually,
};

/// How long a server may be silent in these tests.
const SILENCE: Duration = Duration::from_millis(300);
/// Far more than a loaded machine needs for what takes no time, far less than what is awaited.
const SOON: Duration = Duration::from_millis(500);

#[test]
fn a_lock_that_is_free_costs_two_commands_and_one_script() {
    let server = Server::start();
    let lock = provider(&server.url()).create_lock("a");
    let first = lock.acquire(None).unwrap();
    let first_fence = first.fence();
    first.release().unwrap();

    server.reset_statistics();
    let handle = lock.acquire(None).unwrap();
    assert!(handle.fence() > first_fence, "{:?} after {first_fence:?}", handle.fence());
    assert!(handle.is_valid());
    handle.release().unwrap();

    let sent = server.commands_sent();
    assert_eq!(of(&sent, ["set", "incr", "evalsha", "publish"]), [1, 1, 1, 0], "{sent:?}");
}

#[test]
fn a_waiter_is_let_in_by_the_message_of_who_releases() {
    let server = Server::start();
    let lock = provider(&server.url()).create_lock("a");
    let other = provider(&server.url()).create_lock("a");
    let held = lock.acquire(None).unwrap();
    let waiting = thread::spawn(move || {
        let handle = other.acquire(Some(PATIENCE)).unwrap();
        (handle.fence(), Instant::now())
    });
    wait_for_waiters(&lock, 1);
    let (fence, released) = (held.fence(), Instant::now());
    held.release().unwrap();
    let (next_fence, let_in) = waiting.join().unwrap();
    assert!(next_fence > fence);
    // Without the message it would have been let in when it asked again, about a second later.
    assert!(let_in - released < SOON, "{:?}", let_in - released);
}

#[test]
fn a_server_that_answers_nothing_costs_no_more_than_the_time_out() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let lock = provider(&proxy.url()).create_lock("a");
    for timeout in [200, 50, 700] {
        proxy.set(Mode::Pass);
        proxy.cut();
        lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
        proxy.set(Mode::BlackHole);
        check_in_time(Duration::from_millis(timeout), || check_no_lock(&lock, timeout));
        check_in_time(Duration::from_millis(timeout), || check_no_lock(&lock, timeout));
    }
}

#[test]
fn a_caller_is_not_held_up_by_another_who_waits_for_longer() {
    let server = Server::start();
    let builder = RedisLockProvider::builder().url(server.url());
    let provider = builder.response_timeout(Duration::from_secs(3)).build().unwrap();
    let (patient, hasty) = (provider.create_lock("a"), provider.create_lock("b"));
    patient.acquire(None).unwrap().release().unwrap();
    server.pause();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.acquire(Some(PATIENCE)).unwrap().release().unwrap());
        for timeout in [50, 400] {
            check_in_time(Duration::from_millis(timeout), || check_no_lock(&hasty, timeout));
        }
        server.resume();
        waiting.join().unwrap();
    });
}

#[test]
fn a_single_try_waits_no_longer_than_a_server_may_be_silent() {
    let server = Server::start();
    let lock = provider(&server.url()).create_lock("a");
    lock.acquire(None).unwrap().release().unwrap();
    server.pause();
    check_in_time(SILENCE, || {
        let error = lock.try_acquire().unwrap_err();
        assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    });
    server.resume();
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
}

#[test]
fn a_lease_that_ran_out_before_its_answer_came_is_no_lock() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let builder = RedisLockProvider::builder().url(proxy.url());
    let provider = builder.response_timeout(PATIENCE).build().unwrap();
    let lock = provider.create_lock("a");
    lock.acquire(None).unwrap().release().unwrap();
    // A look of the background thread, about one a second, would tell the lock the time as well.
    for _ in 0..5 {
        server.reset_statistics();
        proxy.set(Mode::HoldAnswers);
        thread::scope(|scope| {
            let lease = AcquireOptions::new().with_ttl(Duration::from_millis(150));
            let asking = scope.spawn(|| lock.acquire_with(lease).unwrap());
            eventually("the lease", || (of(&server.commands_sent(), ["set"]) == [1]).then_some(()));
            eventually("its end", || (keys(&server, "a") == 0).then_some(()));
            proxy.set(Mode::Pass);
            drop(asking.join().unwrap());
        });
        let sent = server.commands_sent();
        assert!(of(&sent, ["set"]) > [1], "it was not asked for again: {sent:?}");
    }
}

#[test]
fn locks_are_had_again_when_a_killed_server_is_back() {
    let server = ServerOptions::new().with_append_only().start();
    let lock = provider(&server.url()).create_lock("a");
    let first = lock.acquire(None).unwrap();
    let fence = first.fence();
    first.release().unwrap();

    server.kill();
    let waiting = {
        let lock = lock.clone();
        thread::spawn(move || lock.acquire(Some(PATIENCE)).unwrap().fence())
    };
    let error = lock.try_acquire().unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    server.restart();
    assert!(waiting.join().unwrap() > fence);
}

#[test]
fn a_hold_survives_a_lost_connection_and_a_waiter_hears_again() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let (lock, other) = (provider(&server.url()), provider(&proxy.url()));
    let (lock, other) = (lock.create_lock("a"), other.create_lock("a"));
    let held = lock.acquire(None).unwrap();
    let waiting = thread::spawn(move || other.acquire(Some(PATIENCE)).map(drop));
    wait_for_waiters(&lock, 1);
    let listening = || server.clients().iter().filter(|client| client.subscriptions > 0).count();
    proxy.cut();
    eventually("another subscription", || (listening() == 1).then_some(()));
    assert!(held.is_valid());
    held.release().unwrap();
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_handle_that_is_dropped_leaves_nothing_on_the_server() {
    let server = Server::start();
    let provider = provider(&server.url());
    drop(provider.create_lock("a").acquire(None).unwrap());
    assert_eq!(keys(&server, "a"), 0);
    let permits = provider.create_semaphore("b", 3);
    drop(permits.acquire(Some(PATIENCE)).unwrap());
    assert!(!permits.is_locked().unwrap());
}

#[test]
fn a_drop_does_not_wait_for_ever_for_a_paused_server() {
    let server = Server::start();
    let handle = provider(&server.url()).create_lock("a").acquire(None).unwrap();
    server.pause();
    check_in_time(Duration::from_secs(1), || drop(handle));
    server.resume();
}

#[test]
fn threads_of_one_provider_take_turns_and_share_a_connection() {
    const THREADS: usize = 32;
    const TURNS: usize = 10;
    let server = Server::start();
    let provider = provider(&server.url());
    let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let lock = provider.create_lock("a");
                for _ in 0..TURNS {
                    let handle = lock.acquire(Some(PATIENCE)).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    turns.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    handle.release().unwrap();
                }
            });
        }
    });
    assert_eq!(turns.into_inner(), THREADS * TURNS);
    // One that is talked on, and one that listens.
    assert_eq!(server.clients().len(), 2, "{:?}", server.clients());
}

#[test]
fn threads_take_turns_while_connections_are_killed() {
    const THREADS: usize = 8;
    const TURNS: usize = 40;
    let server = Server::start();
    let provider = provider(&server.url());
    let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let lock = provider.create_lock("a");
                for _ in 0..TURNS {
                    let handle = lock.acquire(Some(PATIENCE)).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    handle.release().unwrap();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        for kind in ["normal", "pubsub"].into_iter().cycle() {
            if done.load(Ordering::SeqCst) == THREADS {
                break;
            }
            server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).unwrap();
            server.command(&["SCRIPT", "FLUSH"]).unwrap();
            thread::sleep(Duration::from_millis(200));
        }
    });
    assert_eq!(keys(&server, "a"), 0);
}

#[test]
fn what_many_threads_ask_at_once_is_written_in_one_piece() {
    const THREADS: usize = 64;
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let provider = provider(&proxy.url());
    provider.create_lock("first").acquire(None).unwrap().release().unwrap();
    // One after another they would take 64 times as long, and their time would be over.
    proxy.delay(Duration::from_millis(50), Duration::from_millis(50));
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let lock = provider.create_lock(&format!("lock {thread}"));
            scope.spawn(move || lock.acquire(Some(PATIENCE)).unwrap().release().unwrap());
        }
    });
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_release_and_the_question_of_the_next_are_one_round_trip() {
    const ONE_WAY: Duration = Duration::from_millis(500);
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let builder = RedisLockProvider::builder().url(proxy.url());
    let ours = builder.response_timeout(PATIENCE).build().unwrap();
    // Whoever has waited once listens.
    let _held = provider(&server.url()).create_lock("b").acquire(None).unwrap();
    check_no_lock(&ours.create_lock("b"), 100);
    let lock = ours.create_lock("a");
    let held = lock.acquire(None).unwrap();
    // What follows takes so long that the lock is not passed on without the server.
    proxy.delay(ONE_WAY, ONE_WAY);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let handle = lock.acquire(Some(PATIENCE)).unwrap();
            (handle, Instant::now())
        });
        wait_for_waiters(&lock, 1);
        let released = Instant::now();
        held.release().unwrap();
        let (_, let_in) = waiting.join().unwrap();
        let waited = let_in - released;
        assert!(waited >= ONE_WAY * 2 && waited < ONE_WAY * 3, "{waited:?}");
    });
}

#[test]
fn renewals_that_take_longer_than_their_cadence_hold_no_caller_up() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let lock = provider(&proxy.url()).create_lock("a");
    lock.acquire(None).unwrap().release().unwrap();
    proxy.delay(Duration::from_millis(5), Duration::from_millis(5));
    let (told, hears) = channel();
    thread::spawn(move || {
        let every = Renewal::Every(Duration::from_millis(1));
        let held = lock.acquire_with(AcquireOptions::new().with_renewal(every)).unwrap();
        held.release().unwrap();
        let _ = told.send(());
    });
    hears.recv_timeout(PATIENCE).expect("the call returns");
}

#[test]
fn wrong_credentials_are_an_error_at_once() {
    let server = ServerOptions::new().with_password("secret").start();
    provider(&server.url()).create_lock("a").acquire(None).unwrap().release().unwrap();
    let url = format!("redis://:guess@{}", server.address());
    let error = RedisLockProvider::new(&url).unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("guess"), "{error:?}");
}

#[test]
fn scripts_that_a_server_forgot_are_told_again() {
    let server = Server::start();
    let lock = provider(&server.url()).create_lock("a");
    for _ in 0..3 {
        let handle = lock.acquire(None).unwrap();
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
        handle.release().unwrap();
    }
    assert_eq!(keys(&server, "a"), 0);
}

#[test]
fn the_threads_of_a_provider_end_with_it() {
    let server = Server::start();
    let provider = provider(&server.url());
    let lock = provider.create_lock("a");
    let elsewhere = self::provider(&server.url());
    let held = elsewhere.create_lock("a").acquire(None).unwrap();
    assert!(matches!(lock.acquire(Some(SILENCE)), Err(LockError::Timeout(_))));
    held.release().unwrap();
    drop(elsewhere);
    eventually("one for commands, one for messages", || {
        (server.clients().len() == 2).then_some(())
    });
    drop((provider, lock));
    eventually("connections that are closed", || server.clients().is_empty().then_some(()));
}

#[test]
fn several_servers_vote_and_a_dead_one_delays_nobody() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(Server::url);
    let builder = RedisLockProvider::builder().urls(&urls).response_timeout(SILENCE);
    let provider = builder.build().unwrap();
    let lock = provider.create_lock("a");
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    servers[1].kill();
    check_in_time(Duration::ZERO, || lock.acquire(Some(PATIENCE)).unwrap().release().unwrap());
    servers[1].restart();
    servers[0].pause();
    check_in_time(Duration::ZERO, || lock.acquire(Some(PATIENCE)).unwrap().release().unwrap());
    servers[0].resume();
}

#[test]
fn several_servers_are_asked_at_once() {
    const DELAY: Duration = Duration::from_millis(100);
    // How long to wait for each is learnt from how long it took before.
    let servers: Vec<Server> = (0..5).map(|_| Server::start()).collect();
    let proxies: Vec<Proxy> = servers.iter().map(Proxy::to).collect();
    let builder = RedisLockProvider::builder().urls(proxies.iter().map(Proxy::url));
    let lock = builder.build().unwrap().create_lock("a");
    proxies.iter().for_each(|proxy| proxy.delay(DELAY, Duration::ZERO));
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    let start = Instant::now();
    let handle = lock.acquire(Some(PATIENCE)).unwrap();
    assert!(start.elapsed() < DELAY * 4, "{:?}", start.elapsed());
    handle.release().unwrap();
}

#[test]
fn a_provider_of_several_servers_needs_a_majority() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(Server::url);
    servers[1].kill();
    let builder = RedisLockProvider::builder().urls(&urls).connect_timeout(SILENCE);
    drop(builder.clone().build().unwrap());
    servers[2].kill();
    let error = builder.clone().build().unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    servers[1].restart();
    servers[1].pause();
    check_in_time(SILENCE, || drop(builder.build().unwrap_err()));
    servers[1].resume();
}

#[test]
fn locks_of_a_cluster_are_had_wherever_they_are() {
    let cluster = Cluster::start();
    let provider = provider(&cluster_url(&cluster));
    for number in 0..20 {
        let lock = provider.create_lock(&format!("lock {number}"));
        let held = lock.acquire(Some(PATIENCE)).unwrap();
        assert!(lock.try_acquire().unwrap().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| lock.acquire(Some(PATIENCE)).unwrap().fence());
            wait_for_waiters(&lock, 1);
            let (fence, released) = (held.fence(), Instant::now());
            held.release().unwrap();
            assert!(waiting.join().unwrap() > fence);
            assert!(released.elapsed() < SOON, "{:?}", released.elapsed());
        });
    }
}

#[test]
fn locks_follow_their_slot_when_a_master_hands_over_or_dies() {
    let cluster = Cluster::start();
    let lock = provider(&cluster_url(&cluster)).create_lock("a");
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    let first = cluster.master_of("a");
    let second = cluster.failover(first);
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    cluster.kill(second);
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
}

#[test]
fn locks_follow_their_slot_when_a_master_is_silent() {
    let cluster = Cluster::start();
    let lock = provider(&cluster_url(&cluster)).create_lock("a");
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    let master = &cluster.nodes()[cluster.master_of("a")];
    master.pause();
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    master.resume();
}

#[test]
fn a_lock_is_held_across_the_move_of_its_slot() {
    let cluster = Cluster::start();
    let lock = provider(&cluster_url(&cluster)).create_lock("a");
    let held = lock.acquire(Some(PATIENCE)).unwrap();
    let (slot, from) = (cluster.slot_of("a"), cluster.master_of("a"));
    let open = cluster.begin_move(slot, from, (from + 1) % 3).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lock.acquire(Some(PATIENCE)).unwrap().fence());
        for key in open.keys().unwrap() {
            open.move_key(&key).unwrap();
        }
        check_no_lock(&lock, 100);
        open.end().unwrap();
        assert!(held.is_valid());
        let fence = held.fence();
        held.release().unwrap();
        assert!(waiting.join().unwrap() > fence);
    });
}

#[test]
fn locks_follow_the_master_that_sentinels_watch() {
    let sentinels = Sentinels::start();
    let lock = provider(&sentinels.url()).create_lock("a");
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
    sentinels.kill_master();
    lock.acquire(Some(PATIENCE)).unwrap().release().unwrap();
}

#[test]
fn servers_are_talked_to_over_tls_and_unix_sockets() {
    let certificates = Certificates::new();
    let secure = ServerOptions::new().with_password("secret").with_tls(&certificates).start();
    let builder = RedisLockProvider::builder().url(secure.url());
    let builder = builder.tls_root_certificates(certificates.authority_pem());
    let plain = Server::start();
    let socket = provider(&format!("unix://{}", plain.unix_socket().display()));
    for provider in [builder.build().unwrap(), socket] {
        let lock = provider.create_lock("a");
        let held = lock.acquire(Some(PATIENCE)).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| lock.acquire(Some(PATIENCE)).unwrap().fence());
            wait_for_waiters(&lock, 1);
            held.release().unwrap();
            assert!(waiting.join().unwrap().is_some());
        });
    }
    assert!(RedisLockProvider::new(&secure.url()).is_err(), "nobody knows who signed it");
}

fn provider(url: &str) -> RedisLockProvider {
    let builder = RedisLockProvider::builder().url(url).response_timeout(SILENCE);
    builder.build().expect("the options are good")
}

fn cluster_url(cluster: &Cluster) -> String {
    let addresses: Vec<String> = cluster.nodes().iter().map(Server::address).collect();
    format!("redis+cluster://{}", addresses.join(","))
}

fn check_no_lock(lock: &Lock, timeout_ms: u64) {
    let outcome = lock.acquire(Some(Duration::from_millis(timeout_ms)));
    // Whether a server is silent or slow is not known after a short time.
    let in_vain = matches!(outcome, Err(LockError::Connection(_) | LockError::Timeout(_)));
    assert!(in_vain, "{outcome:?}");
}

fn check_in_time(expected: Duration, action: impl FnOnce()) {
    let start = Instant::now();
    action();
    assert!(start.elapsed() < expected + SOON, "{:?} for {expected:?}", start.elapsed());
}

fn of<const N: usize>(sent: &BTreeMap<String, u64>, names: [&str; N]) -> [u64; N] {
    names.map(|name| sent.get(name).copied().unwrap_or(0))
}

fn keys(server: &Server, name: &str) -> i64 {
    let answer = server.command(&["EXISTS", name]).expect("the server answers");
    redis::from_redis_value(answer).expect("EXISTS counts")
}

fn wait_for_waiters(lock: &Lock, count: usize) {
    eventually("waiters in the queue", || {
        let info = lock.info().expect("the server answers");
        (info.waiters == Some(count)).then_some(())
    });
}
