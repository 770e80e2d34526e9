//! A cluster of three masters with a replica each.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::thread;

use redis::{RedisResult, Value};

use super::{ELSEWHERE, Proxy, Server, ServerOptions, eventually, text};

const MASTERS: usize = 3;
const NODES: usize = 2 * MASTERS;

const LAST_SLOT: u16 = 16_383;

/// Six servers, the first three of which are masters to begin with; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

/// A line of `CLUSTER NODES`.
#[derive(Debug)]
pub(super) struct Line {
    id: String,
    port: u16,
    flags: Vec<String>,
    master: String,
    connected: bool,
    slots: Vec<Slots>,
}

/// The first and the last slot of a range.
type Slots = (u16, u16);

impl Cluster {
    /// Starts a cluster whose nodes fail over 1.5 seconds after a master died, and waits until it
    /// serves every slot.
    ///
    /// # Panics
    ///
    /// If it doesn't.
    #[must_use = "a cluster dies with its value"]
    pub fn start() -> Self {
        Self::start_with(&ServerOptions::new())
    }

    /// Starts a cluster, each node of which has these options.
    ///
    /// # Panics
    ///
    /// If it does not serve every slot.
    #[must_use = "a cluster dies with its value"]
    pub fn start_with(options: &ServerOptions) -> Self {
        let lines = [
            "cluster-enabled yes",
            "cluster-node-timeout 1500",
            "cluster-replica-no-failover no",
            "cluster-replica-validity-factor 0",
            "cluster-allow-replica-migration no",
        ];
        let options = lines.iter().fold(options.clone(), |options, line| options.with_line(line));
        let nodes = thread::scope(|scope| {
            let start = || scope.spawn(|| Server::start_with(options.clone()));
            let starting: Vec<_> = (0..NODES).map(|_| start()).collect();
            starting.into_iter().map(|node| node.join().expect("it would start alone")).collect()
        });
        let cluster = Self { nodes };
        cluster.share_slots();
        cluster.introduce();
        cluster.assign_replicas();
        cluster.wait_until_ok();
        cluster
    }

    /// Starts a cluster whose nodes send clients to [`ELSEWHERE`], where each has a proxy; among
    /// themselves they talk directly.
    ///
    /// # Panics
    ///
    /// If it does not serve every slot.
    #[must_use = "a cluster dies with its value"]
    pub fn start_behind_proxies() -> (Self, Vec<Proxy>) {
        let name = format!("cluster-announce-hostname {ELSEWHERE}");
        let options = ServerOptions::new().with_line(&name);
        let options = options.with_line("cluster-preferred-endpoint-type hostname");
        let cluster = Self::start_with(&options);
        let word = format!(",{ELSEWHERE} ");
        eventually("names that all nodes know", || {
            let knows_all = |node: &Server| {
                let nodes = node.command(&["CLUSTER", "NODES"]).expect("a running node answers");
                text(&nodes).matches(&word).count() == NODES
            };
            cluster.nodes.iter().all(knows_all).then_some(())
        });
        let proxies = cluster.nodes.iter().map(Proxy::in_front_of).collect();
        (cluster, proxies)
    }

    /// All nodes, whatever they do at the moment.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The URLs of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// The slot of a key.
    ///
    /// # Panics
    ///
    /// If no node answers.
    #[must_use]
    pub fn slot_of(&self, key: &str) -> u16 {
        let slot = self.witness().command(&["CLUSTER", "KEYSLOT", key]);
        redis::from_redis_value(slot.expect("a cluster answers")).expect("a slot is a number")
    }

    /// Which node serves a key, as the first running node sees it.
    ///
    /// # Panics
    ///
    /// If none does.
    #[must_use]
    pub fn master_of(&self, key: &str) -> usize {
        let slot = self.slot_of(key);
        let lines = view(self.witness());
        let master = lines.iter().find(|line| line.serves(slot)).expect("the slot is covered");
        self.index(master.port)
    }

    /// Which nodes serve slots, as the first running node sees it.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        let lines = view(self.witness());
        let serves = |line: &&Line| line.has("master") && !line.slots.is_empty();
        lines.iter().filter(serves).map(|line| self.index(line.port)).collect()
    }

    /// The node that follows a master.
    ///
    /// # Panics
    ///
    /// If none does.
    #[must_use]
    pub fn replica_of(&self, master: usize) -> usize {
        let lines = view(self.witness());
        let id = id(&self.nodes[master], &lines);
        let replica = lines.iter().find(|line| line.master == id && !line.has("fail"));
        self.index(replica.expect("the master has a replica").port)
    }

    /// Lets the replica of a living master take over from it without loss, waits until every
    /// running node knows, and tells which one it is.
    ///
    /// # Panics
    ///
    /// If that doesn't happen.
    pub fn failover(&self, master: usize) -> usize {
        let replica = self.replica_of(master);
        // A failover that is under way when the replica's link is not yet up is given up silently.
        eventually("a manual failover", || {
            let node = &self.nodes[replica];
            if !view(node).iter().any(|line| line.has("myself") && line.has("master")) {
                node.command(&["CLUSTER", "FAILOVER"]).ok();
                return None;
            }
            Some(())
        });
        self.wait_until_ok();
        replica
    }

    /// Kills a node as a power failure would.
    pub fn kill(&self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a killed node again, which rejoins as whatever the others made of it.
    pub fn restart(&self, node: usize) {
        self.nodes[node].restart();
    }

    /// Waits, after a master was killed, until its replica has taken over, and tells which node
    /// that is.
    ///
    /// # Panics
    ///
    /// If none does.
    pub fn wait_for_successor_of(&self, slot: u16, killed: usize) -> usize {
        let port = self.nodes[killed].port();
        let successor = eventually("a successor", || {
            let served = |node| view(node).into_iter().find(|line| line.serves(slot));
            let ports: BTreeSet<_> =
                self.running().map(|node| served(node).map(|l| l.port)).collect();
            let agreed = (ports.len() == 1).then(|| ports.first().copied()).flatten().flatten();
            agreed.filter(|agreed| *agreed != port)
        });
        self.wait_until_ok();
        self.index(successor)
    }

    /// Leaves slots to nobody, so that the whole cluster refuses commands unless it was started
    /// with `cluster-require-full-coverage no`.
    ///
    /// # Panics
    ///
    /// If a node still knows an owner in the end.
    pub fn drop_slots(&self, slots: RangeInclusive<u16>) {
        let (first, last) = (*slots.start(), *slots.end());
        // Who hears from the owner before the owner has let go learns of it again.
        eventually("slots without an owner", || {
            let mut owned = false;
            for node in self.running() {
                for (from, to) in view(node).iter().flat_map(|line| &line.slots) {
                    let (from, to) = ((*from).max(first), (*to).min(last));
                    if from <= to {
                        owned = true;
                        let (from, to) = (from.to_string(), to.to_string());
                        node.command(&["CLUSTER", "DELSLOTSRANGE", &from, &to]).ok();
                    }
                }
            }
            (!owned).then_some(())
        });
        let whole = |node: &Server| {
            let coverage = ["CONFIG", "GET", "cluster-require-full-coverage"];
            let answer = node.command(&coverage).expect("a running node answers");
            redis::from_redis_value::<Vec<String>>(answer).is_ok_and(|pair| pair[1] == "yes")
        };
        eventually("a cluster that knows what it lost", || {
            self.running().all(|node| !whole(node) || !is_ok(node)).then_some(())
        });
    }

    /// Gives slots that nobody has to a master.
    ///
    /// # Panics
    ///
    /// If somebody has them, or the cluster does not get well.
    pub fn add_slots(&self, master: usize, slots: RangeInclusive<u16>) {
        let (from, to) = (slots.start().to_string(), slots.end().to_string());
        let added = self.nodes[master].command(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]);
        added.expect("nobody has the slots");
        self.wait_until_ok();
    }

    /// Waits until every running node says that all is well, sees all others that run in the same
    /// roles, and every running replica is connected to its master.
    ///
    /// # Panics
    ///
    /// If that doesn't happen.
    pub fn wait_until_ok(&self) {
        eventually("a cluster that is well", || {
            let running: BTreeSet<u16> = self.running().map(Server::port).collect();
            let well = self.running().all(|node| is_well(node, &running));
            let views: BTreeSet<_> = self.running().map(|node| roles(node, &running)).collect();
            (well && views.len() == 1).then_some(())
        });
    }

    fn share_slots(&self) {
        let share = usize::from(LAST_SLOT) / MASTERS + 1;
        for (index, node) in self.nodes.iter().enumerate() {
            let epoch = (index + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).expect("the node is new");
            if index < MASTERS {
                let first = (index * share).to_string();
                let last = ((index + 1) * share - 1).min(LAST_SLOT.into()).to_string();
                let added = node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
                added.expect("the node is new");
            }
        }
    }

    fn introduce(&self) {
        for node in &self.nodes[1..] {
            let port = node.port().to_string();
            let met = self.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port]);
            met.expect("a node takes an address");
        }
        eventually("nodes that know each other", || {
            let knows_all = |node| {
                let lines = view(node);
                lines.len() == NODES && !lines.iter().any(|line| line.has("handshake"))
            };
            self.nodes.iter().all(knows_all).then_some(())
        });
    }

    fn assign_replicas(&self) {
        for (master, replica) in self.nodes.iter().zip(&self.nodes[MASTERS..]) {
            let id = id(master, &view(master));
            replica.command(&["CLUSTER", "REPLICATE", &id]).expect("the nodes know each other");
        }
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    fn witness(&self) -> &Server {
        self.running().next().expect("a node runs")
    }

    fn index(&self, port: u16) -> usize {
        self.nodes.iter().position(|node| node.port() == port).expect("the node is ours")
    }
}

impl Line {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let port = words[1].split(['@', ',']).next().and_then(|address| address.rsplit(':').next());
        let slots = words[8..].iter().filter(|word| !word.starts_with('['));
        Self {
            id: words[0].to_owned(),
            port: port.and_then(|digits| digits.parse().ok()).expect("an address has a port"),
            flags: words[2].split(',').map(str::to_owned).collect(),
            master: words[3].to_owned(),
            connected: words[7] == "connected",
            slots: slots.map(|word| range(word)).collect(),
        }
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }

    fn serves(&self, slot: u16) -> bool {
        self.has("master") && self.slots.iter().any(|(from, to)| (*from..=*to).contains(&slot))
    }
}

/// How a running node sees the cluster.
fn view(node: &Server) -> Vec<Line> {
    asked_for_view(node).expect("a running node answers")
}

/// How a node sees the cluster, if it answers.
pub(super) fn asked_for_view(node: &Server) -> RedisResult<Vec<Line>> {
    let answer = node.command(&["CLUSTER", "NODES"])?;
    Ok(text(&answer).lines().map(Line::parse).collect())
}

/// Which master each running node follows, if any, and which slots it has, as a node sees it.
fn roles(node: &Server, running: &BTreeSet<u16>) -> Vec<(u16, String, Vec<Slots>)> {
    let alive = view(node).into_iter().filter(|line| running.contains(&line.port));
    let mut roles: Vec<_> = alive.map(|line| (line.port, line.master, line.slots)).collect();
    roles.sort();
    roles
}

fn range(word: &str) -> Slots {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    let slot = |digits: &str| digits.parse().expect("a slot is a number");
    (slot(from), slot(to))
}

pub(super) fn id(node: &Server, lines: &[Line]) -> String {
    let line = lines.iter().find(|line| line.port == node.port());
    line.expect("the nodes know each other").id.clone()
}

fn is_ok(node: &Server) -> bool {
    let answer = node.command(&["CLUSTER", "INFO"]).unwrap_or(Value::Nil);
    text(&answer).lines().any(|line| line == "cluster_state:ok")
}

fn is_well(node: &Server, running: &BTreeSet<u16>) -> bool {
    let lines = view(node);
    let alive = lines.iter().filter(|line| running.contains(&line.port));
    let seen = alive.clone().all(|line| {
        let failed = line.has("fail") || line.has("fail?") || line.has("handshake");
        line.has("myself") || (line.connected && !failed)
    });
    let mut replication = node.info("replication");
    let link = replication.remove("master_link_status");
    seen && alive.count() == running.len() && is_ok(node) && link.is_none_or(|link| link == "up")
}
