use lock_tests::seeds::seeds_until;
use lock_tests::simulate::machine;
use lock_tests::zoo::{SEEDS, bugs};

#[test]
fn every_bug_of_the_zoo_is_found() {
    for bug in bugs() {
        let found = seeds_until(0..SEEDS, bug.violates, bug.simulation);
        assert!(found.is_some(), "{} is not found in {SEEDS} seeds", bug.name);
    }
}

#[test]
fn every_bug_of_the_zoo_is_one_of_a_machine_and_has_a_name_of_its_own() {
    let mut names: Vec<&str> = bugs().iter().map(|bug| bug.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), bugs().len());
    assert!(names.len() >= 60, "{} bugs", names.len());
    assert!(bugs().iter().all(|bug| machine(bug.machine).is_some()));
}
