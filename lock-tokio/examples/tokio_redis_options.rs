//! Automatic extension, passive release and drop, with options of their own for one acquisition.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;
use lock_tokio::{Backoff, Renewal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379/0".into());
    let locker = RedisLockProvider::new(&url).await?;
    let lock = locker.create_lock("lock_key");

    // The lease is extended in the background until the handle is released or dropped.
    {
        let _handle = lock.acquire(None).await?;
        println!("Held until the end of the block");
    }

    // Build custom options.
    let second = Duration::from_secs(1);
    let options = AcquireOptions::new()
        // How long the lock stays held when its holder is gone.
        .with_ttl(5 * second)
        // How often it is extended; must be shorter than that.
        .with_renewal(Renewal::Every(3 * second))
        // How long to rest between tries. Only a vote of several servers rests; others queue.
        .with_backoff(Backoff::new(second / 10, second)?)
        // How long to try; None means for ever.
        .with_timeout(3 * second);
    let handle = lock.acquire_with(options).await?;
    assert!(handle.remaining().is_some_and(|remaining| remaining <= 5 * second));
    handle.release().await?;
    println!("Released by hand");

    // An extension that would come too late is refused.
    let late = AcquireOptions::new().with_ttl(second).with_renewal(Renewal::Every(second));
    match lock.acquire_with(late).await {
        Err(error) => println!("{error}"),
        Ok(_) => return Err("it was to be refused".into()),
    }
    locker.close().await;
    Ok(())
}
