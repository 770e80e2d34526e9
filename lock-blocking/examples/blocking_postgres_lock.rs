//! One at a time among all machines that reach a PostgreSQL server, without a runtime.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_blocking::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());
    let provider = PostgresLockProvider::new(&url)?;

    let handle = provider.create_lock("my-resource").acquire(Some(Duration::from_secs(5)))?;
    println!("Lock acquired! Doing critical work...");
    assert!(handle.is_valid());
    handle.release()?;
    println!("Lock released!");

    // The same by URL alone, whichever backend it names.
    let provider = connect(&url)?;
    let handle = provider.create_lock("my-resource").acquire(None)?;
    // At the end of a program a dropped handle has been released.
    drop(handle);
    println!("Released by the drop: {}", !provider.create_lock("my-resource").is_locked()?);
    Ok(())
}
