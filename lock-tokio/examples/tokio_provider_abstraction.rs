//! One function for every backend: memory in its tests, files or a server in production.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In tests:
    let provider = InMemoryLockProvider::new();
    protected_operation(&provider).await?;
    println!("Protected by memory");

    // In production:
    let directory = tempfile::tempdir()?;
    let provider = FileLockProvider::new(directory.path())?;
    protected_operation(&provider).await?;
    println!("Protected by files");

    // Whichever the configuration names:
    let provider = connect("memory:").await?;
    protected_operation(&*provider).await?;
    println!("Protected by what a URL names");
    Ok(())
}

// Generic function works with any backend.
async fn protected_operation<P>(provider: &P) -> Result<(), LockError>
where
    P: LockProvider + ?Sized,
{
    let lock = provider.create_lock("operation");
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;

    // Do work...
    assert!(lock.is_locked().await?);

    handle.release().await
}
