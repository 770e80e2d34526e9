//! Does the work if nobody else is at it, and skips it otherwise, without waiting.

#![expect(clippy::print_stdout, reason = "an example talks")]

use lock_blocking::prelude::*;

fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("my-resource");

    assert!(maybe_do_work(&lock)?);

    let somebody_else = lock.acquire(None)?;
    assert!(!maybe_do_work(&lock)?);
    somebody_else.release()?;

    assert!(maybe_do_work(&lock)?);
    Ok(())
}

fn maybe_do_work(lock: &impl DistributedLock) -> Result<bool, LockError> {
    match lock.try_acquire()? {
        Some(handle) => {
            // We got the lock!
            do_work();
            handle.release()?;
            Ok(true)
        }
        None => {
            // Someone else has it.
            println!("Lock unavailable, skipping work");
            Ok(false)
        }
    }
}

fn do_work() {
    println!("Working");
}
