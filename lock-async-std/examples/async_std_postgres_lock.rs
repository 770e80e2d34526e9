//! One at a time among all machines that reach a PostgreSQL server, on async-std.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_async_std::prelude::*;

#[async_std::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());
    let provider = PostgresLockProvider::new(&url).await?;

    let lock = provider.create_lock("my-resource");
    let handle = lock.acquire(Some(Duration::from_secs(5))).await?;
    println!("Lock acquired! Doing critical work...");
    async_std::task::sleep(Duration::from_millis(20)).await;
    handle.release().await?;
    println!("Lock released!");

    provider.close().await;
    Ok(())
}
