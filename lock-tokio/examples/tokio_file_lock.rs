//! One at a time among the processes of this machine, by a lock on a file that is released by hand.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;

    // Create a provider; a program would name a directory such as /var/lock/myapp.
    let provider = FileLockProvider::builder().directory(directory.path()).build()?;

    // Create a lock by name.
    let lock = provider.create_lock("my-resource");

    // Acquire the lock with a time-out.
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;

    // Another provider, as in another process, does not get it.
    let other = FileLockProvider::new(directory.path())?;
    assert!(other.create_lock("my-resource").try_acquire().await?.is_none());

    println!("Lock acquired! Doing critical work...");
    do_critical_work().await?;

    // Release the lock (also happens on drop).
    handle.release().await?;
    println!("Lock released!");

    assert!(other.create_lock("my-resource").try_acquire().await?.is_some());
    Ok(())
}

async fn do_critical_work() -> Result<(), Box<dyn std::error::Error>> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}
