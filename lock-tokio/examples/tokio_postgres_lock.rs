//! One at a time among all machines that reach a PostgreSQL server.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());

    // Create provider (manages connection pooling)
    let provider = PostgresLockProvider::builder().connection_string(&url).build().await?;

    // Create a lock by name
    let lock = provider.create_lock("my-resource");

    // Acquire with 5 second timeout
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;

    println!("Lock acquired! Doing critical work...");

    // Critical section - only one process can be here
    do_critical_work().await?;

    // Another provider, as on another machine, does not get it.
    let other = PostgresLockProvider::new(&url).await?;
    assert!(other.create_lock("my-resource").try_acquire().await?.is_none());

    // Explicit release (also happens on drop)
    handle.release().await?;
    println!("Lock released!");

    assert!(other.create_lock("my-resource").try_acquire().await?.is_some());
    Ok(())
}

async fn do_critical_work() -> Result<(), Box<dyn std::error::Error>> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}
