//! Exact files, which flock(1) of util-linux locks as well.

use std::process::Stdio;

use crate::place::{HOLD, Place, Session, available, code, text};

#[test]
fn flock_excludes_dlock_and_is_excluded_by_it() {
    if !available("flock") {
        return;
    }
    let place = Place::new();
    let flock = |args: &[&str]| {
        let status = place.on_place("flock", args).stdin(Stdio::null()).status();
        status.unwrap().code()
    };

    let mut theirs = Session::start(place.on_place("flock", ["x", "sh", "-c", HOLD]));
    assert_eq!(theirs.line(), "ready");
    assert_eq!(place.code(["run", "--file", "x", "-t", "0s", "--", "true"]), 75);
    assert_eq!(place.code(["run", "--shared", "--file", "x", "-t", "0s", "--", "true"]), 75);
    theirs.end();

    let ours = place.hold(&["--file", "x"]);
    assert_eq!(flock(&["-n", "x", "true"]), Some(1));
    assert_eq!(flock(&["-n", "-s", "x", "true"]), Some(1));
    ours.end();

    let _shared = place.hold(&["--shared", "--file", "x"]);
    assert_eq!(flock(&["-n", "x", "true"]), Some(1));
    assert_eq!(flock(&["-n", "-s", "x", "true"]), Some(0));
}

#[test]
fn a_dlock_that_waits_for_flock_goes_on_when_it_ends() {
    if !available("flock") {
        return;
    }
    let place = Place::new();
    let mut theirs = Session::start(place.on_place("flock", ["x", "sh", "-c", HOLD]));
    assert_eq!(theirs.line(), "ready");
    let waiter = place.wait(&["--file", "x", "--", "echo", "mine"]);

    theirs.end();

    assert_eq!(waiter.ended().output, "mine\n");
}

#[test]
fn a_file_with_contents_is_locked_and_not_written_to() {
    let place = Place::new();
    let path = place.path("notes.txt");
    std::fs::write(&path, "mine").unwrap();
    let script = r#"echo "$DLOCK_NAME ${DLOCK_FENCE-none}""#;

    let output = place.output(["run", "--file", "notes.txt", "--", "sh", "-c", script]);

    assert_eq!(code(&output), 0);
    assert_eq!(text(&output.stdout), format!("{} none\n", path.display()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn the_file_of_a_name_is_the_lock_of_that_name() {
    let place = Place::new();
    let _holder = place.hold(&["a"]);

    let busy = place.output(["try", "--file", place.lock_file().to_str().unwrap()]);

    assert_eq!(code(&busy), 75, "{busy:?}");
}
