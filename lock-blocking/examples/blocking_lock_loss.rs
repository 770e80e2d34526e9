//! Long work in small chunks stops after the chunk in which its lock was lost.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use std::thread;
use std::time::Duration;

use lock_blocking::LossReason;
use lock_blocking::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("long-work");

    // Somebody takes the lock away while we work.
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            provider.lose("long-work", LossReason::from("Connection died"));
        });
        let outcome = resilient_work(&lock, 1_000_000);
        assert!(outcome.is_err_and(|error| error.is_lost()));
    });

    // Nobody does.
    resilient_work(&lock, 3)?;
    println!("Finished the second time");
    Ok(())
}

fn resilient_work(lock: &impl DistributedLock, chunks: u32) -> Result<(), LockError> {
    let handle = lock.acquire(None)?;
    let lost = handle.lost_token();

    for _ in 0..chunks {
        // Do incremental work, and monitor for lock loss.
        do_work_chunk();
        if let Some(reason) = lost.reason() {
            eprintln!("Lock was lost! Aborting work.");
            return Err(LockError::LockLost(reason));
        }
    }

    handle.release()?;
    Ok(())
}

fn do_work_chunk() {
    thread::sleep(Duration::from_millis(5));
}
