//! Ten tasks share a pool of three: never more than three are inside, and all get their turn.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lock_async_std::prelude::*;

#[async_std::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();

    // Create a semaphore with 3 permits.
    let semaphore = provider.create_semaphore("resource-pool", 3);
    let inside = Arc::new(AtomicU32::new(0));

    // Spawn multiple tasks.
    let mut tasks = vec![];

    for i in 0..10 {
        let semaphore = semaphore.clone();
        let inside = Arc::clone(&inside);
        let task = async_std::task::spawn(async move {
            let _permit = semaphore.acquire(None).await?;
            println!("Task {i} acquired permit");
            assert!(inside.fetch_add(1, Ordering::SeqCst) < 3, "three are inside already");

            // Simulate work.
            async_std::task::sleep(Duration::from_millis(10)).await;

            println!("Task {i} releasing permit");
            inside.fetch_sub(1, Ordering::SeqCst);
            // The permit is released when it is dropped.
            Ok::<_, LockError>(())
        });

        tasks.push(task);
    }

    // Wait for all tasks to complete.
    for task in tasks {
        task.await?;
    }
    println!("All tasks had their turn");
    Ok(())
}
