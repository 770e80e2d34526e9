//! `dlock try`, `dlock info` and `dlock list`.

use std::fs::OpenOptions;
use std::process::Output;

use serde_json::{Value, json};

use crate::place::{Place, code, complaint, text};

#[test]
fn a_try_says_whether_the_lock_could_be_had() {
    let place = Place::new();

    let free = place.output(["try", "--format", "human", "a"]);
    assert_eq!((code(&free), text(&free.stdout)), (0, "free\n"));
    let free = place.output(["try", "a"]);
    assert_eq!((code(&free), &parsed(&free)["free"]), (0, &json!(true)));

    let holder = place.hold(&["a"]);
    let busy = place.output(["try", "--format", "human", "-E", "9", "a"]);
    assert_eq!(code(&busy), 9);
    let expected = format!("held by sh, process {} on ", holder.pid());
    assert!(text(&busy.stdout).starts_with(&expected), "{busy:?}");
    let busy = place.output(["try", "a"]);
    let answer = parsed(&busy);
    assert_eq!((code(&busy), &answer["free"]), (75, &json!(false)));
    assert_eq!(answer["holders"][0]["pid"], holder.pid());
}

#[test]
fn a_reader_leaves_no_name() {
    let place = Place::new();
    let _reader = place.hold(&["--shared", "a"]);

    let busy = place.output(["try", "--format", "human", "a"]);

    assert!(text(&busy.stdout).contains("a holder that leaves no name"), "{busy:?}");
    assert_eq!(place.code(["try", "--shared", "a"]), 0);
}

#[test]
fn info_tells_who_holds_the_lock() {
    let place = Place::new();
    let holder = place.hold(&["--owner", "night\u{202e}shift", "a"]);

    let answer = parsed(&place.output(["info", "a"]));
    assert_eq!((&answer["name"], &answer["locked"]), (&json!("a"), &json!(true)));
    let held = &answer["holders"][0];
    assert_eq!(
        (&held["owner"], &held["pid"]),
        (&json!("night\u{202e}shift"), &json!(holder.pid()))
    );
    assert!(held["host"].is_string() && held["fence"].is_u64() && held["since"].is_string());
    assert!(held["held_for_seconds"].as_f64().unwrap() >= 0.0);

    let human = place.output(["info", "--format", "human", "a"]);
    let human = text(&human.stdout);
    assert!(human.starts_with("\"a\" is held\n  by night\\u{202e}shift, process "), "{human}");
    assert!(human.contains(", fence "), "{human}");

    holder.end();
    let human = place.output(["info", "--format", "human", "a"]);
    assert_eq!(text(&human.stdout), "\"a\" is free\n");
    assert_eq!(parsed(&place.output(["info", "--json", "b"]))["locked"], false);
}

#[test]
fn a_list_has_every_lock() {
    let place = Place::new();
    assert_eq!(parsed(&place.output(["list"])), json!([]));
    place.hold(&["b"]).end();
    let _a = place.hold(&["a"]);
    let _c = place.hold(&["--permits", "2", "c"]);

    let answer = parsed(&place.output(["list"]));
    let locks: Vec<_> = answer.as_array().unwrap().iter().collect();
    let told: Vec<_> = locks.iter().map(|lock| (&lock["name"], &lock["locked"])).collect();
    assert!(told.contains(&(&json!("a"), &json!(true))), "{told:?}");
    assert!(told.contains(&(&json!("b"), &json!(false))), "{told:?}");
    assert!(told.contains(&(&json!("c"), &json!(true))), "{told:?}");

    let human = place.output(["list", "--format", "human"]);
    let human = text(&human.stdout);
    assert!(human.starts_with("NAME  STATE  HOLDER\na     held   sh, process "), "{human}");
    assert!(human.contains("\nb     free\n"), "{human}");
}

#[test]
fn a_reader_of_the_answer_that_went_away_is_no_panic() {
    let place = Place::new();
    for command in [&["list"][..], &["info", "a"], &["try", "a"], &["--help"], &["run", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);

        let output = place.dlock(command).stdout(writer).output().unwrap();

        assert_eq!((code(&output), text(&output.stderr)), (141, ""), "{command:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_74() {
    let place = Place::new();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();

    let output = place.dlock(["list"]).stdout(full).output().unwrap();

    assert_eq!(code(&output), 74);
    assert!(complaint(&output).contains("can't write the answer: No space"), "{output:?}");
}

#[test]
fn every_manual_has_exit_codes_and_examples() {
    let place = Place::new();
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["try", "--help"],
        &["info", "--help"],
        &["list", "--help"],
        &["doctor", "--help"],
    ] {
        let manual = place.output(command);
        assert_eq!(code(&manual), 0);
        for heading in ["Usage:", "Exit codes:", "Environment:", "Files:", "Examples:"] {
            assert!(text(&manual.stdout).contains(heading), "{command:?} {heading}");
        }
    }
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}
