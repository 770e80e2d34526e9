//! The real servers of the tests, and what may be done to them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lock_proto::file::Identity;
use lock_proto::redis::{Command as LockCommand, Keys, Side, Token, Verb};
use lock_proto::{LockName, Seed};
use lock_tests::redis::{
    Certificates, Cluster, Mode, Proxy, Sentinels, Server, ServerOptions, eventually,
};
use lock_tests::redis_model::{STRAYED, Store};

#[test]
fn a_killed_server_forgets_what_it_kept_in_memory() {
    let server = Server::start();
    server.command(&["SET", "a", "1"]).unwrap();
    server.kill();
    server.command(&["PING"]).unwrap_err();
    server.restart();
    assert_eq!(read(&server, "a"), None);
}

#[test]
fn a_killed_server_remembers_what_it_wrote_to_disk_unless_it_is_emptied() {
    let server = ServerOptions::new().with_append_only().start();
    server.command(&["SET", "a", "1"]).unwrap();
    server.restart();
    assert_eq!(read(&server, "a").as_deref(), Some("1"));
    server.restart_empty();
    assert_eq!(read(&server, "a"), None);
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let server = Server::start();
    let mut connection = server.connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    server.pause();
    let error = redis::cmd("INCR").arg("a").query::<i64>(&mut connection).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    server.resume();
    eventually("the command is carried out", || read(&server, "a").filter(|value| value == "1"));
}

#[test]
fn a_server_with_a_password_lets_in_who_knows_it() {
    for options in [
        ServerOptions::new().with_password("secret"),
        ServerOptions::new().with_user("alice", "secret"),
    ] {
        let server = options.start();
        let stranger = format!("redis://{}", server.address());
        assert!(ping(&stranger).is_err(), "{stranger}");
        ping(&server.url()).unwrap();
    }
}

#[test]
fn a_server_tells_who_is_connected_and_what_was_sent() {
    let server = Server::start();
    server.reset_statistics();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    redis::cmd("SET").arg("a").arg(1).exec(&mut connection).unwrap();
    assert_eq!(server.commands_sent().get("set"), Some(&1));
    let clients = server.clients();
    assert_eq!(clients.len(), 1, "{clients:?}");
    assert_eq!(clients[0].command, "set");
    server.reset_statistics();
    assert!(server.commands_sent().is_empty(), "{:?}", server.commands_sent());
}

#[test]
fn a_replica_has_what_its_master_has() {
    let master = Server::start();
    master.command(&["SET", "a", "1"]).unwrap();
    let replica = ServerOptions::new().with_master(&master).start();
    assert_eq!(read(&replica, "a").as_deref(), Some("1"));
}

#[test]
fn a_cluster_forms_and_fails_over() {
    let cluster = Cluster::start();
    let first = cluster.master_of("a");
    cluster.nodes()[first].command(&["SET", "a", "1"]).unwrap();

    let second = cluster.failover(first);
    assert_eq!(cluster.master_of("a"), second);
    assert_eq!(cluster.replica_of(second), first);
    assert_eq!(read(&cluster.nodes()[second], "a").as_deref(), Some("1"));

    cluster.kill(second);
    assert_eq!(cluster.wait_for_successor_of(cluster.slot_of("a"), second), first);
    cluster.restart(second);
    cluster.wait_until_ok();
    assert_eq!(cluster.replica_of(first), second);
}

/// All keys of the script are there when it begins; then it gives the last permit back, whose key
/// goes with it, and looks for who else has one.
#[test]
fn a_script_that_loses_a_key_of_a_moving_slot_stops_where_the_model_does() {
    let cluster = Cluster::start();
    let from = cluster.master_of("s");
    let (node, mut model) = (&cluster.nodes()[from], Store::new());
    let keys = Keys::new("", &LockName::new("s").unwrap()).unwrap();
    let identity = Identity::new("host", 1);
    let [holder, waiter] =
        [1, 2].map(|seed| Token::new(&identity, None, &Seed::from_bytes([seed; 32])));
    let on_both = |model: &mut Store, token: &Token, verb: Verb| {
        let command = LockCommand::new(0, &keys, token, verb);
        let call = command.script("inbox").unwrap();
        let count = call.keys.len().to_string();
        let words = ["EVAL", call.script.source, &count].into_iter();
        let words: Vec<&str> =
            words.chain(call.keys.iter().chain(&call.args).map(String::as_str)).collect();
        (node.command(&words).map(drop), model.execute(&command, "inbox").map(drop))
    };
    let side = Side::Permits { count: 1, limit: 1 };
    for token in [&holder, &waiter] {
        let ttl = Duration::from_secs(60);
        let enter = Verb::Enter { side, ttl, wait: true, stamp: 1 };
        let (real, modelled) = on_both(&mut model, token, enter);
        assert!(real.is_ok() && modelled.is_ok(), "{real:?}, {modelled:?}");
    }
    let open = cluster.begin_move(cluster.slot_of("s"), from, (from + 1) % 3).unwrap();
    model.set_migrating(true);
    let leave = Verb::Leave { side, refuse_for: None };
    let (real, modelled) = on_both(&mut model, &holder, leave);
    assert!(format!("{real:?}").contains("attempted to access a non local key"), "{real:?}");
    assert_eq!(modelled, Err(STRAYED.to_owned()));
    let left: Vec<&str> = model.entries().keys().map(|key| &**key).collect();
    let mut really = open.keys().unwrap();
    really.sort_unstable();
    assert_eq!(really, left);
    open.end().unwrap();
}

#[test]
fn a_cluster_without_a_slot_refuses_and_with_it_serves() {
    let cluster = Cluster::start();
    let (master, slot) = (cluster.master_of("a"), cluster.slot_of("a"));
    cluster.drop_slots(slot..=slot);
    let error = cluster.nodes()[master].command(&["SET", "a", "1"]).unwrap_err();
    assert_eq!(error.code(), Some("CLUSTERDOWN"), "{error}");
    cluster.add_slots(master, slot..=slot);
    cluster.nodes()[master].command(&["SET", "a", "1"]).unwrap();
}

#[test]
fn sentinels_promote_the_replica_of_a_dead_master() {
    let sentinels = Sentinels::start();
    sentinels.master().command(&["SET", "a", "1"]).unwrap();
    sentinels.master().command(&["WAIT", "1", "1000"]).unwrap();
    let former = sentinels.kill_master();
    let successor = sentinels.wait_for_successor_of(former);
    assert_eq!(read(successor, "a").as_deref(), Some("1"));
    sentinels.restart(former);
    assert_eq!(former.info("replication").get("role").map(String::as_str), Some("slave"));
}

#[test]
fn a_server_with_tls_is_trusted_with_its_authority_only() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = ServerOptions::new().with_tls(&certificates).start();
    assert!(server.url().starts_with("rediss://127.0.0.1:"), "{}", server.url());
    assert_eq!(ping_tls(&server, &certificates.authority(), &[]), "PONG");
    assert!(ping_tls(&server, &others.authority(), &[]).contains("certificate verify failed"));
    ping(&format!("redis://{}", server.address())).unwrap_err();
}

#[test]
fn a_server_that_asks_for_certificates_accepts_the_clients() {
    let certificates = Certificates::new();
    let options = ServerOptions::new().with_tls(&certificates).with_line("tls-auth-clients yes");
    let server = options.start();
    let (client, key) = (certificates.client(), certificates.client_key());
    let shown = ["--cert", client.to_str().unwrap(), "--key", key.to_str().unwrap()];
    assert_eq!(ping_tls(&server, &certificates.authority(), &shown), "PONG");
    assert_ne!(ping_tls(&server, &certificates.authority(), &[]), "PONG");
}

#[test]
fn a_proxy_passes_delays_and_cuts() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let mut connection = connect(&proxy);
    assert_eq!(increment(&mut connection).unwrap(), 1);

    let start = Instant::now();
    proxy.delay(Duration::from_millis(30), Duration::from_millis(20));
    assert_eq!(increment(&mut connection).unwrap(), 2);
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());

    proxy.delay(Duration::ZERO, Duration::ZERO);
    proxy.cut();
    let error = increment(&mut connection).unwrap_err();
    assert!(error.is_connection_dropped(), "{error}");
    assert_eq!(increment(&mut connect(&proxy)).unwrap(), 3);
    assert_eq!(proxy.accepted(), 2);
    drop(connection);
    eventually("all connections are closed", || (proxy.connections() == 0).then_some(()));
}

#[test]
fn a_proxy_refuses_new_connections_only() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let mut connection = connect(&proxy);
    proxy.set(Mode::Refuse);
    assert!(ping(&proxy.url()).is_err());
    assert_eq!(increment(&mut connection).unwrap(), 1);
}

#[test]
fn a_black_hole_lets_nothing_through_and_its_connections_stay_dead() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let mut connection = connect(&proxy);
    proxy.set(Mode::BlackHole);
    assert!(increment(&mut connection).unwrap_err().is_timeout());
    proxy.set(Mode::Pass);
    assert!(increment(&mut connection).unwrap_err().is_timeout());
    assert_eq!(increment(&mut connect(&proxy)).unwrap(), 1);
}

#[test]
fn lost_and_held_answers_are_those_of_commands_that_were_carried_out() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let mut connection = connect(&proxy);
    proxy.set(Mode::LoseAnswers);
    assert!(increment(&mut connection).unwrap_err().is_timeout());
    eventually("the command is carried out", || read(&server, "a").filter(|value| value == "1"));

    proxy.set(Mode::Pass);
    let mut connection = connect(&proxy);
    proxy.set(Mode::HoldAnswers);
    connection.send_packed_command(&redis::cmd("INCR").arg("a").get_packed_command()).unwrap();
    eventually("the command is carried out", || read(&server, "a").filter(|value| value == "2"));
    assert!(connection.recv_response().unwrap_err().is_timeout());
    proxy.set(Mode::Pass);
    assert_eq!(increment(&mut connection).unwrap(), 3);
}

#[test]
fn a_proxy_answers_garbage() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let mut connection = connect(&proxy);
    proxy.set(Mode::Garbage);
    let error = increment(&mut connection).unwrap_err();
    assert!(!error.is_timeout(), "{error}");
    assert_eq!(read(&server, "a"), None);
}

fn read(server: &Server, key: &str) -> Option<String> {
    let value = server.command(&["GET", key]).expect("the server answers");
    redis::from_redis_value(value).expect("it is text or nothing")
}

fn ping(url: &str) -> redis::RedisResult<()> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
    redis::cmd("PING").exec(&mut connection)
}

/// A connection through a proxy, on which nothing takes longer than it takes to see that.
fn connect(proxy: &Proxy) -> redis::Connection {
    let client = redis::Client::open(proxy.url()).expect("a proxy has a URL");
    let connection = client.get_connection().expect("the proxy lets us through");
    connection.set_read_timeout(Some(Duration::from_millis(200))).expect("it is not zero");
    connection
}

fn increment(connection: &mut redis::Connection) -> redis::RedisResult<i64> {
    redis::cmd("INCR").arg("a").query(connection)
}

/// What `redis-cli` makes of a server.
fn ping_tls(server: &Server, authority: &Path, more: &[&str]) -> String {
    let mut client = Command::new("redis-cli");
    client.args(["-p", &server.port().to_string(), "--tls", "--cacert"]).arg(authority).args(more);
    let output = client.arg("PING").output().expect("who has redis-server has redis-cli");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).trim().to_owned()
}
