//! Long work in small chunks stops at once when its lock is lost.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::LossReason;
use lock_tokio::prelude::*;
use tokio::select;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("long-work");

    // Somebody takes the lock away while we work.
    let (outcome, ()) = tokio::join!(resilient_work(&lock, 1_000_000), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        provider.lose("long-work", LossReason::from("Connection died"));
    });
    assert!(outcome.is_err_and(|error| error.is_lost()));

    // Nobody does.
    resilient_work(&lock, 3).await?;
    println!("Finished the second time");
    Ok(())
}

async fn resilient_work(lock: &impl DistributedLock, chunks: u32) -> Result<(), LockError> {
    let handle = lock.acquire(None).await?;
    let mut done = 0;

    loop {
        select! {
            // Monitor for lock loss.
            reason = handle.lost_token().changed() => {
                eprintln!("Lock was lost! Aborting work.");
                return Err(LockError::LockLost(reason));
            }

            // Do incremental work.
            () = do_work_chunk() => {
                done += 1;
                if done == chunks {
                    break;
                }
            }
        }
    }

    handle.release().await?;
    Ok(())
}

async fn do_work_chunk() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
