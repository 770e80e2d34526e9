//! Long work in small chunks stops at once when its lock is lost.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use std::time::Duration;

use async_std::task;
use futures_lite::future;
use lock_async_std::LossReason;
use lock_async_std::prelude::*;

#[async_std::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("long-work");

    // Somebody takes the lock away while we work.
    let (outcome, ()) = future::zip(resilient_work(&lock, 1_000_000), async {
        task::sleep(Duration::from_millis(50)).await;
        provider.lose("long-work", LossReason::from("Connection died"));
    })
    .await;
    assert!(outcome.is_err_and(|error| error.is_lost()));

    // Nobody does.
    resilient_work(&lock, 3).await?;
    println!("Finished the second time");
    Ok(())
}

async fn resilient_work(lock: &impl DistributedLock, chunks: u32) -> Result<(), LockError> {
    let handle = lock.acquire(None).await?;
    let lost = handle.lost_token();

    for _ in 0..chunks {
        // Do incremental work, and monitor for lock loss.
        let loss = async { Some(lost.changed().await) };
        let work = async {
            do_work_chunk().await;
            None
        };
        if let Some(reason) = future::or(loss, work).await {
            eprintln!("Lock was lost! Aborting work.");
            return Err(LockError::LockLost(reason));
        }
    }

    handle.release().await?;
    Ok(())
}

async fn do_work_chunk() {
    task::sleep(Duration::from_millis(5)).await;
}
