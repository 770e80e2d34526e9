//! Five threads share a resource that one may use at a time; none is forgotten.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_blocking::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = InMemoryLockProvider::new();

    // Create the mutex.
    let mutex = provider.create_lock("shared-resource");
    let inside = AtomicU32::new(0);

    let work = |i| {
        let _guard = mutex.acquire(None)?;
        println!("Thread {i} acquired mutex");
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");

        // Simulate work.
        thread::sleep(Duration::from_millis(10));

        println!("Thread {i} releasing mutex");
        inside.fetch_sub(1, Ordering::SeqCst);
        // The guard is released when it is dropped.
        Ok::<_, LockError>(())
    };

    // Spawn multiple threads, and wait for all to complete.
    thread::scope(|scope| {
        let threads: Vec<_> = (0..5).map(|i| scope.spawn(move || work(i))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    println!("All threads had their turn");
    Ok(())
}
