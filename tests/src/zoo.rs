//! Bugs that are known to be found: worlds in which one rule is broken.
//!
//! They are those of the field, as far as there is a place for them. There is none for
//!
//! | | because |
//! | --- | --- |
//! | a renewal that hangs | a hold ends at its own deadline, whatever is unanswered |
//! | a retried unlock that is told "not the owner" | a release has no such error |
//! | semaphores over counters on several servers | permits are slots there, each voted on |
//! | a hash of names that collides | the 64 bits are those of the sibling for .NET; a collision makes wait |
//! | a part of several locks that stays behind | there is no lock of several names |
//! | barriers and latches | there are none |
//! | late grants that are dropped | a token that was given up is refused: `redis-no-refusal` |
//! | blocking in a drop, tasks that outlive a call | they are of adapters, and have tests there |

mod redis;
mod redlock;

use std::sync::LazyLock;

use crate::entropy::Entropy;
use crate::postgres_world::{self, Flaw, Pooling};
use crate::seeds::Simulation;
use crate::service::disk::Lie;
use crate::trace::Trace;
use crate::{memory_world, world};

/// No bug of the zoo needs more seeds than this, from any seed on.
pub const SEEDS: u64 = 20_000;

/// One known bug, in a world that must find it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Bug {
    /// As it is called on the command line.
    pub name: &'static str,
    /// The name of the machine that has it.
    pub machine: &'static str,
    /// The name of the invariant that it violates.
    pub violates: &'static str,
    /// Where it was seen, or the rule that it breaks.
    pub source: &'static str,
    /// One run of it.
    pub simulation: Simulation,
}

/// Every bug.
#[must_use]
pub fn bugs() -> &'static [Bug] {
    static ALL: LazyLock<Vec<Bug>> = LazyLock::new(|| [redis::BUGS, redlock::BUGS, BUGS].concat());
    &ALL
}

/// The bug of that name.
#[must_use]
pub fn bug(name: &str) -> Option<&'static Bug> {
    bugs().iter().find(|bug| bug.name == name)
}

const BUGS: &[Bug] = &[
    Bug {
        name: "driver-asleep",
        machine: "memory",
        violates: "exclusion",
        source: "a driver that never says that time has passed",
        simulation: |entropy, trace| {
            memory_world::run(memory_world::Driver::Asleep, entropy, trace);
        },
    },
    Bug {
        name: "file-unchecked-inode",
        machine: "file",
        violates: "exclusion",
        source: "distributed-lock F1: the path is not checked after locking",
        simulation: |entropy, trace| lying(Lie::AlwaysTheRightFile, entropy, trace),
    },
    Bug {
        name: "file-nothing-busy",
        machine: "file",
        violates: "exclusion",
        source: "a file system on which locks do nothing",
        simulation: |entropy, trace| lying(Lie::NeverBusy, entropy, trace),
    },
    Bug {
        name: "file-stopped-clock",
        machine: "file",
        violates: "fence",
        source: "the wall clock stands still",
        simulation: |entropy, trace| lying(Lie::StoppedClock, entropy, trace),
    },
    Bug {
        name: "file-posix-locks",
        machine: "file",
        violates: "exclusion",
        source: "fcntl locks: any close of a file drops its process's locks on it",
        simulation: |entropy, trace| lying(Lie::ForgottenAtClose, entropy, trace),
    },
    Bug {
        name: "postgres-keeps-for-pool",
        machine: "postgres",
        violates: "leak",
        source: "distributed-lock P1, sqlx: a session goes back to its pool with the lock",
        simulation: |entropy, trace| postgres_world::run(Flaw::KeepsForThePool, entropy, trace),
    },
    Bug {
        name: "postgres-open-transactions",
        machine: "postgres",
        violates: "leak",
        source: "distributed-lock P7: a transaction is left open",
        simulation: |entropy, trace| postgres_world::run(Flaw::LeavesTransactions, entropy, trace),
    },
    Bug {
        name: "postgres-no-recheck",
        machine: "postgres",
        violates: "leak",
        source: "madelson #147: a time-out races with the grant, and its error is taken for a no",
        simulation: |entropy, trace| postgres_world::run(Flaw::ForgetsToRecheck, entropy, trace),
    },
    Bug {
        name: "postgres-keeps-doubt",
        machine: "postgres",
        violates: "leak",
        source: "sqlx: a session in doubt goes back to its pool",
        simulation: |entropy, trace| postgres_world::run(Flaw::ClosesNothing, entropy, trace),
    },
    Bug {
        name: "postgres-waits-beside-holds",
        machine: "postgres",
        violates: "waiting",
        source: "a wait has a session on which something is held",
        simulation: |entropy, trace| postgres_world::run(Flaw::WaitsBesideHolds, entropy, trace),
    },
    Bug {
        name: "postgres-unlocks-twice",
        machine: "postgres",
        violates: "truth",
        source: "stacked locks: each is given back twice",
        simulation: |entropy, trace| postgres_world::run(Flaw::UnlocksTwice, entropy, trace),
    },
    Bug {
        name: "postgres-hasty-cancel",
        machine: "postgres",
        violates: "stray",
        source: "the session goes on before a cancel has come to its end",
        simulation: |entropy, trace| postgres_world::run(Flaw::WaitsForNoCancel, entropy, trace),
    },
    Bug {
        name: "postgres-forgets-gate",
        machine: "postgres",
        violates: "leak",
        source: "whoever is inside the gate is forgotten if its question was not asked",
        simulation: |entropy, trace| postgres_world::run(Flaw::ForgetsTheGate, entropy, trace),
    },
    Bug {
        name: "postgres-tells-no-loss",
        machine: "postgres",
        violates: "loss",
        source: "distributed-lock P6: a killed backend is never told of",
        simulation: |entropy, trace| postgres_world::run(Flaw::TellsNoLoss, entropy, trace),
    },
    Bug {
        name: "postgres-unflushed-fence",
        machine: "postgres",
        violates: "fence",
        source: "the number of a transaction that left nothing on disk is given out again",
        simulation: |entropy, trace| postgres_world::run(Flaw::LeavesLogInMemory, entropy, trace),
    },
    Bug {
        name: "postgres-unheard-promotion",
        machine: "postgres",
        violates: "fence",
        source: "two standbys that are promoted unheard of write the same timeline",
        simulation: |entropy, trace| postgres_world::run(Flaw::PromotesStrangers, entropy, trace),
    },
    Bug {
        name: "postgres-unfenced-storage",
        machine: "postgres",
        violates: "storage",
        source: "Kleppmann: a late write of one whose session is gone",
        simulation: |entropy, trace| postgres_world::run(Flaw::UnfencedStorage, entropy, trace),
    },
    Bug {
        name: "postgres-session-locks-pooled",
        machine: "postgres-pooled",
        violates: "exclusion",
        source: "authentik #23876: locks of sessions that change hands between transactions",
        simulation: |entropy, trace| {
            postgres_world::run_pooled(Pooling::SessionLocks, entropy, trace);
        },
    },
    Bug {
        name: "postgres-no-reset",
        machine: "postgres-pooled",
        violates: "leak",
        source: "a pooler passes sessions on with what is held there",
        simulation: |entropy, trace| {
            postgres_world::run_pooled(Pooling::NoReset, entropy, trace);
        },
    },
];

fn lying(lie: Lie, entropy: Entropy, trace: &mut Trace) {
    world::run(world::Setting::lying(lie), entropy, trace);
}
