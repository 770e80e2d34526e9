//! The real PostgreSQL servers of the tests, and what may be done to them.

use std::net::TcpStream;
use std::time::Duration;

use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::{
    AdvisoryLock, PgBouncer, PoolMode, PostgresOptions, PostgresServer, Session, USER,
};
use lock_tests::redis::{Certificates, Mode, eventually};

#[test]
fn a_server_tells_who_is_connected_and_what_they_hold() {
    let server = PostgresServer::start();
    let (first, second) = (server.session(), Session::connect(&server.url()).unwrap());
    first.ask("SELECT pg_advisory_lock(-7), pg_advisory_lock_shared(3, -1)").unwrap();
    let mut waiting = second.send("SELECT pg_advisory_lock(-7)");
    let locks = eventually("a lock that is waited for", || {
        Some(server.advisory_locks()).filter(|locks| locks.len() == 3)
    });
    assert!(waiting.poll().is_none());
    let seen: Vec<(AdvisoryKey, u32, bool, bool)> = locks.iter().map(tuple).collect();
    let single = AdvisoryKey::Single(-7);
    let mut expected = [
        (single, first.pid(), true, true),
        (single, second.pid(), true, false),
        (AdvisoryKey::Pair(3, -1), first.pid(), false, true),
    ];
    expected.sort_unstable();
    assert_eq!(seen, expected);

    let backends = server.backends();
    assert_eq!(backends.len(), 2, "{backends:?}");
    assert_eq!((backends[0].pid, backends[1].pid), (first.pid(), second.pid()));
    assert_eq!((backends[1].user.as_str(), backends[1].database.as_str()), (USER, USER));
    assert_eq!(backends[1].wait, "Lock");

    server.terminate(first.pid());
    waiting.wait().unwrap();
    first.ask("SELECT 1").unwrap_err();
    assert_eq!(server.advisory_locks().len(), 1);
    second.close();
    eventually("a closed session", || server.backends().is_empty().then_some(()));
}

#[test]
fn a_statement_is_cancelled() {
    let server = PostgresServer::start();
    let (first, second) = (server.session(), server.session());
    first.ask("SELECT pg_advisory_lock(1)").unwrap();
    let waiting = second.send("SELECT pg_advisory_lock(1)");
    eventually("a lock that is waited for", || {
        server.advisory_locks().iter().any(|lock| !lock.granted).then_some(())
    });
    server.cancel(second.pid());
    let error = waiting.wait().unwrap_err();
    assert_eq!(error.code().map(|state| state.code()), Some("57014"), "{error:?}");
}

#[test]
fn a_killed_server_has_the_data_and_no_sessions() {
    let server = PostgresServer::start();
    let session = server.session();
    session.ask("CREATE TABLE kept (); SELECT pg_advisory_lock(1)").unwrap();
    let pid = server.pid();
    server.kill();
    session.ask("SELECT 1").unwrap_err();
    TcpStream::connect(server.address()).unwrap_err();
    server.restart();
    assert_ne!(server.pid(), pid);
    assert!(server.advisory_locks().is_empty());
    assert_eq!(server.session().ask("SELECT * FROM kept").unwrap().len(), 0);
}

#[test]
fn a_server_that_shuts_down_tells_its_clients() {
    let server = PostgresServer::start();
    let session = server.session();
    let sleeping = session.send("SELECT pg_sleep(3600)");
    eventually("a session that is busy", || {
        server.backends().iter().any(|backend| backend.query.contains("3600")).then_some(())
    });
    server.shut_down();
    sleeping.wait().unwrap_err();
    assert!(server.log().contains("terminating connection due to administrator command"));
    server.restart();
    assert!(server.backends().is_empty());
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let server = PostgresServer::start();
    let session = server.session();
    server.pause();
    let mut answer = session.send("SELECT 1");
    std::thread::sleep(Duration::from_millis(20));
    assert!(answer.poll().is_none());
    server.resume();
    assert_eq!(answer.wait().unwrap(), [["1"]]);
    server.pause();
    drop(server);
}

#[test]
fn a_role_needs_its_password_and_may_do_little() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    let session = Session::connect(&server.url_for("alice", USER)).unwrap();
    assert_eq!(session.ask("SELECT current_user").unwrap(), [["alice"]]);
    let error = session.ask("CREATE TABLE a ()").unwrap_err();
    assert_eq!(error.code().map(|state| state.code()), Some("42501"), "{error:?}");
    let wrong = server.url_for("alice", USER).replace("secret", "guess");
    let error = Session::connect(&wrong).unwrap_err();
    assert_eq!(error.code().map(|state| state.code()), Some("28P01"), "{error:?}");
    Session::connect(&server.unix_url()).unwrap().ask("CREATE TABLE a ()").unwrap();
}

#[test]
fn a_server_has_room_for_so_many() {
    let server = PostgresOptions::new().with_max_connections(2).start();
    let _sessions = [server.session(), server.session()];
    let error = Session::connect(&server.url()).unwrap_err();
    assert_eq!(error.code().map(|state| state.code()), Some("53300"), "{error:?}");
    assert_eq!(server.backends().len(), 2);
}

#[test]
fn a_server_with_tls_lets_nobody_in_without() {
    let certificates = Certificates::new();
    let server = PostgresOptions::new().with_tls(&certificates).start();
    assert!(server.url().ends_with("?sslmode=require"), "{}", server.url());
    let plain = server.url().replace("sslmode=require", "sslmode=disable");
    let error = Session::connect(&plain).unwrap_err();
    assert_eq!(error.code().map(|state| state.code()), Some("28000"), "{error:?}");
    assert_eq!(server.psql("SHOW ssl"), [["on"]]);
}

#[test]
fn a_standby_follows_its_primary_and_can_take_its_place() {
    let primary = PostgresServer::start();
    let standby = PostgresOptions::new().with_primary(&primary).start();
    primary.psql("CREATE TABLE copied AS SELECT 7 AS seven");
    eventually("a copied table", || standby.try_psql("SELECT seven FROM copied").ok());
    assert_eq!(standby.psql("SELECT pg_is_in_recovery()"), [["t"]]);
    assert_eq!(standby.session().ask("SELECT pg_try_advisory_lock(1)").unwrap(), [["t"]]);
    primary.kill();
    assert_eq!(standby.psql("SELECT pg_promote()"), [["t"]]);
    standby.psql("DROP TABLE copied");
}

#[test]
fn a_proxy_leads_to_the_server() {
    let server = PostgresServer::start();
    let proxy = server.proxy();
    let session = Session::connect(&proxy.url()).unwrap();
    assert_eq!(session.ask("SELECT 1").unwrap(), [["1"]]);
    proxy.set(Mode::HoldAnswers);
    let mut answer = session.send("SELECT pg_advisory_lock(1)");
    eventually("a lock", || (server.advisory_locks().len() == 1).then_some(()));
    assert!(answer.poll().is_none());
    proxy.set(Mode::Pass);
    answer.wait().unwrap();
    proxy.cut();
    session.ask("SELECT 1").unwrap_err();
    eventually("a lock that is gone", || server.advisory_locks().is_empty().then_some(()));
}

#[test]
fn a_pool_shares_sessions_by_transaction_or_not() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    let pool = PgBouncer::start(&server, PoolMode::Transaction, 1);
    let (first, second) =
        (Session::connect(&pool.url()).unwrap(), Session::connect(&pool.url()).unwrap());
    assert_eq!(first.ask("SELECT pg_try_advisory_lock(1)").unwrap(), [["t"]]);
    assert_eq!(second.ask("SELECT pg_try_advisory_lock(1)").unwrap(), [["t"]]);
    assert_eq!(server.backends().len(), 1);

    let pool = PgBouncer::start(&server, PoolMode::Session, 5);
    let place = pool.url_for("alice", USER);
    let sessions = [Session::connect(&place).unwrap(), Session::connect(&place).unwrap()];
    let pids = sessions.map(|session| session.ask("SELECT pg_backend_pid()").unwrap());
    assert_ne!(pids[0], pids[1]);
}

#[test]
fn the_threads_of_a_runtime_may_use_the_servers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = PostgresServer::start();
        let session = server.session();
        assert_eq!(session.ask("SELECT 1").unwrap(), [["1"]]);
        assert_eq!(server.psql("SELECT 1"), [["1"]]);
    });
}

fn tuple(lock: &AdvisoryLock) -> (AdvisoryKey, u32, bool, bool) {
    (lock.key, lock.pid, lock.exclusive, lock.granted)
}
