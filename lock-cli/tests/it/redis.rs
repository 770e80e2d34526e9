//! Locks on Redis servers.

use std::process::Output;
use std::time::{Duration, Instant};

use lock_tests::redis::{Mode, Proxy, Server, ServerOptions, eventually};
use serde_json::{Value, json};

use crate::place::{Place, Session, code, complaint, text};

/// A lease that tests can wait for.
const SHORT: [&str; 2] = ["--ttl", "1s"];
const TOLD: &str = "trap 'echo told; exit 0' TERM; echo ready; while :; do read x; done";

#[test]
fn runs_of_one_name_never_overlap() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let script = "mkdir busy || exit 9; echo $DLOCK_FENCE >> ran; rmdir busy || exit 8";
    let loops = r#"for i in 1 2 3 4 5; do "$DLOCK" run a -- sh -c "$1" || exit; done"#;

    let sessions: Vec<_> =
        (0..4).map(|_| Session::start(place.on_place("sh", ["-c", loops, "sh", script]))).collect();

    for session in sessions {
        let end = session.ended();
        assert_eq!(end.code, Some(0), "{end:?}");
    }
    let fences = std::fs::read_to_string(place.path("ran")).unwrap();
    let fences: Vec<u64> = fences.lines().map(|fence| fence.parse().unwrap()).collect();
    assert_eq!(fences.len(), 20);
    assert!(fences.is_sorted_by(|one, other| one < other), "{fences:?}");
}

#[test]
fn a_lock_that_is_not_free_is_75_and_shares_exclude_the_rest() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let nobody_waits = ["run", "-q", "-t", "0s"];
    let run = |args: &[&str]| place.code([&nobody_waits, args, &["--", "true"]].concat());

    let reader = place.hold(&["--shared", "a"]);
    assert_eq!((run(&["a"]), run(&["--shared", "a"]), run(&["b"])), (75, 0, 0));
    reader.end();
    let writer = place.hold(&["a"]);
    assert_eq!((run(&["a"]), run(&["--shared", "a"]), run(&["-E", "9", "a"])), (75, 75, 9));
    let busy = place.output(["run", "-t", "200ms", "a", "--", "true"]);
    assert_eq!(code(&busy), 75);
    let expected = format!("was not free within 200ms: held by sh, process {} on ", writer.pid());
    assert!(complaint(&busy).contains(&expected), "{busy:?}");
    writer.end();
    let _permits = [place.hold(&["-n", "2", "c"]), place.hold(&["-n", "2", "c"])];
    assert_eq!((run(&["-n", "2", "c"]), run(&["-n", "3", "c"])), (75, 0));
}

#[test]
fn info_and_list_tell_who_holds_and_how_many_wait() {
    let server = Server::start();
    let place = Place::at(&server.url());
    assert_eq!(parsed(&place.output(["list"])), json!([]));
    let holder = place.hold(&["--owner", "night shift", "a"]);
    place.hold(&["b"]).end();
    let waiter = place.wait(&["a", "--", "true"]);

    let info = eventually("a waiter", || {
        let info = parsed(&place.output(["info", "a"]));
        (info["waiters"] == 1).then_some(info)
    });
    let held = &info["holders"][0];
    assert_eq!((&held["owner"], &held["pid"]), (&json!("night shift"), &json!(holder.pid())));
    assert!(held["host"].is_string() && held["fence"].is_u64(), "{info}");
    let remaining = held["remaining_seconds"].as_f64().unwrap();
    assert!((15.0..=30.0).contains(&remaining), "{info}");

    let human = place.output(["info", "--format", "human", "a"]);
    let human = text(&human.stdout);
    assert!(human.starts_with("\"a\" is held\n  by night shift, process "), "{human}");
    assert!(human.contains(", fence ") && human.contains("s\n  1 waiting\n"), "{human}");

    let list = parsed(&place.output(["list"]));
    let listed = |name: &str, locked: bool| {
        let locks = list.as_array().unwrap();
        locks.iter().any(|lock| lock["name"] == name && lock["locked"] == locked)
    };
    assert!(listed("a", true) && listed("b", false), "{list}");
    holder.end();
    assert_eq!(waiter.ended().code, Some(0));
}

#[test]
fn a_try_says_whether_the_lock_could_be_had_and_of_another_program_nothing() {
    let server = Server::start();
    let place = Place::at(&server.url());
    assert_eq!(parsed(&place.output(["try", "a"]))["free"], true);

    server.command(&["SET", "a", "theirs", "NX", "PX", "60000"]).unwrap();

    let busy = place.output(["try", "--format", "human", "a"]);
    let expected = "held by another program, which leaves no name\n";
    assert_eq!((code(&busy), text(&busy.stdout)), (75, expected));
}

#[test]
fn fences_rise_through_a_flush() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let fence = || {
        let output = place.output(["run", "a", "--", "sh", "-c", "echo $DLOCK_FENCE"]);
        text(&output.stdout).trim_end().parse::<u64>().unwrap()
    };
    let first = fence();

    server.command(&["FLUSHALL"]).unwrap();

    let second = fence();
    assert!(second > first, "{second} after {first}");
}

#[test]
fn a_command_whose_lock_is_deleted_is_asked_to_end() {
    let server = Server::start();
    let place = Place::at(&server.url());
    for commands in [["DEL", "a"].as_slice(), &["FLUSHALL"]] {
        let session = place.session(&[&SHORT[..], &["a"]].concat(), TOLD);

        server.command(commands).unwrap();
        let end = session.ended();

        assert_eq!((end.code, end.output.as_str()), (Some(79), "told\n"), "{end:?}");
        assert!(end.errors.starts_with(r#"dlock: lost "a": "#), "{end:?}");
    }
}

#[test]
fn a_command_whose_server_is_gone_is_ended_before_its_lease_is() {
    let server = ServerOptions::new().with_append_only().start();
    let place = Place::at(&server.url());
    let session = place.session(&[&SHORT[..], &["a"]].concat(), TOLD);

    let gone = Instant::now();
    server.kill();
    let end = session.ended();

    assert_eq!((end.code, end.output.as_str()), (Some(79), "told\n"), "{end:?}");
    assert!(end.errors.starts_with(r#"dlock: lost "a": "#), "{end:?}");
    // It was prolonged at most just before the server died.
    assert!(gone.elapsed() < Duration::from_secs(5), "{:?}", gone.elapsed());
}

#[test]
fn a_dlock_that_is_killed_leaves_its_lock_when_the_lease_ends() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let holder = place.session(&[&SHORT[..], &["a"]].concat(), "echo ready; read x");

    holder.signal("KILL");

    assert_eq!(holder.ended().code, None);
    assert_eq!(place.code(["run", "-t", "20s", "a", "--", "true"]), 0);
}

#[test]
fn a_signal_ends_the_wait_and_leaves_nothing() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let holder = place.hold(&["a"]);
    let waiter = place.wait(&["a", "--", "touch", "ran"]);

    waiter.signal("TERM");

    assert_eq!(waiter.ended().code, Some(143));
    assert_eq!(parsed(&place.output(["info", "a"]))["waiters"], 0);
    holder.end();
    assert!(!place.path("ran").exists());
}

#[test]
fn a_signal_ends_the_wait_for_a_server_that_fell_silent() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let holder = Place::at(&server.url()).hold(&["a"]);
    let waiter = Place::at(&proxy.url()).wait(&["a", "--", "true"]);
    proxy.set(Mode::BlackHole);

    let start = Instant::now();
    waiter.signal("TERM");

    assert_eq!(waiter.ended().code, Some(143));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    holder.end();
}

#[test]
fn a_command_that_ends_when_its_server_is_silent_keeps_its_exit_code() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let holder = Place::at(&proxy.url()).session(&["a"], "echo ready; read x; exit 3");
    proxy.set(Mode::BlackHole);

    let start = Instant::now();
    let end = holder.end();

    assert_eq!(end.code, Some(3), "{end:?}");
    assert!(end.errors.lines().count() <= 1, "{end:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_wrong_password_is_69_and_shown_to_nobody() {
    let server = ServerOptions::new().with_password("right").start();
    let address = server.address();
    assert_eq!(Place::at(&server.url()).code(["run", "a", "--", "true"]), 0);

    for credentials in ["", ":sesame@", "ali:sesame@"] {
        let place = Place::at(&format!("redis://{credentials}{address}"));
        for command in COMMANDS {
            let output = place.output(command);
            assert_eq!((code(&output), text(&output.stdout)), (69, ""), "{output:?}");
            assert!(complaint(&output).contains("check user and password"), "{output:?}");
            assert!(!complaint(&output).contains("sesame"), "{output:?}");
        }
    }
}

#[test]
fn a_password_in_a_url_that_means_nothing_is_shown_to_nobody() {
    let place = Place::new();
    for url in [
        "redis://ali:sesame@host:port",
        "redis://ali:sesame@host/?option=1",
        "redis://ali:sesame@",
        "redis+what://ali:sesame@host",
        "ali:sesame@host",
    ] {
        for place in [Place::at(url)] {
            for command in COMMANDS {
                let output = place.output(command);
                assert_eq!(code(&output), 64, "{url} {output:?}");
                assert!(!complaint(&output).contains("sesame"), "{output:?}");
            }
        }
    }
    let misplaced = place.output(["list", "redis://ali:sesame@host"]);
    assert_eq!(code(&misplaced), 64);
    assert!(!complaint(&misplaced).contains("sesame"), "{misplaced:?}");
}

#[test]
fn a_server_that_is_not_there_is_69_within_the_time_out() {
    let server = Server::start();
    let silent = Proxy::to(&server);
    silent.set(Mode::BlackHole);
    let gone = Server::start();
    let nobody = gone.url();
    drop(gone);

    for url in [silent.url(), nobody] {
        let place = Place::at(&url);
        let start = Instant::now();
        let output = place.output(["run", "-t", "1500ms", "a", "--", "touch", "ran"]);

        assert_eq!(code(&output), 69, "{output:?}");
        complaint(&output);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert!(!place.path("ran").exists());
    }
}

/// One of each kind.
const COMMANDS: [&[&str]; 5] =
    [&["run", "a", "--", "true"], &["try", "a"], &["info", "a"], &["list"], &["doctor"]];

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}
