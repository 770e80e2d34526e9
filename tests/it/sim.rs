use lock_tests::seeds::{is_deterministic, schedule, violation};
use lock_tests::simulate::{machine, machines};
use lock_tests::trace::Trace;

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
    locks_on_faithful_servers_exclude_and_are_served_and_leave_nothing: "redlock", 3_000;
    what_is_promised_of_a_server_that_forgets_holds: "redlock-forgetful", 3_000;
    locks_on_sessions_exclude_and_are_served_and_leave_nothing: "postgres", 12_000;
}

#[test]
fn equal_schedules_lead_to_equal_runs() {
    for machine in machines() {
        assert!((0..30).all(|seed| is_deterministic(seed, machine.simulation)), "{}", machine.name);
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
