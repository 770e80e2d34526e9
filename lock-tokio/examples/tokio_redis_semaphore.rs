//! At most five at a time among all machines that reach a Redis server.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".into());
    let provider = RedisLockProvider::new(&url).await?;

    for _ in 0..3 {
        database_access(&provider).await?;
    }

    // Five tickets at once are all there are.
    let semaphore = provider.create_semaphore("db-pool", 5);
    let tickets = semaphore.acquire_many(5, Some(Duration::from_secs(10))).await?;
    assert!(semaphore.try_acquire().await?.is_none());
    tickets.release().await?;
    println!("All five tickets came back");
    Ok(())
}

async fn database_access(provider: &RedisLockProvider) -> Result<(), LockError> {
    // Allow at most 5 concurrent database connections.
    let semaphore = provider.create_semaphore("db-pool", 5);

    // Acquire a "ticket".
    let ticket = semaphore.acquire(Some(Duration::from_secs(10))).await?;

    // Use the limited resource.
    query_database().await;

    // Release the ticket.
    ticket.release().await
}

async fn query_database() {
    tokio::task::yield_now().await;
}
