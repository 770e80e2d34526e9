//! Bugs that are known to be found: worlds in which one rule is broken.

use crate::entropy::Entropy;
use crate::postgres_world::{self, Flaw};
use crate::quorum_world::{self, Rule};
use crate::seeds::Simulation;
use crate::service::disk::Lie;
use crate::trace::Trace;
use crate::{memory_world, server_world, world};

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
    BUGS
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
        source: "the path is not checked after locking",
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
        name: "redis-no-drift",
        machine: "redis",
        violates: "exclusion",
        source: "R2: clocks that differ are allowed for",
        simulation: |entropy, trace| {
            server_world::run(server_world::Setting::Trusting, entropy, trace)
        },
    },
    Bug {
        name: "redis-counted-fences",
        machine: "redis-forgetful",
        violates: "fence",
        source: "R22: fences are drawn by INCR, whatever happened to the counter",
        simulation: |entropy, trace| {
            server_world::run(server_world::Setting::Incrementing, entropy, trace)
        },
    },
    Bug {
        name: "redlock-gives-back-any-ballot",
        machine: "redlock",
        violates: "exclusion",
        source: "R1: a vote is given back at its own ballot only",
        simulation: |entropy, trace| broken(Rule::StepBackAtItsBallot, entropy, trace),
    },
    Bug {
        name: "redlock-no-drift",
        machine: "redlock",
        violates: "exclusion",
        source: "R2: clocks that differ are allowed for",
        simulation: |entropy, trace| broken(Rule::Drift, entropy, trace),
    },
    Bug {
        name: "redlock-shortens",
        machine: "redlock",
        violates: "exclusion",
        source: "R4: no command shortens a lease",
        simulation: |entropy, trace| broken(Rule::NeverShorten, entropy, trace),
    },
    Bug {
        name: "redlock-takes-another",
        machine: "redlock",
        violates: "exclusion",
        source: "R20: what is another's is not taken",
        simulation: |entropy, trace| broken(Rule::TakeOnlyWhatIsMissing, entropy, trace),
    },
    Bug {
        name: "redlock-falling-ballots",
        machine: "redlock",
        violates: "ballots",
        source: "R18: a server votes only for ballots above all that it has seen",
        simulation: |entropy, trace| broken(Rule::RisingBallots, entropy, trace),
    },
    Bug {
        name: "redlock-mixed-ballots",
        machine: "redlock",
        violates: "ballots",
        source: "R19: only yeses at one ballot count together",
        simulation: |entropy, trace| broken(Rule::SameBallot, entropy, trace),
    },
    Bug {
        name: "postgres-no-recheck",
        machine: "postgres",
        violates: "leak",
        source: "an error is taken for the proof that nothing is held",
        simulation: |entropy, trace| postgres_world::run(Flaw::ForgetsToRecheck, entropy, trace),
    },
    Bug {
        name: "postgres-keeps-doubt",
        machine: "postgres",
        violates: "leak",
        source: "a session in doubt goes on",
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
        source: "each lock is given back twice",
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
        source: "who holds a lock on a session that is gone does not hear of it",
        simulation: |entropy, trace| postgres_world::run(Flaw::TellsNoLoss, entropy, trace),
    },
];

fn lying(lie: Lie, entropy: Entropy, trace: &mut Trace) {
    world::run(world::Setting::lying(lie), entropy, trace);
}

fn broken(rule: Rule, entropy: Entropy, trace: &mut Trace) {
    quorum_world::run(quorum_world::Setting::Broken(rule), entropy, trace);
}
