//! Limits how many use a database at once: whoever comes when all permits are out waits for one.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use futures_lite::future;
use lock_async_std::prelude::*;

#[async_std::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    database_access(&provider).await?;

    // With all five tickets out, a sixth must wait.
    let semaphore = provider.create_semaphore("db-pool", 5);
    let all = semaphore.acquire_many(5, None).await?;
    assert!(semaphore.try_acquire().await?.is_none());

    let (sixth, released) = future::zip(database_access(&provider), all.release()).await;
    println!("The sixth got its ticket when others came back");
    sixth.and(released)
}

async fn database_access(provider: &dyn LockProvider) -> Result<(), LockError> {
    // Allow at most 5 concurrent database connections.
    let semaphore = provider.create_semaphore("db-pool", 5);

    // Acquire a "ticket".
    let ticket = semaphore.acquire(Some(Duration::from_secs(10))).await?;

    // Use the limited resource.
    query_database().await?;

    // Release the ticket.
    ticket.release().await?;
    Ok(())
}

async fn query_database() -> Result<(), LockError> {
    async_std::task::sleep(Duration::from_millis(20)).await;
    Ok(())
}
