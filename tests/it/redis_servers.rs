//! The real servers of the tests, and what may be done to them.

use std::time::Duration;

use lock_tests::redis::{Cluster, Sentinels, Server, ServerOptions, eventually};

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

fn read(server: &Server, key: &str) -> Option<String> {
    let value = server.command(&["GET", key]).expect("the server answers");
    redis::from_redis_value(value).expect("it is text or nothing")
}

fn ping(url: &str) -> redis::RedisResult<()> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
    redis::cmd("PING").exec(&mut connection)
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
    former.restart();
    sentinels.wait_until_ok();
    assert_eq!(former.info("replication").get("role").map(String::as_str), Some("slave"));
}
