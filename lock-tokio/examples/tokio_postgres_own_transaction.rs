//! A lock that begins and ends with a transaction of the program's own.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;
use tokio_postgres::{Client, NoTls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());
    let (mut client, other) = (connected(&url).await?, connected(&url).await?);
    client.batch_execute("create temporary table bookings (seat int)").await?;

    // The same lock that a PostgresLockProvider calls so.
    let lock = PostgresAdvisoryLock::new("seat 17")?;
    let mut transaction = client.transaction().await?;
    lock.acquire_in(&mut transaction, Some(Duration::from_secs(5))).await?;
    transaction.execute("insert into bookings values (17)", &[]).await?;
    println!("Free before the commit: {}", lock.try_acquire_on(&other).await?);

    // The work becomes visible and the lock free at the same moment.
    transaction.commit().await?;

    // On a connection outside of a transaction, the lock stays until it is released.
    println!("Free after the commit: {}", lock.try_acquire_on(&other).await?);

    // Not to get a lock in time leaves the transaction as it was.
    let mut transaction = client.transaction().await?;
    transaction.execute("insert into bookings values (18)", &[]).await?;
    match lock.acquire_in(&mut transaction, Some(Duration::from_millis(50))).await {
        Err(LockError::Timeout(limit)) => println!("Not free within {limit:?}"),
        result => result?,
    }
    transaction.commit().await?;
    let count = client.query_one("select count(*) from bookings", &[]).await?;
    println!("Bookings: {}", count.get::<_, i64>(0));

    lock.release_on(&other).await?;
    Ok(())
}

async fn connected(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
