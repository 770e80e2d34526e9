//! Does the work if nobody else is at it, and skips it otherwise, without waiting.

#![expect(clippy::print_stdout, reason = "an example talks")]

use lock_async_std::prelude::*;

#[async_std::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("my-resource");

    assert!(maybe_do_work(&lock).await?);

    let somebody_else = lock.acquire(None).await?;
    assert!(!maybe_do_work(&lock).await?);
    somebody_else.release().await?;

    assert!(maybe_do_work(&lock).await?);
    Ok(())
}

async fn maybe_do_work(lock: &impl DistributedLock) -> Result<bool, LockError> {
    match lock.try_acquire().await? {
        Some(handle) => {
            // We got the lock!
            do_work().await;
            handle.release().await?;
            Ok(true)
        }
        None => {
            // Someone else has it.
            println!("Lock unavailable, skipping work");
            Ok(false)
        }
    }
}

async fn do_work() {
    async_std::task::yield_now().await;
    println!("Working");
}
