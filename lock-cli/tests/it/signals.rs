//! Signals, to `dlock` and through it.

use crate::place::{HOLD, Place, Session};

#[test]
fn every_signal_is_forwarded_and_the_lock_is_free_afterwards() {
    let place = Place::new();
    for name in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
        let script =
            format!("trap 'echo {name}; exit 7' {name}; echo ready; while :; do read x; done");
        let session = place.session(&["a"], &script);

        session.signal(name);
        let end = session.ended();

        assert_eq!((end.code, end.output), (Some(7), format!("{name}\n")));
        assert_eq!(place.code(["try", "a"]), 0);
    }
}

#[test]
fn the_lock_is_held_until_the_command_has_ended_and_not_just_been_told() {
    let place = Place::new();
    let script = "trap 'echo told' TERM; echo ready; until [ \"$x\" = end ]; do read x; done";
    let mut session = place.session(&["a"], script);

    session.signal("TERM");
    assert_eq!(session.line(), "told");

    assert_eq!(place.code(["try", "a"]), 75);
    session.type_in("end\n");
    assert_eq!(session.ended().code, Some(0));
    assert_eq!(place.code(["try", "a"]), 0);
}

#[test]
fn a_signal_ends_the_wait_and_leaves_nothing() {
    let place = Place::new();
    let holder = place.hold(&["a"]);
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let waiter = place.wait(&["a", "--", "touch", "ran"]);

        waiter.signal(name);

        assert_eq!(waiter.ended().code, Some(code));
    }
    holder.end();
    assert_eq!(place.code(["run", "-t", "0s", "a", "--", "true"]), 0);
    assert!(!place.path("ran").exists());
}

#[test]
fn signals_that_tell_a_program_something_do_not_end_the_wait() {
    let place = Place::new();
    let holder = place.hold(&["a"]);
    let waiter = place.wait(&["a", "--", "echo", "mine"]);

    waiter.signal("USR1");
    waiter.signal("USR2");
    holder.end();

    let end = waiter.ended();
    assert_eq!((end.code, end.output.as_str()), (Some(0), "mine\n"));
}

#[test]
fn what_was_ignored_from_the_start_stays_ignored() {
    let place = Place::new();
    let nohup = r#"trap '' HUP INT; exec "$DLOCK" run a -- sh -c "$1""#;
    let script = HOLD.replace("exit 0", "exit 5");
    let mut session = Session::start(place.on_place("sh", ["-c", nohup, "sh", &script]));
    assert_eq!(session.line(), "ready");

    session.signal("HUP");
    session.signal("INT");

    assert_eq!(session.end().code, Some(5));
}

#[test]
fn a_dlock_that_is_killed_leaves_its_lock_to_a_waiter_and_no_command() {
    let place = Place::new();
    let holder = place.hold(&["a"]);
    let waiter = place.wait(&["a", "--", "echo", "mine"]);

    holder.signal("KILL");

    let end = waiter.ended();
    assert_eq!((end.code, end.output.as_str()), (Some(0), "mine\n"));
    // Its output ends only when the command is gone as well, which still has its input.
    assert_eq!(holder.ended().code, None);
}
