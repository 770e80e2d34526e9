//! One at a time among all machines that reach a Redis server.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".into());

    // A single Redis server.
    let provider = RedisLockProvider::builder().url(&url).build().await?;

    let lock = provider.create_lock("my-resource");
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;

    // The lock is extended in the background for as long as the work takes.
    do_long_running_work().await;
    assert!(handle.is_valid());

    // Whatever the lock protects can refuse writers with a smaller token.
    println!("Fencing token: {}", handle.fence().is_some());

    // Another provider, as on another machine, does not get it.
    let other = RedisLockProvider::builder().add_server(&url).build().await?;
    assert!(other.create_lock("my-resource").try_acquire().await?.is_none());

    handle.release().await?;
    println!("Lock released!");

    assert!(other.create_lock("my-resource").try_acquire().await?.is_some());
    other.close().await;
    Ok(())
}

async fn do_long_running_work() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
