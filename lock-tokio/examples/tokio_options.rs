//! What one acquisition may be asked beyond its defaults; what contradicts itself is refused.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;
use lock_tokio::{Backoff, Renewal};

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("lock_key");

    let options = AcquireOptions::new()
        // How often the lease is prolonged (default: three times per lease); must be shorter than
        // the lease, or it would run out before.
        .with_renewal(Renewal::Every(Duration::from_secs(3)))
        // How long to rest between two tries, where waiting needs tries.
        .with_backoff(Backoff::new(Duration::from_secs(1), Duration::from_secs(1))?)
        // How long to try; None, the default, means for ever.
        .with_timeout(Some(Duration::from_millis(50)))
        // How long the lock outlives a holder that can't prolong it any more.
        .with_ttl(Duration::from_secs(5));

    // Acquire the lock with these options.
    let handle = lock.acquire_with(options.clone()).await?;
    assert!(handle.remaining().is_some_and(|left| left <= Duration::from_secs(5)));

    // Whoever else tries gives up in time.
    assert!(lock.acquire_with(options.clone()).await.is_err_and(|error| error.is_timeout()));
    handle.release().await?;

    let refused = options.with_renewal(Renewal::Every(Duration::from_secs(5)));
    match lock.acquire_with(refused).await {
        Err(error @ LockError::InvalidConfig { option: "renewal", .. }) => println!("{error}"),
        other => panic!("a cadence as long as the lease was not refused: {other:?}"),
    }
    Ok(())
}
