//! Workers share tasks through locks on a Redis cluster: each task is done by one of them.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lock_tokio::prelude::*;

const TASKS: usize = 6;
const WORKERS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_CLUSTER_URL")
        .unwrap_or_else(|_| "redis+cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002".into());
    let done: Arc<[AtomicUsize]> = (0..TASKS).map(|_| AtomicUsize::new(0)).collect();

    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let provider = RedisLockProvider::new(&url).await?;
        workers.push(tokio::spawn(work(worker, provider, Arc::clone(&done))));
    }
    for worker in workers {
        worker.await??;
    }

    assert!(done.iter().all(|times| times.load(Ordering::SeqCst) == 1));
    println!("{WORKERS} workers did {TASKS} tasks once each");
    Ok(())
}

async fn work(
    worker: usize,
    provider: RedisLockProvider,
    done: Arc<[AtomicUsize]>,
) -> Result<(), LockError> {
    for (task, times) in done.iter().enumerate() {
        // Somebody else does it, or is at it.
        let lock = provider.create_lock(&format!("task:{task}"));
        let Some(handle) = lock.try_acquire().await? else { continue };
        if times.load(Ordering::SeqCst) == 0 {
            println!("Worker {worker} does task {task}");
            times.fetch_add(1, Ordering::SeqCst);
        }
        handle.release().await?;
    }
    provider.close().await;
    Ok(())
}
