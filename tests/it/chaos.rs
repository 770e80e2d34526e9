//! Ten seconds of chaos for each backend, and what must go wrong.

use std::path::PathBuf;
use std::time::Duration;

use lock_tests::chaos::{Backend, Plan, Report, run, stopped_before_its_write};

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_chaos").into()
}

/// Another seed each time: what a seed leads to depends on the machine as well.
fn chaos(backend: Backend, seconds: u64) -> Report {
    let (duration, seed) = (Duration::from_secs(seconds), std::process::id().into());
    run(&Plan { backend, duration, seed, workers: 4, program: program() })
}

#[track_caller]
fn check_ten_seconds(backend: Backend) {
    let report = chaos(backend, 10);
    assert!(report.violations.is_empty(), "{report}");
    let idle = report.faults.is_empty() || report.holds["mutex"] == 0 || report.written == 0;
    assert!(!idle, "nothing happened: {report}");
}

#[test]
fn ten_seconds_of_chaos_on_a_redis_server() {
    check_ten_seconds(Backend::Redis);
}

#[test]
fn ten_seconds_of_chaos_on_redis_servers_that_vote() {
    check_ten_seconds(Backend::Redlock);
}

#[test]
fn ten_seconds_of_chaos_on_a_redis_cluster() {
    check_ten_seconds(Backend::Cluster);
}

#[test]
fn ten_seconds_of_chaos_on_postgres() {
    check_ten_seconds(Backend::Postgres);
}

#[test]
fn ten_seconds_of_chaos_on_files() {
    check_ten_seconds(Backend::File);
}

#[test]
fn locks_that_exclude_nobody_are_found_out() {
    let report = chaos(Backend::Broken, 1);
    let blamed = |words: &str| report.violations.iter().any(|blame| blame.contains(words));
    assert!(blamed("mutex: ") && blamed("rw: "), "{report}");
    let folder = report.folder.expect("the logs of what is wrong are kept");
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

#[test]
fn a_holder_that_was_stopped_wipes_out_what_others_wrote_unless_it_shows_its_token() {
    let report = stopped_before_its_write(program());
    assert!(report.violations.is_empty(), "{report}");
    assert_eq!(report.wiped_out, 1, "{report}");
    assert!(report.refused >= 1, "{report}");
}
