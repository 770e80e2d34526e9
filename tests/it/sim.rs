use std::process::Command;

use expect_test::expect_file;
use lock_tests::seeds::{invariant, is_deterministic, schedule, seeds_until, violation};
use lock_tests::simulate::{draw, machine, machines, shrink};
use lock_tests::trace::Trace;
use lock_tests::zoo::{SEEDS, bug};

const PROGRAM: &str = env!("CARGO_BIN_EXE_simulate");

/// One test for each machine: so many seeds, all green, and no rare state missed.
macro_rules! proven {
    ($($test:ident: $machine:literal, $seeds:literal;)*) => {
        $(#[test]
        fn $test() {
            prove($machine, $seeds);
        })*

        #[test]
        fn every_machine_is_proven() {
            let names: Vec<&str> = machines().iter().map(|machine| machine.name).collect();
            assert_eq!(names, [$($machine),*]);
        }
    };
}

proven! {
    memory_locks_exclude_in_any_world: "memory", 8_000;
    file_locks_exclude_in_a_mild_world: "file", 8_000;
    file_locks_exclude_in_a_harsh_world: "file-harsh", 8_000;
    locks_on_a_faithful_server_exclude_and_are_served_and_leave_nothing: "redis", 6_000;
    fences_rise_on_a_server_that_forgets: "redis-forgetful", 6_000;
    locks_outlive_the_moves_of_their_slot: "cluster", 6_000;
    fences_rise_on_a_cluster_that_forgets: "cluster-forgetful", 3_000;
    locks_on_faithful_servers_exclude_and_are_served_and_leave_nothing: "redlock", 3_000;
    what_is_promised_of_a_server_that_forgets_holds: "redlock-forgetful", 3_000;
    locks_on_sessions_exclude_and_are_served_and_leave_nothing: "postgres", 12_000;
    locks_behind_a_pooler_exclude_and_are_served_and_leave_nothing: "postgres-pooled", 4_000;
}

#[test]
fn equal_schedules_lead_to_equal_runs() {
    for machine in machines() {
        assert!((0..30).all(|seed| is_deterministic(seed, machine.simulation)), "{}", machine.name);
    }
}

/// Seeds far beyond those that are proven, at which a world or a machine was wrong once.
const FOUND: &[(&str, u64)] = &[("postgres", 70_032_101)];

#[test]
fn what_was_found_once_is_not_found_again() {
    for (name, seed) in FOUND {
        let simulation = machine(name).expect("it is in the table").simulation;
        assert_eq!(violation(&schedule(*seed), simulation, &mut Trace::silent()), None, "{name}");
    }
}

fn prove(name: &str, seeds: u64) {
    let machine = machine(name).expect("it is in the table");
    let mut trace = Trace::silent();
    for seed in 0..seeds {
        if let Some(violated) = violation(&schedule(seed), machine.simulation, &mut trace) {
            panic!(
                "seed {seed}: {violated}\n\
                 cargo run --release -p lock-tests --bin simulate -- --machine {name} --replay {seed}"
            );
        }
    }
    trace.sightings().must_have_seen(machine.rare_states);
}

#[test]
fn the_picture_of_the_architecture_is_what_the_command_draws() {
    let (machine, mut trace) = (machine("redlock").unwrap(), Trace::default());
    assert_eq!(violation(&schedule(2115), machine.simulation, &mut trace), None);
    expect_file!["../pictures/redlock.svg"].assert_eq(&draw("redlock, seed 2115", trace.moments()));
}

#[test]
fn a_failing_schedule_becomes_small_and_fails_likewise() {
    let bug = bug("redlock-shortens").unwrap();
    let count = seeds_until(0..SEEDS, bug.violates, bug.simulation).unwrap();
    let small = shrink(schedule(count - 1), bug.simulation);
    let mut trace = Trace::silent();
    let message = violation(&small, bug.simulation, &mut trace).unwrap();
    assert_eq!(invariant(&message), bug.violates);
    assert!(small.len() < 100 && trace.events() < 100, "{} bytes, {trace:?}", small.len());
}

#[test]
fn a_schedule_that_fails_nowhere_is_left_as_it_is() {
    let whole = schedule(0);
    assert_eq!(shrink(whole.clone(), machine("memory").unwrap().simulation), whole);
}

#[test]
fn the_program_runs_every_machine_and_finds_a_bug_and_replays_it() {
    let (said, good) = simulate(&["--seeds", "400", "--jobs", "2"]);
    assert!(good, "{said}");
    assert!(machines().iter().all(|machine| said.contains(machine.name)), "{said}");

    let (said, good) = simulate(&["--bug", "driver-asleep"]);
    let seed = said.trim_end().rsplit(' ').next().unwrap();
    assert!(good && said.contains("exclusion is violated after"), "{said}");
    let picture = tempfile::NamedTempFile::new().unwrap();
    let path = picture.path().to_str().unwrap();
    let (said, good) = simulate(&["--bug", "driver-asleep", "--replay", seed, "--svg", path]);
    assert!(!good && said.contains("\nexclusion: "), "{said}");
    assert!(std::fs::read_to_string(path).unwrap().starts_with("<svg"));
}

#[test]
fn the_program_says_which_machines_there_are() {
    let output = Command::new(PROGRAM).args(["--machine", "etcd"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("redlock-forgetful"), "{said}");
}

/// What the program prints, and whether it is content.
fn simulate(args: &[&str]) -> (String, bool) {
    let output = Command::new(PROGRAM).args(args).output().expect("it can be started");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (String::from_utf8(output.stdout).expect("it prints text"), output.status.success())
}
