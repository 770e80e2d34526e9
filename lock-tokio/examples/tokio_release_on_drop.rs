//! A lock is released when its handle goes out of scope, also on the way out of an error.

#![expect(clippy::print_stdout, reason = "an example talks")]

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("lock_key");

    // Use a block to limit the lock's life.
    {
        // The _ prefix says that only its drop matters. A plain _ would drop it at once.
        let _handle = lock.acquire(None).await?;
        assert!(lock.is_locked().await?);
    }
    assert!(!lock.is_locked().await?);

    assert!(fails_while_it_holds(&lock).await.is_err());
    assert!(!lock.is_locked().await?);

    println!("Nobody released it, and it is free");
    Ok(())
}

async fn fails_while_it_holds(lock: &Lock) -> Result<(), Box<dyn std::error::Error>> {
    let _handle = lock.acquire(None).await?;
    Err("something else went wrong".into())
}
