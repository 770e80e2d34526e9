//! What is done to workers, servers and networks, and what it voids.

use super::backend::Backend;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A worker is killed, and another started.
    Kill,
    /// A worker is stopped for a while.
    Stop,
    /// What is between some workers and a server does harm.
    Network(Trouble),
    /// To a Redis server.
    Redis(RedisFault),
    /// To a cluster.
    Cluster(ClusterFault),
    /// To a PostgreSQL server.
    Postgres(PostgresFault),
    /// To a directory.
    Files(FileFault),
}

/// What a network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It closes all connections.
    Cut,
    /// It is slow.
    Slow,
    /// It closes all connections, and lets nobody connect for a while.
    Refuses,
    /// It loses everything, and says nothing.
    BlackHole,
    /// It loses what servers say.
    LosesAnswers,
    /// It keeps what servers say, and delivers it later.
    HoldsAnswers,
}

/// What is done to a Redis server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisFault {
    /// It is killed and started again; what it told to the kernel it knows.
    Restart,
    /// It is killed and started again, and knows nothing.
    RestartEmpty,
    /// It is made to forget everything.
    Flush,
    /// It is stopped for a while.
    Freeze,
}

/// What is done to the master of a lock in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClusterFault {
    /// It is killed, and its replica takes over what it has heard of.
    FailOver,
    /// It gives its place to its replica, in good order.
    HandOver,
    /// It is made to forget everything.
    Flush,
    /// It is stopped for a while.
    Freeze,
    /// It closes all its connections.
    Disconnect,
    /// The slot of the lock moves to another master, key by key.
    MoveSlot,
}

/// What is done to a PostgreSQL server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostgresFault {
    /// It is killed and started again.
    Restart,
    /// A session that holds a lock is ended by an administrator.
    Terminate,
    /// It is stopped for a while.
    Freeze,
}

/// What is done to lock files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFault {
    /// All are deleted.
    Delete,
    /// All are replaced by others.
    Replace,
    /// Their directory is deleted.
    DeleteDirectory,
}

/// What does not hold any more while something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Void {
    /// Who holds a lock may have it taken away without knowing at once.
    Holds,
    /// That, and fencing tokens may be given out twice.
    HoldsAndFences,
}

impl Fault {
    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill a worker",
            Self::Stop => "stop a worker",
            Self::Network(trouble) => match trouble {
                Trouble::Cut => "cut the network",
                Trouble::Slow => "slow the network down",
                Trouble::Refuses => "refuse connections",
                Trouble::BlackHole => "lose everything",
                Trouble::LosesAnswers => "lose answers",
                Trouble::HoldsAnswers => "hold answers back",
            },
            Self::Redis(RedisFault::Restart) | Self::Postgres(PostgresFault::Restart) => {
                "restart a server"
            }
            Self::Redis(RedisFault::RestartEmpty) => "restart a server without its data",
            Self::Redis(RedisFault::Flush) | Self::Cluster(ClusterFault::Flush) => "flush a server",
            Self::Redis(RedisFault::Freeze)
            | Self::Cluster(ClusterFault::Freeze)
            | Self::Postgres(PostgresFault::Freeze) => "stop a server",
            Self::Cluster(ClusterFault::FailOver) => "kill a master",
            Self::Cluster(ClusterFault::HandOver) => "trade a master for its replica",
            Self::Cluster(ClusterFault::Disconnect) => "close connections",
            Self::Cluster(ClusterFault::MoveSlot) => "move a slot",
            Self::Postgres(PostgresFault::Terminate) => "end a session",
            Self::Files(FileFault::Delete) => "delete the lock files",
            Self::Files(FileFault::Replace) => "replace the lock files",
            Self::Files(FileFault::DeleteDirectory) => "delete the directory",
        }
    }

    /// What it voids while it is done and while it is undone.
    pub(super) fn voids(self, backend: Backend) -> Option<Void> {
        match self {
            Self::Kill | Self::Stop => None,
            Self::Redis(RedisFault::Restart | RedisFault::Freeze) => None,
            Self::Redis(RedisFault::RestartEmpty | RedisFault::Flush) => {
                let repeats = backend.may_repeat_fences();
                Some(if repeats { Void::HoldsAndFences } else { Void::Holds })
            }
            Self::Cluster(
                ClusterFault::HandOver | ClusterFault::Disconnect | ClusterFault::MoveSlot,
            ) => None,
            // The replica of a master that is stopped may take over as well.
            Self::Cluster(ClusterFault::FailOver | ClusterFault::Flush | ClusterFault::Freeze) => {
                Some(Void::Holds)
            }
            Self::Postgres(PostgresFault::Freeze) => None,
            // A lock of PostgreSQL lasts as long as its connection, of whose end the server may be
            // the first to know.
            Self::Postgres(PostgresFault::Restart | PostgresFault::Terminate) => Some(Void::Holds),
            // What was lost on a connection to PostgreSQL is made up for by its end.
            Self::Network(
                Trouble::Cut | Trouble::Refuses | Trouble::BlackHole | Trouble::LosesAnswers,
            ) => (backend == Backend::Postgres).then_some(Void::Holds),
            Self::Network(Trouble::Slow | Trouble::HoldsAnswers) => None,
            // A holder looks after its file twice a second, and whenever it is asked.
            Self::Files(FileFault::Delete | FileFault::Replace | FileFault::DeleteDirectory) => {
                Some(Void::Holds)
            }
        }
    }
}
