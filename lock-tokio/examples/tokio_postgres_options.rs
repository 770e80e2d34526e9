//! Everything that can be chosen for locks on PostgreSQL, but for TLS.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());

    let provider = PostgresLockProvider::builder()
        .connection_string(&url)
        .keepalive_cadence(Duration::from_secs(60))
        .max_connections(4)
        .idle_timeout(Duration::from_secs(30))
        .fencing(true)
        .connect_timeout(Duration::from_secs(5))
        .build()
        .await?;
    let handle = provider.create_lock("my-resource").acquire(None).await?;
    println!("Fencing token: {}", handle.fence().is_some());
    handle.release().await?;

    // Behind a pooler that gives each transaction another connection.
    let pooled = PostgresLockProvider::builder().url(&url).use_transaction_scope(true);
    let handle = pooled.build().await?.create_lock("my-resource").acquire(None).await?;
    handle.release().await?;
    println!("Released with its transaction");

    let wrong = PostgresLockProvider::builder().url(&url).max_connections(0).build().await;
    if let Err(error) = wrong {
        println!("{error}");
    }
    Ok(())
}
