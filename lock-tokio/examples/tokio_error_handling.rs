//! What can go wrong while acquiring, and how to tell it apart.

#![expect(clippy::print_stderr, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("my-resource");
    handle_errors(&lock).await;
    assert!(!lock.is_locked().await?);

    // Somebody else has it: Timeout.
    let somebody_else = lock.acquire(None).await?;
    handle_errors(&lock).await;
    somebody_else.release().await?;

    // A semaphore without permits: one of the others.
    handle_errors(&provider.create_semaphore("none", 0)).await;

    // The program is about to end: Cancelled.
    provider.close().await;
    handle_errors(&lock).await;
    Ok(())
}

async fn handle_errors(lock: &impl DistributedLock) {
    match lock.acquire(Some(Duration::from_millis(50))).await {
        Ok(handle) => {
            // Got the lock.
            let _ = handle.release().await;
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
