//! Ten threads share a pool of three: never more than three are inside, and all get their turn.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_blocking::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();

    // Create a semaphore with 3 permits.
    let semaphore = provider.create_semaphore("resource-pool", 3);
    let inside = AtomicU32::new(0);

    let work = |i| {
        let _permit = semaphore.acquire(None)?;
        println!("Thread {i} acquired permit");
        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3, "three are inside already");

        // Simulate work.
        thread::sleep(Duration::from_millis(10));

        println!("Thread {i} releasing permit");
        inside.fetch_sub(1, Ordering::SeqCst);
        // The permit is released when it is dropped.
        Ok::<_, LockError>(())
    };

    // Spawn multiple threads, and wait for all to complete.
    thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|i| scope.spawn(move || work(i))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    println!("All threads had their turn");
    Ok(())
}
