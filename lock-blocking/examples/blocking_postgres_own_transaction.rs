//! A lock that begins and ends with a transaction of the program's own, without a runtime.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_blocking::prelude::*;
use postgres::{Client, NoTls};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());
    let (mut client, mut other) = (Client::connect(&url, NoTls)?, Client::connect(&url, NoTls)?);
    client.batch_execute("create temporary table bookings (seat int)")?;

    // The same lock that a PostgresLockProvider calls so.
    let lock = PostgresAdvisoryLock::new("seat 17")?;
    let mut transaction = client.transaction()?;
    lock.acquire_in(&mut transaction, Some(Duration::from_secs(5)))?;
    transaction.execute("insert into bookings values (17)", &[])?;
    println!("Free before the commit: {}", lock.try_acquire_on(&mut other)?);

    // The work becomes visible and the lock free at the same moment.
    transaction.commit()?;

    // On a connection outside of a transaction, the lock stays until it is released.
    println!("Free after the commit: {}", lock.try_acquire_on(&mut other)?);
    lock.release_on(&mut other)?;
    Ok(())
}
