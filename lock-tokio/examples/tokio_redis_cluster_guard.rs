//! A handle on a Redis cluster releases its lock when it goes out of scope, whatever the reason.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_CLUSTER_URL")
        .unwrap_or_else(|_| "redis+cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002".into());
    let provider = RedisLockProvider::new(&url).await?;

    match guarded(&provider).await {
        Err(error) => println!("The work failed: {error}"),
        Ok(()) => return Err("it was to fail".into()),
    }

    // Nobody released it by hand, and it is free.
    let lock = provider.create_lock("guarded_resource");
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;
    println!("The guard released its lock");
    handle.release().await?;

    // What a program awaits before it ends: until then a drop may still be on its way.
    provider.close().await;
    Ok(())
}

async fn guarded(provider: &RedisLockProvider) -> Result<(), Box<dyn std::error::Error>> {
    let _guard = provider.create_lock("guarded_resource").acquire(None).await?;
    println!("The guard holds its lock");
    Err("out of disk".into())
}
