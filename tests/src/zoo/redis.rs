//! Bugs of locks on one Redis server.

use super::Bug;
use crate::entropy::Entropy;
use crate::redis_model::Omission;
use crate::server_world::{self, Habit, Rule, Setting};
use crate::trace::Trace;

pub(super) const BUGS: &[Bug] = &[
    Bug {
        name: "redis-plain-delete",
        machine: "redis",
        violates: "exclusion",
        source: "many scripts on the web: DEL without comparing the token",
        simulation: |entropy, trace| script(Omission::ComparedRelease, entropy, trace),
    },
    Bug {
        name: "redis-bare-pexpire",
        machine: "redis",
        violates: "deadline",
        source: "R4, flaw A3: a late refresh shortens the lease",
        simulation: |entropy, trace| script(Omission::LongerLease, entropy, trace),
    },
    Bug {
        name: "redis-no-expiry",
        machine: "redis",
        violates: "liveness",
        source: "SETNX first, EXPIRE later, and a crash between them",
        simulation: |entropy, trace| script(Omission::Expiry, entropy, trace),
    },
    Bug {
        name: "redis-fence-by-get",
        machine: "redis",
        violates: "fence",
        source: "R9, flaw A1; Redisson's getToken: the counter is read as one's own fence",
        simulation: |entropy, trace| script(Omission::OwnNumber, entropy, trace),
    },
    Bug {
        name: "redis-fence-from-one",
        machine: "redis",
        violates: "fence",
        source: "flaw C1; Redisson after a failover: a lost counter starts at one",
        simulation: |entropy, trace| script(Omission::ServerTime, entropy, trace),
    },
    Bug {
        name: "redis-fence-goes-with-lock",
        machine: "redis",
        violates: "fence",
        source: "madelson on MongoDB: the fence ends with the lock's record",
        simulation: |entropy, trace| script(Omission::LastingCounter, entropy, trace),
    },
    Bug {
        name: "redis-counted-fences",
        machine: "redis-forgetful",
        violates: "fence",
        source: "R22, flaw C2: INCR after the counter came back older",
        simulation: |entropy, trace| broken(Rule::MintedPerConnection, entropy, trace),
    },
    Bug {
        name: "redis-own-entry",
        machine: "redis",
        violates: "cleanness",
        source: "R8b and R10, flaw A2: who holds the lock still stands in its queue",
        simulation: |entropy, trace| script(Omission::OwnEntry, entropy, trace),
    },
    Bug {
        name: "redis-no-refusal",
        machine: "redis",
        violates: "refusal",
        source: "R14, flaw A8: a question arrives after the cancel that overtook it",
        simulation: |entropy, trace| script(Omission::Refusal, entropy, trace),
    },
    Bug {
        name: "redis-dead-head",
        machine: "redis",
        violates: "liveness",
        source: "Redisson's fair lock: a dead head keeps everybody waiting",
        simulation: |entropy, trace| script(Omission::DeadHead, entropy, trace),
    },
    Bug {
        name: "redis-client-scores",
        machine: "redis",
        violates: "order",
        source: "Redisson's fair lock: places in the queue by clients' clocks",
        simulation: |entropy, trace| script(Omission::ServerScores, entropy, trace),
    },
    Bug {
        name: "redis-no-hand-over",
        machine: "redis",
        violates: "order",
        source: "publish and retry: a release wakes all and favours newcomers",
        simulation: |entropy, trace| script(Omission::HandOver, entropy, trace),
    },
    Bug {
        name: "redis-newcomers-first",
        machine: "redis",
        violates: "order",
        source: "the script takes a free lock whoever waits",
        simulation: |entropy, trace| script(Omission::QueueFirst, entropy, trace),
    },
    Bug {
        name: "redis-unseen-waiters",
        machine: "redis",
        violates: "order",
        source: "a plain release that does not look for waiters: their wake-up is lost",
        simulation: |entropy, trace| script(Omission::LookedForWaiters, entropy, trace),
    },
    Bug {
        name: "redis-reviving-extend",
        machine: "redis",
        violates: "cleanness",
        source: "redsync's extend that sets, Redisson #7272: renewal races release",
        simulation: |entropy, trace| script(Omission::HeldExtend, entropy, trace),
    },
    Bug {
        name: "redis-one-lease-for-readers",
        machine: "redis",
        violates: "liveness",
        source: "madelson and distributed-lock R13: live readers keep a dead one",
        simulation: |entropy, trace| script(Omission::ReaderLease, entropy, trace),
    },
    Bug {
        name: "redis-leaked-permits",
        machine: "redis",
        violates: "liveness",
        source: "Redisson's plain semaphore: a crash keeps its permits",
        simulation: |entropy, trace| script(Omission::PermitLease, entropy, trace),
    },
    Bug {
        name: "redis-token-per-client",
        machine: "redis",
        violates: "exclusion",
        source: "etcd-client E1: two tasks of one session hold one lock",
        simulation: |entropy, trace| broken(Rule::TokenOfItsOwn, entropy, trace),
    },
    Bug {
        name: "redis-token-again",
        machine: "redis",
        violates: "exclusion",
        source: "R1, flaw A6; distributed-lock R2, etcd #22082: a stale release meets its own token",
        simulation: |entropy, trace| broken(Rule::FreshToken, entropy, trace),
    },
    Bug {
        name: "redis-no-drift",
        machine: "redis",
        violates: "deadline",
        source: "R2: clocks that differ are not allowed for",
        simulation: |entropy, trace| broken(Rule::Drift, entropy, trace),
    },
    Bug {
        name: "redis-counted-from-answer",
        machine: "redis",
        violates: "deadline",
        source: "etcd's client, madelson, async-redis-lock A1, redlock L1: validity from the reply",
        simulation: |entropy, trace| broken(Rule::CountedFromRequest, entropy, trace),
    },
    Bug {
        name: "redis-rounded-up",
        machine: "redis",
        violates: "deadline",
        source: "whole-second leases: a deadline is rounded up",
        simulation: |entropy, trace| broken(Rule::NotRounded, entropy, trace),
    },
    Bug {
        name: "redis-wall-clock",
        machine: "redis",
        violates: "exclusion",
        source: "node-redlock: validity by a clock that is set back",
        simulation: |entropy, trace| broken(Rule::MonotonicClock, entropy, trace),
    },
    Bug {
        name: "redis-sleeping-clock",
        machine: "redis",
        violates: "exclusion",
        source: "a monotonic clock that stops while its machine sleeps",
        simulation: |entropy, trace| broken(Rule::SleeplessClock, entropy, trace),
    },
    Bug {
        name: "redis-loss-at-next-tick",
        machine: "redis",
        violates: "exclusion",
        source: "madelson, etcd, async-redis-lock A2: loss is seen when a timer looks",
        simulation: |entropy, trace| broken(Rule::DeadlineItself, entropy, trace),
    },
    Bug {
        name: "redis-loss-not-told",
        machine: "redis",
        violates: "exclusion",
        source: "distributed-lock R7 and R8: the lock dies and nobody hears of it",
        simulation: |entropy, trace| broken(Rule::ToldLoss, entropy, trace),
    },
    Bug {
        name: "redis-lost-answer-is-no",
        machine: "redis",
        violates: "cleanness",
        source: "an acquire that timed out and took effect is taken for a no",
        simulation: |entropy, trace| broken(Rule::UnknownIsNoNo, entropy, trace),
    },
    Bug {
        name: "redis-forgetful-cancel",
        machine: "redis",
        violates: "cleanness",
        source: "rslock, distributed-lock R16: a cancelled acquire forgets what it sent",
        simulation: |entropy, trace| broken(Rule::SentIsSent, entropy, trace),
    },
    Bug {
        name: "redis-retry-blocks-itself",
        machine: "redis",
        violates: "liveness",
        source: "R7, node-redlock #369: a retry with a new token is blocked by the old one",
        simulation: |entropy, trace| broken(Rule::SameToken, entropy, trace),
    },
    Bug {
        name: "redis-undated-grant",
        machine: "redis",
        violates: "deadline",
        source: "R11, flaw A4: a late grant counts from the latest refresh",
        simulation: |entropy, trace| broken(Rule::OwnStamp, entropy, trace),
    },
    Bug {
        name: "redis-claim-by-refresh",
        machine: "redis",
        violates: "cleanness",
        source: "R13: a claim is asked for again instead of prolonged",
        simulation: |entropy, trace| broken(Rule::ClaimedByExtend, entropy, trace),
    },
    Bug {
        name: "redis-no-fallback",
        machine: "redis",
        violates: "liveness",
        source: "a waiter that only listens sleeps for ever after a lost message",
        simulation: |entropy, trace| broken(Rule::Fallback, entropy, trace),
    },
    Bug {
        name: "redis-clock-goes-back",
        machine: "redis",
        violates: "fence",
        source: "R23, flaw C3: a counter is lost, and the server's clock went back",
        simulation: |entropy, trace| broken(Rule::ClockGoesOn, entropy, trace),
    },
    Bug {
        name: "redis-clock-goes-ahead",
        machine: "redis",
        violates: "exclusion",
        source: "redis: leases end by the wall clock, which somebody sets",
        simulation: |entropy, trace| broken(Rule::SteadyServer, entropy, trace),
    },
    Bug {
        name: "redis-evicted-lock",
        machine: "redis",
        violates: "exclusion",
        source: "maxmemory with an eviction policy: the lock goes, and the counter stays",
        simulation: |entropy, trace| broken(Rule::KeptLocks, entropy, trace),
    },
    Bug {
        name: "redis-endless-renewals",
        machine: "redis",
        violates: "limit",
        source: "Redisson's watchdog: what is held is renewed for ever",
        simulation: |entropy, trace| broken(Rule::KeptLimits, entropy, trace),
    },
    Bug {
        name: "redis-unfenced-storage",
        machine: "redis",
        violates: "storage",
        source: "Kleppmann: a paused holder goes on writing, and nobody compares tokens",
        simulation: |entropy, trace| broken(Rule::FencedStorage, entropy, trace),
    },
    Bug {
        name: "cluster-try-again-is-no",
        machine: "cluster",
        violates: "loss",
        source: "a driver that takes TRYAGAIN for \"not held\"",
        simulation: |entropy, trace| habit(Habit::NoOnTryAgain, entropy, trace),
    },
    Bug {
        name: "cluster-moved-is-lost",
        machine: "cluster",
        violates: "loss",
        source: "a driver that gives a lease up when its node says MOVED",
        simulation: |entropy, trace| habit(Habit::LossOnMoved, entropy, trace),
    },
    Bug {
        name: "cluster-silent-retries",
        machine: "cluster",
        violates: "cleanness",
        source: "redis-rs: what broke is sent again, and meets its own token",
        simulation: |entropy, trace| habit(Habit::SilentRetries, entropy, trace),
    },
    Bug {
        name: "cluster-untold-steps",
        machine: "cluster",
        violates: "cleanness",
        source: "redis-rs: the error of one command of a pipeline stands for all of them",
        simulation: |entropy, trace| habit(Habit::UntoldSteps, entropy, trace),
    },
    Bug {
        name: "cluster-forgotten-move",
        machine: "cluster",
        violates: "exclusion",
        source: "Redis 7.0: a replica that takes over does not know that a slot moves",
        simulation: |entropy, trace| habit(Habit::ForgottenMove, entropy, trace),
    },
];

fn habit(habit: Habit, entropy: Entropy, trace: &mut Trace) {
    broken(Rule::Driver(habit), entropy, trace);
}

fn script(omission: Omission, entropy: Entropy, trace: &mut Trace) {
    broken(Rule::Script(omission), entropy, trace);
}

fn broken(rule: Rule, entropy: Entropy, trace: &mut Trace) {
    server_world::run(Setting::Broken(rule), entropy, trace);
}
