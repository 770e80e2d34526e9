//! A case that never ends fails, and says which it is.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::Column;

/// No case takes as long, whatever goes wrong in it within its own bounds.
const LONGEST: Duration = Duration::from_secs(150);

/// Runs a case on a thread of its own: a case that waits for ever would take the tests after it, and
/// the reason, with it.
///
/// # Panics
///
/// If the case does, or has not ended after two and a half minutes.
pub fn watched<C: Column>(case: fn(&dyn Column), column: impl FnOnce() -> C + Send + 'static) {
    let (ended, end) = channel::<()>();
    let name = thread::current().name().unwrap_or_default().to_owned();
    let case = thread::Builder::new().name(name).spawn(move || {
        let _ended = ended;
        case(&column());
    });
    let case = case.expect("a test machine has threads");
    match end.recv_timeout(LONGEST) {
        Err(RecvTimeoutError::Timeout) => panic!("the case has not ended within {LONGEST:?}"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = case.join() {
                resume_unwind(panic);
            }
        }
    }
}
