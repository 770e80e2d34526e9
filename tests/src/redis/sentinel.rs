//! A master and its replica, watched by three sentinels.

use std::thread;

use super::{Server, ServerOptions, eventually, text};

const SENTINELS: usize = 3;
const NAME: &str = "mymaster";

/// Two servers and the sentinels that decide which is the master; killed when dropped.
#[derive(Debug)]
pub struct Sentinels {
    servers: [Server; 2],
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts sentinels that fail over 1.5 seconds after the master died, and waits until they
    /// know each other and the replica.
    ///
    /// # Panics
    ///
    /// If they don't.
    #[must_use = "the servers die with their value"]
    pub fn start() -> Self {
        Self::start_with(&ServerOptions::new())
    }

    /// Starts sentinels of servers with these options; the sentinels themselves have no password.
    ///
    /// # Panics
    ///
    /// If the sentinels don't get to know each other and the replica.
    #[must_use = "the servers die with their value"]
    pub fn start_with(options: &ServerOptions) -> Self {
        let master = options.clone().start();
        let replica = options.clone().with_master(&master).start();
        let sentinel = sentinel_options(&master);
        let sentinels = thread::scope(|scope| {
            let start = || scope.spawn(|| sentinel.clone().start());
            let starting: Vec<_> = (0..SENTINELS).map(|_| start()).collect();
            starting.into_iter().map(|one| one.join().expect("it would start alone")).collect()
        });
        let all = Self { servers: [master, replica], sentinels };
        all.wait_until_ok();
        all
    }

    /// The URL that names all sentinels and the master they watch.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(Server::address).collect();
        let start = self.servers[0].url_at("");
        format!("{}{}/{NAME}", start.replacen("redis", "redis+sentinel", 1), addresses.join(","))
    }

    /// The name by which the sentinels know the master.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The two servers, whichever is the master.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The server of which the running sentinels say that it is the master.
    ///
    /// # Panics
    ///
    /// If they don't agree.
    #[must_use]
    pub fn master(&self) -> &Server {
        eventually("sentinels that agree on the master", || {
            let mut ports: Vec<u16> = self.running().map(master_port).collect();
            ports.dedup();
            let agreed = (ports.len() == 1).then(|| ports[0]);
            self.servers.iter().find(|server| Some(server.port()) == agreed)
        })
    }

    /// The server that is not the master.
    ///
    /// # Panics
    ///
    /// If the sentinels don't agree on the master.
    #[must_use]
    pub fn replica(&self) -> &Server {
        let master = self.master().port();
        let other = self.servers.iter().find(|server| server.port() != master);
        other.expect("there are two servers")
    }

    /// Kills the master as a power failure would, and returns it.
    ///
    /// # Panics
    ///
    /// If the sentinels don't agree on the master.
    pub fn kill_master(&self) -> &Server {
        let master = self.master();
        master.kill();
        master
    }

    /// Waits until another server than this one is the master and says so itself, and returns it.
    ///
    /// # Panics
    ///
    /// If none is promoted.
    pub fn wait_for_successor_of(&self, former: &Server) -> &Server {
        eventually("a promoted replica", || {
            let master = self.master();
            let promoted = master.port() != former.port()
                && master.info("replication").get("role").is_some_and(|role| role == "master");
            promoted.then_some(master)
        })
    }

    /// Starts a killed server again as the replica that the sentinels would make of it themselves
    /// after some ten seconds, and waits until all is well.
    ///
    /// # Panics
    ///
    /// If the sentinels say that it is the master, or it does not catch up.
    pub fn restart(&self, killed: &Server) {
        let master = self.master().port();
        assert_ne!(master, killed.port(), "another server was promoted");
        killed.restart();
        let follow = killed.command(&["REPLICAOF", "127.0.0.1", &master.to_string()]);
        follow.expect("the server has started");
        self.wait_until_ok();
    }

    /// Waits until each sentinel knows all others, the master and a replica that has caught up.
    ///
    /// # Panics
    ///
    /// If that doesn't happen.
    pub fn wait_until_ok(&self) {
        eventually("sentinels that know each other", || {
            let linked = |server: &Server| {
                server
                    .info("replication")
                    .get("master_link_status")
                    .is_some_and(|link| link == "up")
            };
            (self.running().all(knows_everybody) && linked(self.replica())).then_some(())
        });
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_running())
    }
}

fn sentinel_options(master: &Server) -> ServerOptions {
    let quorum = SENTINELS / 2 + 1;
    let lines = [
        format!("sentinel monitor {NAME} 127.0.0.1 {} {quorum}", master.port()),
        // A sentinel reconnects once a second, so with less than that it takes whomever it has just
        // promoted for dead, and promotes to and fro.
        format!("sentinel down-after-milliseconds {NAME} 1500"),
        format!("sentinel failover-timeout {NAME} 3000"),
        format!("sentinel auth-user {NAME} {}", super::options::ADMIN),
        format!("sentinel auth-pass {NAME} {}", super::options::ADMIN),
    ];
    let options = ServerOptions::new().into_sentinel();
    lines.iter().fold(options, |options, line| options.with_line(line))
}

fn master_port(sentinel: &Server) -> u16 {
    let answer = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    let answer = answer.expect("a running sentinel answers");
    let address: Vec<String> = redis::from_redis_value(answer).expect("the master has an address");
    address[1].parse().expect("a port is a number")
}

fn knows_everybody(sentinel: &Server) -> bool {
    let master = sentinel.command(&["SENTINEL", "MASTER", NAME]).map(|answer| fields(&answer));
    let replicas = sentinel.command(&["SENTINEL", "REPLICAS", NAME]);
    let (Ok(master), Ok(redis::Value::Array(replicas))) = (master, replicas) else { return false };
    let has = |fields: &[(String, String)], key: &str, value: &str| {
        fields.iter().any(|(k, v)| k == key && v == value)
    };
    has(&master, "num-other-sentinels", &(SENTINELS - 1).to_string())
        && has(&master, "flags", "master")
        && replicas.iter().map(fields).any(|replica| {
            has(&replica, "flags", "slave") && has(&replica, "master-link-status", "ok")
        })
}

fn fields(answer: &redis::Value) -> Vec<(String, String)> {
    let redis::Value::Array(parts) = answer else { return Vec::new() };
    parts.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}
