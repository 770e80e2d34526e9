//! A lock on a Redis cluster: acquire, extend, ask who holds it, release.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_CLUSTER_URL")
        .unwrap_or_else(|_| "redis+cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002".into());
    let provider =
        RedisLockProvider::builder().url(&url).expiry(Duration::from_secs(10)).build().await?;
    let lock = provider.create_lock("my_resource");

    if let Some(handle) = lock.try_acquire().await? {
        // Critical section.
        println!("Lock acquired!");

        // Extend if needed.
        handle.extend(Duration::from_secs(15)).await?;

        let info = lock.info().await?;
        let holder = info.holders.first().ok_or("somebody holds it")?;
        assert!(lock.is_locked().await? && holder.pid == Some(std::process::id()));
        assert!(holder.remaining.is_some_and(|ttl| ttl > Duration::from_secs(10)));
        println!("Held by this process: {:?}", holder.pid == Some(std::process::id()));

        // Work …
        handle.release().await?;
    }
    assert!(!lock.is_locked().await?);
    println!("Lock released!");
    provider.close().await;
    Ok(())
}
