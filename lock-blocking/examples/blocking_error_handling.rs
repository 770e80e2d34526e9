//! What can go wrong while acquiring, and how to tell it apart.

#![expect(clippy::print_stderr, reason = "an example talks")]

use std::time::Duration;

use lock_blocking::prelude::*;

fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("my-resource");
    handle_errors(&lock);
    assert!(!lock.is_locked()?);

    // Somebody else has it: Timeout.
    let somebody_else = lock.acquire(None)?;
    handle_errors(&lock);
    somebody_else.release()?;

    // A semaphore without permits: one of the others.
    handle_errors(&provider.create_semaphore("none", 0));

    // The program is about to end: Cancelled.
    provider.close();
    handle_errors(&lock);
    Ok(())
}

fn handle_errors(lock: &impl DistributedLock) {
    match lock.acquire(Some(Duration::from_millis(50))) {
        Ok(handle) => {
            // Got the lock.
            let _ = handle.release();
        }
        Err(LockError::Timeout(duration)) => {
            eprintln!("Timed out after {duration:?}");
        }
        Err(LockError::Cancelled) => {
            eprintln!("Operation was cancelled");
        }
        Err(LockError::Deadlock(msg)) => {
            eprintln!("Deadlock detected: {msg}");
        }
        Err(LockError::Connection(e)) => {
            eprintln!("Connection error: {e}");
        }
        Err(e) => {
            eprintln!("Other error: {e}");
        }
    }
}
