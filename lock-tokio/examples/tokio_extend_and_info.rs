//! Tries once, prolongs the lease by hand while it works, and lets others see who holds the lock.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::Renewal;
use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("my_resource");
    let once = AcquireOptions::new()
        .with_timeout(Duration::ZERO)
        .with_ttl(Duration::from_secs(10))
        .with_renewal(Renewal::Off)
        .with_owner("worker 1");

    let handle = lock.acquire_with(once.clone()).await?;

    // Critical section.
    println!("Lock acquired!");
    assert!(lock.acquire_with(once).await.is_err_and(|error| error.is_timeout()));

    // Extend if needed; never shortens what is left.
    handle.extend(Duration::from_secs(15)).await?;
    assert!(handle.remaining() > Some(Duration::from_secs(10)));

    // Anybody may ask.
    assert!(lock.is_locked().await?);
    for holder in lock.info().await?.holders {
        assert_eq!(holder.owner.as_deref(), Some("worker 1"));
        assert!(holder.remaining > Some(Duration::from_secs(10)));
        println!("Held by {:?}, fence {:?}", holder.owner, holder.fence);
    }

    // Work...

    handle.release().await?;
    assert!(!lock.is_locked().await?);
    Ok(())
}
