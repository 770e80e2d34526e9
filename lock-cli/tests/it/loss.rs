//! What becomes of a command whose lock is lost.

use crate::place::Place;

#[test]
fn a_command_whose_lock_file_is_deleted_is_asked_to_end() {
    let place = Place::new();
    let script = "trap 'echo told; exit 0' TERM; echo ready; while :; do read x; done";
    let session = place.session(&["a"], script);

    std::fs::remove_file(place.lock_file()).unwrap();
    let end = session.ended();

    assert_eq!((end.code, end.output.as_str()), (Some(79), "told\n"));
    assert!(end.errors.starts_with(r#"dlock: lost "a": its lock file was deleted"#), "{end:?}");
    assert_eq!(end.errors.lines().count(), 1, "{end:?}");
}

#[test]
fn a_command_that_does_not_end_is_killed() {
    let place = Place::new();
    let script = "trap '' TERM; echo ready; while :; do read x; done";
    let session = place.session(&["--kill-after", "50ms", "a"], script);

    std::fs::remove_file(place.lock_file()).unwrap();
    let end = session.ended();

    assert_eq!(end.code, Some(79));
    assert!(end.errors.contains("has not ended: killing it"), "{end:?}");
}

#[test]
fn a_command_that_was_stopped_is_ended_as_well() {
    let place = Place::new();
    let session = place.session(&["a"], "trap 'exit 0' TERM; echo ready; kill -STOP $$; read x");

    std::fs::remove_file(place.lock_file()).unwrap();

    assert_eq!(session.ended().code, Some(79));
}
