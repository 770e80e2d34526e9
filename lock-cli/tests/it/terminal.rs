//! On a terminal, which script(1) of util-linux plays.

use crate::place::{Place, Session, available};

#[test]
fn on_a_terminal_it_says_for_whom_it_waits() {
    if !available("script") {
        return;
    }
    let place = Place::new();
    let holder = place.hold(&["--owner", "night shift", "a"]);
    let expected =
        format!(r#"dlock: waiting for "a", held by night shift, process {} on "#, holder.pid());

    let mut waiter = on_terminal(&place, r#""$DLOCK" run a -- echo mine"#);

    let said = waiter.line();
    assert!(said.starts_with(&expected), "{said:?}");
    holder.end();
    assert_eq!(waiter.line(), "mine");
    assert_eq!(waiter.end().code, Some(0));
}

#[test]
fn an_interrupt_that_is_typed_reaches_the_command_once() {
    if !available("script") {
        return;
    }
    let place = Place::new();
    let count = "trap 'echo interrupted' INT; echo ready; until [ \"$x\" = end ]; do read x; done";
    std::fs::write(place.path("count"), count).unwrap();
    // A shell around it would hear the interrupt too, and not every shell ignores that.
    let mut session = on_terminal(&place, r#"stty -echo; exec "$DLOCK" run a -- sh count"#);
    assert_eq!(session.line(), "ready");

    session.type_in("\x03");
    assert!(session.line().ends_with("interrupted"));
    session.type_in("end\n");

    let end = session.end();
    assert_eq!((end.code, end.output.as_str()), (Some(0), ""));
}

#[test]
fn answers_are_for_people_on_a_terminal() {
    if !available("script") {
        return;
    }
    let place = Place::new();

    let mut session = on_terminal(&place, r#""$DLOCK" try a"#);

    assert_eq!(session.line(), "free");
}

/// The shell that script(1) takes is that of the caller, who may have another or none; and who runs
/// the tests in the background has it ignore what is typed to interrupt.
fn on_terminal(place: &Place, script: &str) -> Session {
    let script = ["--default-signal", "script", "-qec", script, "/dev/null"];
    let mut command = place.on_place("env", script);
    command.env("SHELL", "/bin/sh");
    Session::start(command)
}
