//! The backend is a string of the configuration.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let endpoint = format!("file://{}", directory.path().display());

    // Connect.
    let provider = connect(&endpoint).await?;

    // Acquire the lock; where it is a lease, it is renewed until it is released.
    let options = AcquireOptions::new().with_timeout(Duration::from_secs(30));
    let lock = provider.create_lock("resource-key");
    let handle = lock.acquire_with(options).await?;

    // Critical section.
    {
        println!("Lock acquired, performing critical operations...");
        // Your critical code here.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(lock.is_locked().await?);
    }

    // Release the lock.
    handle.release().await?;
    println!("Lock released");

    // A backend that nobody knows is an error that says so.
    assert!(matches!(connect("carrier-pigeon:").await, Err(LockError::Unsupported(_))));
    Ok(())
}
