//! `dlock doctor`, on real servers.

use lock_tests::postgres::{PgBouncer, PoolMode, PostgresOptions, PostgresServer, USER};
use lock_tests::redis::{Cluster, Server, ServerOptions};
use serde_json::Value;

use crate::place::{Place, code, complaint, text};

#[test]
fn a_server_that_is_fit_for_locks_is_given_no_advice() {
    let server = ServerOptions::new().with_append_only().start();

    check(&server.url(), 0, &[]);
}

#[test]
fn a_server_that_forgets_is_given_advice() {
    let server = Server::start();
    let lazy = ServerOptions::new().with_append_only().with_line("appendfsync everysec").start();

    check(&server.url(), 0, &[&["advice", &server.address(), "appendonly yes"]]);
    check(&lazy.url(), 0, &[&["advice", &lazy.address(), "(appendfsync everysec)"]]);
}

#[test]
fn a_server_that_evicts_is_a_danger() {
    let options = ServerOptions::new().with_append_only();
    let server = options.with_maxmemory("100mb").with_line("maxmemory-policy allkeys-lru").start();

    let output = check(&server.url(), 1, &[&["danger", &server.address(), "allkeys-lru"]]);

    assert!(output.ends_with("locks on a server of their own\n"), "{output}");
    let place = Place::at(&server.url());
    let json = place.output(["doctor", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["severity"], "danger");
    assert_eq!(output, format!("danger: {}\n", json[0]["message"].as_str().unwrap()));
}

#[test]
fn a_server_that_is_named_twice_is_a_danger() {
    let options = ServerOptions::new().with_append_only();
    let servers = [options.clone().start(), options.start()];
    let again = format!("localhost:{}", servers[0].port());
    let url = format!("redis+redlock://{},{},{again}", servers[0].address(), servers[1].address());

    check(&url, 1, &[&["danger", &servers[0].address(), &again, "one and the same server"]]);
}

#[test]
fn a_dead_voter_is_a_danger_and_an_even_number_is_advised_against() {
    let options = ServerOptions::new().with_append_only();
    let servers: Vec<Server> = (0..4).map(|_| options.clone().start()).collect();
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    let url = format!("redis+redlock://{}", addresses.join(","));

    check(&url, 0, &[&["advice", "4 servers vote"]]);
    servers[1].kill();
    let dead = ["danger", &addresses[1], "no lock can stand on it"];
    check(&url, 1, &[&dead, &["advice", "4 servers vote"]]);
}

#[test]
fn a_replica_is_a_danger_and_its_master_is_told_of_failovers() {
    let options = ServerOptions::new().with_append_only();
    let master = options.clone().start();
    let replica = options.with_master(&master).start();

    check(&replica.url(), 1, &[&["danger", &replica.address(), "is a replica"]]);
    check(&master.url(), 0, &[&["advice", &master.address(), "does not wait for its replicas"]]);
}

#[test]
fn of_a_cluster_every_master_is_examined() {
    let cluster = Cluster::start();
    let addresses: Vec<String> = cluster.nodes().iter().map(Server::address).collect();

    let output = dlock_doctor(&format!("redis+cluster://{}", addresses.join(",")));

    assert_eq!(code(&output), 0, "{output:?}");
    let told = text(&output.stdout).lines().filter(|line| line.contains("for its replicas"));
    assert_eq!(told.count(), 3, "{output:?}");
    check(
        &cluster.nodes()[0].url(),
        1,
        &[&["danger", "redis+cluster://"], &["advice"], &["advice"]],
    );
}

#[test]
fn a_user_that_may_not_ask_hears_so() {
    let options = ServerOptions::new().with_append_only();
    let server = options.with_line("user shy on >shy ~* &* +@all -info -config").start();
    let url = format!("redis://shy:shy@{}", server.address());

    check(&url, 0, &[&["advice", &server.address(), "does not say how it is set up"]]);
}

#[test]
fn a_postgres_server_whose_settings_nobody_chose_is_fit_for_locks() {
    let server = PostgresServer::start();

    check(&server.url(), 0, &[]);
    check(&server.unix_url(), 0, &[]);
}

#[test]
fn a_pool_by_transactions_is_a_danger() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Transaction, 1);

    let words = ["danger", &pool.address(), "use_transaction_scope", "pool_mode session"];
    let output = check(&pool.url(), 1, &[&words]);

    let json = Place::at(&pool.url()).output(["doctor", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["severity"], "danger");
    assert_eq!(output, format!("danger: {}\n", json[0]["message"].as_str().unwrap()));
}

#[test]
fn time_outs_of_a_postgres_role_are_advised_against() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    server.psql("ALTER ROLE alice SET lock_timeout = '5s'");

    check(&server.url(), 0, &[]);
    let url = server.url_for("alice", USER);
    let output = check(&url, 0, &[&["advice", &server.address(), "lock_timeout at 5s"]]);
    assert!(!output.contains("secret"), "{output}");
}

#[test]
fn a_postgres_standby_is_a_danger_where_it_was_asked_for_and_no_server_where_not() {
    let primary = PostgresServer::start();
    let standby = PostgresOptions::new().with_primary(&primary).start();

    let chosen = format!("{}?target_session_attrs=standby", standby.url());
    check(&chosen, 1, &[&["danger", &standby.address(), "is a standby"]]);
    let output = dlock_doctor(&standby.url());
    assert_eq!((code(&output), text(&output.stdout)), (69, ""));
    assert!(complaint(&output).contains("it is a standby"), "{output:?}");
}

#[test]
fn files_have_nothing_to_examine_and_servers_must_be_there() {
    let place = Place::new();
    for args in
        [&["doctor"][..], &["doctor", "--url", "memory:"], &["doctor", "--url", "file:///x"]]
    {
        let output = place.output(args);
        assert_eq!((code(&output), text(&output.stdout)), (64, ""));
        assert!(complaint(&output).contains("nothing to examine"), "{output:?}");
    }
    let server = Server::start();
    let url = server.url();
    drop(server);
    let output = dlock_doctor(&url);
    assert_eq!((code(&output), text(&output.stdout)), (69, ""));
    complaint(&output);
    let output = dlock_doctor(&url.replace("redis:", "postgres:"));
    assert_eq!((code(&output), text(&output.stdout)), (69, ""));
    assert!(complaint(&output).contains("no PostgreSQL server listens there"), "{output:?}");
}

fn dlock_doctor(url: &str) -> std::process::Output {
    Place::at(url).output(["doctor"])
}

/// One line must come for each of `expected`, in any order, that has all of its words.
fn check(url: &str, expected_code: i32, expected: &[&[&str]]) -> String {
    let output = dlock_doctor(url);
    assert_eq!((code(&output), text(&output.stderr)), (expected_code, ""), "{output:?}");
    let told = text(&output.stdout).to_owned();
    for words in expected {
        let fits = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(told.lines().any(fits), "{words:?} in {told}");
    }
    assert_eq!(told.lines().count(), expected.len(), "{told}");
    told
}
