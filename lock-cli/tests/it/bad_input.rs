//! Odd names, places that are no places, and command lines that mean nothing.

use std::os::unix::ffi::OsStrExt as _;
use std::process::Output;

use crate::place::{Place, code, complaint, text};

#[test]
fn every_text_is_a_name_of_its_own() {
    let place = Place::new();
    let long = "x".repeat(100_000);
    let names = [
        "",
        " ",
        ".",
        "..",
        "../../etc/passwd",
        "/",
        "a/b",
        "a\\b",
        "a",
        "A",
        "a\nb",
        "é",
        "*",
        &long,
    ];
    let mut holders = Vec::new();
    for name in names {
        let session = place.hold(&[name]);
        holders.push(session);
        assert_eq!(place.code(["run", "-q", "-t", "0s", name, "--", "true"]), 75, "{name:.20?}");
    }
    assert_eq!(std::fs::read_dir(place.locks()).unwrap().count(), names.len());
    drop(holders);

    let listed: serde_json::Value = serde_json::from_slice(&place.output(["list"]).stdout).unwrap();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|lock| &lock["name"]).collect();
    for name in names.iter().filter(|name| name.len() < 500) {
        assert!(listed.iter().any(|listed| listed == name), "{name:?} in {listed:?}");
    }
}

#[test]
fn a_name_that_is_no_text_or_too_long_is_refused() {
    let place = Place::new();

    let bytes = std::ffi::OsStr::from_bytes(b"\xff");
    let args = ["run".as_ref(), bytes, "--".as_ref(), "true".as_ref()];
    assert_eq!(code(&refused(place.output(args))), 64);
}

#[test]
fn command_lines_that_mean_nothing_are_64() {
    let place = Place::new();
    let lines: [&[&str]; 16] = [
        &["frobnicate"],
        &["run"],
        &["run", "a"],
        &["run", "a", "--"],
        &["run", "a", "true"],
        &["run", "--frobnicate", "a", "--", "true"],
        &["run", "--timeout", "5", "a", "--", "true"],
        &["run", "--timeout=-5s", "a", "--", "true"],
        &["run", "--permits", "0", "a", "--", "true"],
        &["run", "--permits=-1", "a", "--", "true"],
        &["run", "--permits", "2", "--shared", "a", "--", "true"],
        &["run", "--conflict-exit-code", "256", "a", "--", "true"],
        &["run", "--file", "x", "a", "--", "true"],
        &["run", "--file", "x", "--url", "file:///tmp/x", "--", "true"],
        &["run", "--owner", "two\nlines", "a", "--", "true"],
        &["list", "--json", "--format", "human"],
    ];
    for line in lines {
        assert_eq!(code(&refused(place.output(line))), 64, "{line:?}");
    }
    assert_eq!(place.output([] as [&str; 0]).status.code(), Some(64));
}

#[test]
fn urls_that_name_no_place_are_64() {
    let place = Place::new();
    for (url, hint) in [
        ("gopher://x", "file:"),
        ("file://relative", "file:///var/lock/app"),
        ("nonsense", "file:///var/lock/app"),
        ("memory:", "file:///directory"),
        ("MEMORY:", "file:///directory"),
    ] {
        let output = refused(place.output(["run", "--url", url, "a", "--", "true"]));
        assert_eq!(code(&output), 64, "{url}");
        assert!(complaint(&output).contains(hint), "{output:?}");
    }
}

#[test]
fn places_that_cannot_be_used_are_69_and_say_which() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    let below = place.path("file/locks");
    for directory in [place.path("file").to_str().unwrap(), below.to_str().unwrap(), "/proc/dlock"]
    {
        let url = format!("file://{directory}");
        for command in [&["run", "--url", &url, "a", "--", "true"][..], &["list", "--url", &url]] {
            let output = refused(place.output(command));
            assert_eq!(code(&output), 69, "{output:?}");
            assert!(complaint(&output).contains(directory), "{output:?}");
        }
    }
}

#[test]
fn a_directory_that_forbids_writing_is_69() {
    let place = Place::new();
    // Root may write anywhere but to a system of files that is not made for it.
    let url = "file:///sys/kernel";

    let output = refused(place.output(["run", "--url", url, "a", "--", "true"]));

    assert_eq!(code(&output), 69, "{output:?}");
    assert!(complaint(&output).contains("/sys/kernel/"), "{output:?}");
}

#[test]
fn too_few_descriptors_are_69_and_never_a_panic() {
    let place = Place::new();
    for limit in 4..16 {
        let script = format!(r#"ulimit -n {limit}; exec "$DLOCK" run a -- true"#);
        let output = place.on_place("sh", ["-c", &script]).output().unwrap();
        match code(&output) {
            0 => assert_eq!(text(&output.stderr), ""),
            // The linker has not even found the program's libraries.
            127 => {}
            code => {
                assert_eq!(code, 69, "{output:?}");
                assert!(complaint(&output).contains("Too many open files"), "{output:?}");
            }
        }
    }
    assert_eq!(place.code(["try", "a"]), 0);
}

#[test]
fn a_directory_or_a_planted_link_is_no_lock_file() {
    let place = Place::new();
    std::fs::create_dir(place.path("directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path("link")).unwrap();
    for (path, hint) in [("directory", "is a directory"), ("link", "symbolic link"), ("/", "path")]
    {
        let output = refused(place.output(["run", "--file", path, "--", "true"]));
        assert!(complaint(&output).contains(hint), "{output:?}");
    }
}

#[test]
fn locks_are_in_the_users_own_directory_unless_told_otherwise() {
    let place = Place::new();
    let home = place.path("");
    for (variable, directory) in [
        ("XDG_RUNTIME_DIR", "distributed-lock"),
        ("XDG_STATE_HOME", "distributed-lock"),
        ("HOME", ".local/state/distributed-lock"),
    ] {
        let directory = home.join(directory);
        let mut command = place.dlock(["run", "a", "--", "true"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DLOCK_URL", "").env(variable, &home);
        assert_eq!(code(&command.output().unwrap()), 0);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "{variable}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn without_any_directory_the_hint_is_the_url() {
    let place = Place::new();
    let mut command = place.dlock(["run", "a", "--", "true"]);
    command.env_clear().env("XDG_RUNTIME_DIR", "relative/path");

    let output = refused(command.output().unwrap());

    assert_eq!(code(&output), 64);
    assert!(complaint(&output).contains("--url"), "{output:?}");
}

/// Nothing on standard output, and one line that says why.
fn refused(output: Output) -> Output {
    assert_eq!(text(&output.stdout), "");
    complaint(&output);
    output
}
