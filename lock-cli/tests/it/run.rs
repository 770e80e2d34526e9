//! `dlock run`: what the command gets, and what is made of its end.

use std::process::Stdio;

use crate::place::{Place, Session, code, complaint, text};

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let place = Place::new();
    for wanted in [0, 1, 42, 255] {
        assert_eq!(place.code(["run", "a", "--", "sh", "-c", &format!("exit {wanted}")]), wanted);
    }
}

#[test]
fn a_command_that_a_signal_ends_counts_from_128() {
    let place = Place::new();

    assert_eq!(place.code(["run", "a", "--", "sh", "-c", "kill -KILL $$"]), 137);
    assert_eq!(place.code(["run", "a", "--", "sh", "-c", "kill -TERM $$"]), 143);
}

#[test]
fn a_command_that_cannot_be_run_is_126_or_127_and_frees_the_lock() {
    let place = Place::new();

    let missing = place.output(["run", "a", "--", "no-such-command"]);
    assert_eq!(code(&missing), 127);
    assert!(complaint(&missing).contains("can't run no-such-command: No such file"));

    let data = place.output(["run", "a", "--", "/etc/passwd"]);
    assert_eq!(code(&data), 126);
    assert!(complaint(&data).contains("can't run /etc/passwd: Permission denied"));

    assert_eq!(place.code(["try", "a"]), 0);
}

#[test]
fn a_lock_that_is_not_free_in_time_is_75_or_what_was_asked_for() {
    let place = Place::new();
    let _holder = place.hold(&["a"]);

    for timeout in ["0s", "250ms"] {
        let busy = place.output(["run", "--timeout", timeout, "a", "--", "touch", "ran"]);
        assert_eq!(code(&busy), 75);
        assert!(complaint(&busy).contains("held by sh, process "), "{busy:?}");
        let other = ["run", "-t", timeout, "--conflict-exit-code", "9", "a", "--", "touch", "ran"];
        assert_eq!(place.code(other), 9);
    }

    let quiet = place.output(["run", "-q", "-t", "0s", "-E", "0", "a", "--", "touch", "ran"]);
    assert_eq!((code(&quiet), text(&quiet.stderr)), (0, ""));
    assert!(!place.path("ran").exists());
}

#[test]
fn runs_of_one_name_never_overlap() {
    let place = Place::new();
    let script = "mkdir busy || exit 9; echo $$ >> ran; rmdir busy || exit 8";
    let loops = r#"for i in 1 2 3 4 5 6 7 8 9 10; do "$DLOCK" run a -- sh -c "$1" || exit; done"#;

    let sessions: Vec<_> =
        (0..6).map(|_| Session::start(place.on_place("sh", ["-c", loops, "sh", script]))).collect();

    for session in sessions {
        let end = session.ended();
        assert_eq!(end.code, Some(0), "{end:?}");
    }
    assert_eq!(std::fs::read_to_string(place.path("ran")).unwrap().lines().count(), 60);
}

#[test]
fn shared_runs_overlap_and_exclude_the_others() {
    let place = Place::new();
    let reader = place.hold(&["--shared", "a"]);

    assert_eq!(place.code(["run", "--shared", "-t", "0s", "a", "--", "true"]), 0);
    assert_eq!(place.code(["run", "-t", "0s", "a", "--", "true"]), 75);
    reader.end();
    let _writer = place.hold(&["a"]);
    assert_eq!(place.code(["run", "--shared", "-t", "0s", "a", "--", "true"]), 75);
}

#[test]
fn as_many_run_as_there_are_permits() {
    let place = Place::new();
    let first = place.hold(&["--permits", "2", "a"]);
    let _second = place.hold(&["--permits", "2", "a"]);

    assert_eq!(place.code(["run", "--permits", "2", "-t", "0s", "a", "--", "true"]), 75);
    assert_eq!(place.code(["run", "-t", "0s", "a", "--", "true"]), 0, "the lock is another");
    first.end();
    assert_eq!(place.code(["run", "--permits", "2", "-t", "0s", "a", "--", "true"]), 0);
}

#[test]
fn the_command_knows_the_name_and_a_fence_that_rises() {
    let place = Place::new();
    let script = "echo $DLOCK_NAME; echo $DLOCK_FENCE";
    let fences: Vec<u64> = (0..3)
        .map(|_| {
            let output = place.output(["run", "night shift", "--", "sh", "-c", script]);
            let (name, fence) = text(&output.stdout).split_once('\n').unwrap();
            assert_eq!(name, "night shift");
            fence.trim_end().parse().unwrap()
        })
        .collect();

    assert!(fences.is_sorted_by(|one, other| one < other), "{fences:?}");
}

#[test]
fn without_a_fence_there_is_none_from_a_run_around_it() {
    let place = Place::new();
    let inner = r#"exec "$DLOCK" run --shared b -- sh -c 'echo "${DLOCK_FENCE-none}"'"#;

    let output = place.output(["run", "a", "--", "sh", "-c", inner]);

    assert_eq!(text(&output.stdout), "none\n", "{output:?}");
}

#[test]
fn input_output_and_errors_are_those_of_the_command() {
    let place = Place::new();
    let script = "cat; echo bad >&2";
    let mut session = Session::start(place.dlock(["run", "a", "--", "sh", "-c", script]));

    session.type_in("one\ntwo");
    let end = session.end();

    assert_eq!((end.output.as_str(), end.errors.as_str()), ("one\ntwo", "bad\n"));
}

#[test]
fn arguments_reach_the_command_as_they_are() {
    let place = Place::new();
    let words = ["-x", "--", "--help", "a b", "", "$HOME", "*"];

    let output = place.output([&["run", "a", "--", "printf", "<%s>"], words.as_slice()].concat());

    assert_eq!(text(&output.stdout), "<-x><--><--help><a b><><$HOME><*>");
}

#[test]
fn the_command_inherits_no_descriptor() {
    let place = Place::new();
    let listing = ["-c", r#"exec "$DLOCK" run a -- ls -l /proc/self/fd"#];

    let output = place.on_place("sh", listing).stdin(Stdio::null()).output().unwrap();

    let listing = text(&output.stdout);
    assert!(listing.contains(" 0 -> /dev/null"), "{listing}");
    for inherited in [".lock", "inotify", "eventpoll", "socket"] {
        assert!(!listing.contains(inherited), "{listing}");
    }
}

#[test]
fn the_owner_is_the_program_or_what_it_is_called() {
    let place = Place::new();

    let unnamed = place.hold(&["a"]);
    assert!(text(&place.output(["try", "--format", "human", "a"]).stdout).contains("held by sh, "));
    unnamed.end();
    let _named = place.hold(&["--owner", "night shift", "a"]);
    let held = place.output(["try", "--format", "human", "a"]);
    assert!(text(&held.stdout).contains("held by night shift, "), "{held:?}");
}

#[test]
fn a_wait_tells_of_another_holder_and_not_twice_of_one() {
    let place = Place::new();
    let holder = place.hold(&["a"]);
    let mut waiter = place.wait(&["a", "--", "true"]);

    let file = place.lock_file();
    let record = std::fs::read_to_string(&file).unwrap();
    let other = record.replace(&format!("pid {}\n", holder.pid()), "pid 4242424\n");
    std::fs::write(file, other).unwrap();

    let told = waiter.error();
    assert!(told.contains("held by sh, process 4242424 on "), "{told}");
    holder.end();
    assert_eq!(waiter.error(), r#"dlock: got "a""#);
}

#[test]
fn messages_are_json_when_they_are_to_be() {
    let place = Place::new();
    let _holder = place.hold(&["a"]);

    let output = place.output(["run", "--json", "-t", "0s", "a", "--", "true"]);

    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((line["event"].as_str(), line["name"].as_str()), (Some("conflict"), Some("a")));
    assert_eq!(line["holders"][0]["owner"], "sh");
}
