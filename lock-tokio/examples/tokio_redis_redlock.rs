//! A lock on a majority of several Redis servers, which survives the loss of a minority.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = high_availability_setup().await?;

    let lock = provider.create_lock("my-resource");
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;
    println!(
        "Held by a majority for {} s or more",
        handle.remaining().unwrap_or_default().as_secs()
    );
    handle.release().await?;

    provider.close().await;
    println!("Lock released!");
    Ok(())
}

async fn high_availability_setup() -> Result<RedisLockProvider, LockError> {
    let urls = std::env::var("REDIS_URLS").unwrap_or_else(|_| {
        "redis://redis1.example.com:6379,redis://redis2.example.com:6379,\
         redis://redis3.example.com:6379"
            .into()
    });

    // Acquire on a majority (2 of 3) for the lock to be valid.
    RedisLockProvider::builder()
        .urls(urls.split(','))
        .expiry(Duration::from_secs(30))
        .extension_cadence(Duration::from_secs(10))
        .build()
        .await
}
