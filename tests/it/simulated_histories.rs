//! What the simulated worlds show of their locks is held against the checker that judges the
//! histories of real processes.

use lock_tests::history::{Action, Operation, Simulated, Unexplained, check, simulated};
use lock_tests::seeds::{Simulation, invariant, schedule, violation};
use lock_tests::simulate::machine;
use lock_tests::trace::Trace;
use lock_tests::zoo::{SEEDS, bug};

/// The invariant that a run violates, if it does, and the histories of its locks.
fn judge(
    seed: u64,
    simulation: Simulation,
    on_sessions: bool,
) -> (Option<String>, Result<usize, Unexplained>) {
    let mut trace = Trace::of_moments();
    let violated = violation(&schedule(seed), simulation, &mut trace);
    let histories = simulated(trace.moments(), on_sessions);
    let entered: usize = histories.iter().map(|history| history.operations.len()).sum();
    let verdict = histories.iter().try_for_each(|it| check(it.permits, &it.operations));
    (violated.map(|message| invariant(&message).into()), verdict.map(|()| entered))
}

#[track_caller]
fn explained(name: &str, seeds: u64) {
    let simulation = machine(name).expect("it is in the table").simulation;
    let mut entered = 0;
    for seed in 0..seeds {
        match judge(seed, simulation, name.starts_with("postgres")) {
            (_, Ok(operations)) => entered += operations as u64,
            (_, Err(unexplained)) => panic!("{name}, seed {seed}: {unexplained}"),
        }
    }
    assert!(entered > seeds, "{entered} operations say little");
}

/// A bug lets two in where one may be, and the checker finds that as the world does.
#[track_caller]
fn unexplained(name: &str) {
    let bug = bug(name).expect("it is in the zoo");
    let caught = |seed| {
        let (violated, verdict) = judge(seed, bug.simulation, false);
        violated.as_deref() == Some(bug.violates) && verdict.is_err()
    };
    // The other of the two may be a stranger, who has no history.
    assert!((0..SEEDS).any(caught), "{name} is explained");
}

#[test]
fn histories_of_one_redis_server_are_those_of_a_lock() {
    explained("redis", 2_000);
}

#[test]
fn histories_of_a_redis_cluster_are_those_of_a_lock() {
    explained("cluster", 1_500);
}

#[test]
fn histories_of_several_redis_servers_are_those_of_a_lock() {
    explained("redlock", 1_500);
}

#[test]
fn histories_of_a_postgres_server_are_those_of_a_lock() {
    explained("postgres", 2_000);
    explained("postgres-pooled", 2_000);
}

#[test]
fn histories_of_locks_that_let_two_in_are_not() {
    ["redis-plain-delete", "redlock-silence-is-yes"].into_iter().for_each(unexplained);
}

#[test]
fn refusals_by_a_postgres_server_are_judged_and_need_somebody_who_is_there() {
    let refused = |operation: &Operation| matches!(operation.action, Action::Refused { .. });
    for name in ["postgres", "postgres-pooled"] {
        let simulation = machine(name).expect("it is in the table").simulation;
        let (mut judged, mut alone) = (0, 0);
        for seed in 0..2_000 {
            let mut trace = Trace::of_moments();
            assert_eq!(violation(&schedule(seed), simulation, &mut trace), None);
            for mut history in simulated(trace.moments(), true) {
                judged += history.operations.iter().filter(|it| refused(it)).count();
                history.operations.retain(refused);
                alone += usize::from(check(history.permits, &history.operations).is_err());
            }
        }
        assert!(judged >= 50 && alone >= 50, "{name}: {judged} refusals in {alone} histories");
    }
}

#[test]
fn histories_of_a_postgres_server_from_which_nobody_leaves_are_not() {
    // The world itself stops at the first doubt, so that no bug gets as far as to let two in.
    let simulation = machine("postgres").expect("it is in the table").simulation;
    let kept = |seed| {
        let mut trace = Trace::of_moments();
        assert_eq!(violation(&schedule(seed), simulation, &mut trace), None);
        let mut histories = simulated(trace.moments(), true);
        let stays = |history: &mut Simulated| {
            history.operations.retain(|operation| operation.action != Action::Leave);
            check(history.permits, &history.operations).is_err()
        };
        histories.iter_mut().any(stays)
    };
    assert!((0..20).any(kept));
}
