//! The least that threads can do that want one thing in turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};

use crate::workload::BlockingLockable;

/// Something that threads hand on in the order in which they came.
#[derive(Default)]
pub struct Baton(Mutex<Line>);

#[derive(Default)]
struct Line {
    taken: bool,
    waiting: VecDeque<Arc<Waiter>>,
}

struct Waiter {
    thread: Thread,
    turn: AtomicBool,
}

impl Baton {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().expect("nobody panics")
    }
}

impl BlockingLockable for Baton {
    type Held = ();

    fn acquire(&self) {
        let waiter = Arc::new(Waiter { thread: thread::current(), turn: AtomicBool::new(false) });
        let mut line = self.line();
        if !line.taken {
            line.taken = true;
            return;
        }
        line.waiting.push_back(Arc::clone(&waiter));
        drop(line);
        while !waiter.turn.load(Ordering::Acquire) {
            thread::park();
        }
    }

    fn release(&self, (): ()) {
        let mut line = self.line();
        let Some(next) = line.waiting.pop_front() else {
            line.taken = false;
            return;
        };
        drop(line);
        next.turn.store(true, Ordering::Release);
        next.thread.unpark();
    }
}
