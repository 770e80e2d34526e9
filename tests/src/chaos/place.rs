//! Where the locks are: real servers behind bad networks, or a directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lock_proto::Jitter;

use super::backend::Backend;
use super::fault::{ClusterFault, Fault, FileFault, PostgresFault, RedisFault, Trouble, Void};
use super::pick;
use crate::postgres::PostgresServer;
use crate::redis::{Cluster, Mode, Proxy, Server, ServerOptions};

/// Workers reach the servers by this many ways, so that one may be cut off and another not.
const WAYS: usize = 2;

const VOTERS: usize = 3;

/// What a slow network adds in each direction.
const DELAYS_MS: [u64; 4] = [5, 50, 300, 1200];

/// How long it is at most between two keys of a slot that moves.
const LONGEST_REST: Duration = Duration::from_millis(300);

/// The locks of the workers, as keys.
const KEYS: [&str; 3] = ["m", "rw", "s"];

/// Where the locks are.
pub(super) struct Place {
    pub(super) backend: Backend,
    kind: Kind,
    /// Of each way one to each server; to a node of a cluster there is one way only, since it sends
    /// all clients to the same place.
    proxies: Vec<Proxy>,
    frozen: BTreeSet<usize>,
}

enum Kind {
    Redis(Vec<Server>),
    Cluster(Box<Cluster>),
    Postgres(Box<PostgresServer>),
    Files(PathBuf),
    Nowhere,
}

/// What became of a try to do harm.
pub(super) enum Struck {
    /// It can't be done at the moment.
    Nothing,
    /// It is done.
    Done,
    /// It went wrong half-way, and voids what this says.
    Upset(Void),
    /// It is to be undone in a while.
    Until(Undo),
}

/// What is to be undone later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    /// A worker goes on.
    Resume(u32),
    /// A server goes on.
    Thaw(usize),
    /// A network works again.
    Mend(usize),
    /// A network works again, but no connection on which it has lost something.
    Reconnect(usize),
}

impl Place {
    pub(super) fn start(backend: Backend, folder: &Path) -> Self {
        let mut proxies = Vec::new();
        let kind = match backend {
            Backend::Redis => Kind::Redis(vec![remembering()]),
            Backend::Redlock => Kind::Redis((0..VOTERS).map(|_| remembering()).collect()),
            Backend::Cluster => {
                let (cluster, in_front) = Cluster::start_behind_proxies();
                proxies = in_front;
                Kind::Cluster(Box::new(cluster))
            }
            Backend::Postgres => Kind::Postgres(Box::new(PostgresServer::start())),
            Backend::File => Kind::Files(folder.join("locks")),
            Backend::Broken => Kind::Nowhere,
        };
        let ways = || match &kind {
            Kind::Redis(servers) => servers.iter().map(Proxy::to).collect(),
            Kind::Postgres(server) => vec![server.proxy()],
            Kind::Cluster(_) | Kind::Files(_) | Kind::Nowhere => Vec::new(),
        };
        proxies.extend((0..WAYS).flat_map(|_| ways()));
        Self { backend, kind, proxies, frozen: BTreeSet::new() }
    }

    /// Where a worker finds the locks.
    pub(super) fn url(&self, worker: u32) -> String {
        let way = worker as usize % WAYS;
        let addresses = |proxies: &[Proxy]| {
            let addresses: Vec<String> = proxies.iter().map(Proxy::address).collect();
            addresses.join(",")
        };
        match &self.kind {
            Kind::Redis(servers) => {
                let count = servers.len();
                let kind = if count > 1 { "redis+redlock" } else { "redis" };
                format!("{kind}://{}", addresses(&self.proxies[way * count..][..count]))
            }
            Kind::Cluster(_) => format!("redis+cluster://{}", addresses(&self.proxies)),
            Kind::Postgres(_) => self.proxies[way].url(),
            Kind::Files(directory) => format!("file:{}", directory.display()),
            Kind::Nowhere => "memory:".to_owned(),
        }
    }

    /// What can be done here.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let network = [
            Trouble::Cut,
            Trouble::Slow,
            Trouble::Refuses,
            Trouble::BlackHole,
            Trouble::LosesAnswers,
            Trouble::HoldsAnswers,
        ];
        let mut faults = match &self.kind {
            Kind::Redis(_) => [
                RedisFault::Restart,
                RedisFault::RestartEmpty,
                RedisFault::Flush,
                RedisFault::Freeze,
            ]
            .map(Fault::Redis)
            .to_vec(),
            Kind::Cluster(_) => [
                ClusterFault::FailOver,
                ClusterFault::HandOver,
                ClusterFault::Flush,
                ClusterFault::Freeze,
                ClusterFault::Disconnect,
                ClusterFault::MoveSlot,
            ]
            .map(Fault::Cluster)
            .to_vec(),
            Kind::Postgres(_) => {
                [PostgresFault::Restart, PostgresFault::Terminate, PostgresFault::Freeze]
                    .map(Fault::Postgres)
                    .to_vec()
            }
            Kind::Files(_) => [FileFault::Delete, FileFault::Replace, FileFault::DeleteDirectory]
                .map(Fault::Files)
                .to_vec(),
            Kind::Nowhere => Vec::new(),
        };
        if !self.proxies.is_empty() {
            faults.extend(network.map(Fault::Network));
        }
        faults
    }

    /// Does it, if that is possible at the moment.
    pub(super) fn strike(&mut self, fault: Fault, dice: &mut Jitter) -> Struck {
        let struck = match (&self.kind, fault) {
            (_, Fault::Network(trouble)) => {
                let number = pick(dice, self.proxies.len());
                strike_network(trouble, &self.proxies[number], number, dice)
            }
            (Kind::Redis(servers), Fault::Redis(fault)) => {
                let number = pick(dice, servers.len());
                let frozen = self.frozen.contains(&number);
                if frozen { Struck::Nothing } else { strike_redis(fault, &servers[number], number) }
            }
            // Whoever is frozen answers none of the questions that a fault needs.
            _ if !self.frozen.is_empty() => Struck::Nothing,
            (Kind::Cluster(cluster), Fault::Cluster(fault)) => strike_cluster(fault, cluster, dice),
            (Kind::Postgres(server), Fault::Postgres(fault)) => strike_postgres(fault, server),
            (Kind::Files(directory), Fault::Files(fault)) => strike_files(fault, directory),
            _ => Struck::Nothing,
        };
        if let Struck::Until(Undo::Thaw(server)) = struck {
            self.frozen.insert(server);
        }
        struck
    }

    /// Undoes what was done, but to workers.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Resume(_) => {}
            Undo::Thaw(server) => {
                self.frozen.remove(&server);
                match &self.kind {
                    Kind::Redis(servers) => servers[server].resume(),
                    Kind::Cluster(cluster) => cluster.nodes()[server].resume(),
                    Kind::Postgres(server) => server.resume(),
                    Kind::Files(_) | Kind::Nowhere => {}
                }
            }
            Undo::Mend(number) | Undo::Reconnect(number) => {
                let proxy = &self.proxies[number];
                proxy.delay(Duration::ZERO, Duration::ZERO);
                proxy.set(Mode::Pass);
                // On a connection that has lost something nothing arrives any more. Clients of
                // Redis find out; those of PostgreSQL leave that to their kernel, which hears
                // nothing wrong from the proxy.
                if matches!((undo, &self.kind), (Undo::Reconnect(_), Kind::Postgres(_))) {
                    proxy.cut();
                }
            }
        }
    }
}

/// A server that forgets nothing when it is killed: it has told the kernel before it answers.
fn remembering() -> Server {
    ServerOptions::new().with_append_only().with_line("appendfsync no").start()
}

fn strike_network(trouble: Trouble, proxy: &Proxy, number: usize, dice: &mut Jitter) -> Struck {
    match trouble {
        Trouble::Cut => {
            proxy.cut();
            return Struck::Done;
        }
        Trouble::Slow => {
            let mut delay = || Duration::from_millis(DELAYS_MS[pick(dice, DELAYS_MS.len())]);
            proxy.delay(delay(), delay());
        }
        Trouble::Refuses => {
            proxy.set(Mode::Refuse);
            proxy.cut();
        }
        Trouble::BlackHole | Trouble::LosesAnswers => {
            let whole = trouble == Trouble::BlackHole;
            proxy.set(if whole { Mode::BlackHole } else { Mode::LoseAnswers });
            return Struck::Until(Undo::Reconnect(number));
        }
        Trouble::HoldsAnswers => proxy.set(Mode::HoldAnswers),
    }
    Struck::Until(Undo::Mend(number))
}

fn strike_redis(fault: RedisFault, server: &Server, number: usize) -> Struck {
    match fault {
        RedisFault::Restart => server.restart(),
        RedisFault::RestartEmpty => server.restart_empty(),
        RedisFault::Flush => drop(server.command(&["FLUSHALL"]).expect("a running server answers")),
        RedisFault::Freeze => {
            server.pause();
            return Struck::Until(Undo::Thaw(number));
        }
    }
    Struck::Done
}

fn strike_cluster(fault: ClusterFault, cluster: &Cluster, dice: &mut Jitter) -> Struck {
    // A master that was stopped may be about to lose its place.
    cluster.wait_until_ok();
    let key = KEYS[pick(dice, KEYS.len())];
    let master = cluster.master_of(key);
    match fault {
        ClusterFault::FailOver => {
            cluster.kill(master);
            cluster.wait_for_successor_of(cluster.slot_of(key), master);
            cluster.restart(master);
            cluster.wait_until_ok();
        }
        ClusterFault::HandOver => drop(cluster.failover(master)),
        ClusterFault::Flush => {
            let flushed = cluster.nodes()[master].command(&["FLUSHALL"]);
            flushed.expect("a running master answers");
        }
        ClusterFault::Disconnect => {
            for kind in ["normal", "pubsub"] {
                let killed = cluster.nodes()[master].command(&["CLIENT", "KILL", "TYPE", kind]);
                killed.expect("a running server answers");
            }
        }
        ClusterFault::Freeze => {
            cluster.nodes()[master].pause();
            return Struck::Until(Undo::Thaw(master));
        }
        ClusterFault::MoveSlot => return move_slot(cluster, key, master, dice),
    }
    Struck::Done
}

/// Moves the slot of `key` from its master to another, with rests between the keys.
fn move_slot(cluster: &Cluster, key: &str, from: usize, dice: &mut Jitter) -> Struck {
    let others: Vec<usize> = cluster.masters().into_iter().filter(|node| *node != from).collect();
    let to = others[pick(dice, others.len())];
    let Ok(open) = cluster.begin_move(cluster.slot_of(key), from, to) else {
        return Struck::Nothing;
    };
    let moved = open.keys().and_then(|keys| {
        keys.iter().try_for_each(|key| {
            thread::sleep(dice.between(Duration::ZERO, LONGEST_REST));
            open.move_key(key)
        })
    });
    let ended = moved.and_then(|()| open.end());
    if ended.is_err() {
        // A busy machine may take a master for dead, and its replica knows of no move.
        open.give_up();
    }
    cluster.wait_until_ok();
    if ended.is_ok() { Struck::Done } else { Struck::Upset(Void::Holds) }
}

fn strike_postgres(fault: PostgresFault, server: &PostgresServer) -> Struck {
    match fault {
        PostgresFault::Restart => server.restart(),
        PostgresFault::Terminate => drop(server.psql(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_locks \
             WHERE locktype = 'advisory' AND granted ORDER BY random() LIMIT 1) AS holder",
        )),
        PostgresFault::Freeze => {
            server.pause();
            return Struck::Until(Undo::Thaw(0));
        }
    }
    Struck::Done
}

fn strike_files(fault: FileFault, directory: &Path) -> Struck {
    match fault {
        FileFault::Delete => each_file(directory, |path| fs::remove_file(path)),
        FileFault::Replace => each_file(directory, |path| {
            let planted = path.with_extension("planted");
            fs::write(&planted, "")?;
            fs::rename(planted, path)
        }),
        // Somebody may be making a file in it.
        FileFault::DeleteDirectory => drop(fs::remove_dir_all(directory)),
    }
    Struck::Done
}

/// Does something to each lock file; workers may be faster to delete one.
fn each_file(directory: &Path, spoil: impl Fn(&Path) -> io::Result<()>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let spoiled = spoil(&entry.path());
        let gone = spoiled.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        assert!(spoiled.is_ok() || gone, "{}: {spoiled:?}", entry.path().display());
    }
}
