//! Limits how many use a database at once: whoever comes when all permits are out waits for one.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::thread;
use std::time::Duration;

use lock_blocking::prelude::*;

fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    database_access(&provider)?;

    // With all five tickets out, a sixth must wait.
    let semaphore = provider.create_semaphore("db-pool", 5);
    let all = semaphore.acquire_many(5, None)?;
    assert!(semaphore.try_acquire()?.is_none());

    thread::scope(|scope| {
        let sixth = scope.spawn(|| database_access(&provider));
        all.release()?;
        sixth.join().expect("it does not panic")
    })?;
    println!("The sixth got its ticket when others came back");
    Ok(())
}

fn database_access(provider: &dyn LockProvider) -> Result<(), LockError> {
    // Allow at most 5 concurrent database connections.
    let semaphore = provider.create_semaphore("db-pool", 5);

    // Acquire a "ticket".
    let ticket = semaphore.acquire(Some(Duration::from_secs(10)))?;

    // Use the limited resource.
    query_database()?;

    // Release the ticket.
    ticket.release()?;
    Ok(())
}

fn query_database() -> Result<(), LockError> {
    thread::sleep(Duration::from_millis(20));
    Ok(())
}
