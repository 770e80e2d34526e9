//! One at a time among the processes of this machine, by a lock on a file that is released by hand.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_blocking::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;

    // Create a provider; a program would name a directory such as /var/lock/myapp.
    let provider = FileLockProvider::builder().directory(directory.path()).build()?;

    // Create a lock by name.
    let lock = provider.create_lock("my-resource");

    // Acquire the lock with a time-out.
    let handle = lock.acquire(Some(Duration::from_secs(5)))?;

    // Another provider, as in another process, does not get it.
    let other = FileLockProvider::new(directory.path())?;
    assert!(other.create_lock("my-resource").try_acquire()?.is_none());

    println!("Lock acquired! Doing critical work...");
    do_critical_work()?;

    // Release the lock (also happens on drop).
    handle.release()?;
    println!("Lock released!");

    assert!(other.create_lock("my-resource").try_acquire()?.is_some());
    Ok(())
}

fn do_critical_work() -> Result<(), Box<dyn std::error::Error>> {
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}
