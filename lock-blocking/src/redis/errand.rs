//! Whether this thread may talk to a server itself, while its caller waits for the answer anyway.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static UNTIL: Cell<Option<Patience>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
enum Patience {
    Until(Instant),
    Endless,
}

/// Runs `errand`, whose caller waits for at most `timeout` or for ever.
pub(crate) fn run<T>(timeout: Option<Duration>, errand: impl FnOnce() -> T) -> T {
    let ends = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let _waiting = Waiting(UNTIL.replace(Some(ends.map_or(Patience::Endless, Patience::Until))));
    errand()
}

/// For how long the caller of this thread waits, if it does.
pub(super) fn left() -> Option<Duration> {
    match UNTIL.try_with(Cell::get) {
        Ok(Some(Patience::Endless)) => Some(Duration::MAX),
        Ok(Some(Patience::Until(ends))) => Some(ends.saturating_duration_since(Instant::now())),
        Ok(None) | Err(_) => None,
    }
}

/// What was before, to be put back.
struct Waiting(Option<Patience>);

impl Drop for Waiting {
    fn drop(&mut self) {
        // A destructor may run while the thread's own are already gone.
        let _ = UNTIL.try_with(|until| until.set(self.0));
    }
}
