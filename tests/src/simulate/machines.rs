//! The worlds.

use super::Machine;
use crate::{memory_world, postgres_world, quorum_world, server_world, world};

/// Every machine, in the world that its locks must survive.
#[must_use]
pub fn machines() -> &'static [Machine] {
    MACHINES
}

const MACHINES: &[Machine] = &[
    Machine {
        name: "memory",
        about: "acquisitions on one lock table",
        simulation: |entropy, trace| {
            memory_world::run(memory_world::Driver::Honest, entropy, trace);
        },
        rare_states: &[
            "a cancel in the queue",
            "a late grant is given back",
            "a lease ran out",
            "a lock was given back at once",
            "a lock was revoked",
            "a lock was shared",
            "a lock was taken at once",
        ],
    },
    Machine {
        name: "file",
        about: "processes that lock files of one directory, and are killed",
        simulation: |entropy, trace| world::run(world::Setting::mild(), entropy, trace),
        rare_states: &[
            "a cancel in the queue",
            "a contended gate",
            "a late grant is given back",
            "a missing directory",
            "a replaced file was opened",
            "a try gives permits back",
            "permits are out",
            "readers share",
            "somebody waits for a killed process",
        ],
    },
    Machine {
        name: "file-harsh",
        about: "the same, while strangers delete files and system calls fail",
        simulation: |entropy, trace| world::run(world::Setting::harsh(), entropy, trace),
        rare_states: &["a fault", "a held file was replaced", "a torn record"],
    },
    Machine {
        name: "redis",
        about: "clients of one Redis server that keeps what it was told",
        simulation: |entropy, trace| {
            server_world::run(server_world::Setting::Faithful, entropy, trace);
        },
        rare_states: &[
            "a client crashed",
            "a lease ran out",
            "a lock was acquired",
            "a lock was passed on within its process",
            "a request arrived after its connection was gone",
            "a warning",
            "readers share",
            "whoever waits for ever is served",
        ],
    },
    Machine {
        name: "redis-forgetful",
        about: "clients of one Redis server that starts anew with old data or none",
        simulation: |entropy, trace| {
            server_world::run(server_world::Setting::Forgetful, entropy, trace);
        },
        rare_states: &["a lock was revoked", "the server forgot"],
    },
    Machine {
        name: "cluster",
        about: "clients of a Redis Cluster in which slots move and masters are replaced",
        simulation: |entropy, trace| {
            server_world::run(server_world::Setting::Cluster, entropy, trace);
        },
        rare_states: &[
            "ASK",
            "MOVED",
            "TRYAGAIN to a holder",
            "TRYAGAIN to whoever asks",
            "TRYAGAIN to whoever leaves",
            "a client crashed",
            "a lease ran out",
            "a lock is held across a whole move",
            "a lock was acquired",
            "a master is replaced while the slot moves",
            "a node that is gone was asked",
            "a request arrived after its connection was gone",
            "a request arrived twice",
            "a script lost its keys half-way",
            "readers share",
            "the slot moves while somebody waits",
            "whoever waits for ever is served",
        ],
    },
    Machine {
        name: "cluster-forgetful",
        about: "the same, and replicas may have missed what their masters did last",
        simulation: |entropy, trace| {
            server_world::run(server_world::Setting::ForgetfulCluster, entropy, trace);
        },
        rare_states: &["CLUSTERDOWN", "a lock was revoked", "a master is replaced"],
    },
    Machine {
        name: "redlock",
        about: "clients of one to nine Redis servers that vote",
        simulation: |entropy, trace| {
            quorum_world::run(quorum_world::Setting::Faithful, entropy, trace);
        },
        rare_states: &[
            "a client crashed",
            "a lease ran out",
            "a lock was acquired",
            "a lock was prolonged",
            "a partition",
            "a request arrived after its connection was gone",
            "a request arrived twice",
            "a server was unwilling",
            "a server's clock went back",
            "a waiter was nudged",
            "a warning",
            "a yes at another ballot",
            "permits are out",
            "readers share",
            "whoever waits for ever is served",
        ],
    },
    Machine {
        name: "redlock-forgetful",
        about: "the same, and one of the servers may forget everything, once",
        simulation: |entropy, trace| {
            quorum_world::run(quorum_world::Setting::Forgetful, entropy, trace);
        },
        rare_states: &[
            "a server forgot",
            "requests outlived the restart of their server",
            "table B, (c)",
        ],
    },
    Machine {
        name: "postgres",
        about: "clients of one PostgreSQL server, through pools of sessions",
        simulation: |entropy, trace| {
            postgres_world::run(postgres_world::Flaw::None, entropy, trace);
        },
        rare_states: &[
            "a backend was killed",
            "a cancel found nothing to cancel",
            "a cancel was lost",
            "a client crashed",
            "a connection broke",
            "a failure",
            "a grant met a cancel",
            "a grant met a time-out",
            "a lock closed in doubt",
            "a lock was acquired",
            "a lock was lost",
            "a lock was passed on within its process",
            "a standby that lacked transactions was promoted",
            "a standby was promoted",
            "a time-out",
            "a write with an older token was refused",
            "readers share",
            "somebody stood by for a session",
            "the server stopped",
            "whoever waits for ever is served",
        ],
    },
    Machine {
        name: "postgres-pooled",
        about: "the same through a pooler, by transaction or by connection",
        simulation: |entropy, trace| {
            postgres_world::run_pooled(postgres_world::Pooling::Sound, entropy, trace);
        },
        rare_states: &[
            "a backend was killed",
            "a client crashed",
            "a client left in the middle of its transaction",
            "a connection was bound to another session",
            "a grant met a cancel",
            "a grant met a time-out",
            "a lock was lost",
            "a lock was passed on within its process",
            "a session outlived its client",
            "a session that nobody had was killed",
            "readers share",
            "somebody waited for a session for too long",
            "the server stopped",
            "whoever waits for ever is served",
        ],
    },
];
