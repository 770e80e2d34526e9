//! Five tasks share a resource that one may use at a time; none is forgotten.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();

    // Create the mutex.
    let mutex = provider.create_lock("shared-resource");
    let inside = Arc::new(AtomicU32::new(0));

    // Spawn multiple tasks.
    let mut tasks = vec![];

    for i in 0..5 {
        let mutex = mutex.clone();
        let inside = Arc::clone(&inside);
        let task = tokio::spawn(async move {
            let _guard = mutex.acquire(None).await?;
            println!("Task {i} acquired mutex");
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");

            // Simulate work.
            tokio::time::sleep(Duration::from_millis(10)).await;

            println!("Task {i} releasing mutex");
            inside.fetch_sub(1, Ordering::SeqCst);
            // The guard is released when it is dropped.
            Ok::<_, LockError>(())
        });

        tasks.push(task);
    }

    // Wait for all tasks to complete.
    for task in tasks {
        task.await??;
    }
    println!("All tasks had their turn");
    Ok(())
}
