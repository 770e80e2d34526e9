//! Many readers or one writer, among all machines that reach a PostgreSQL server.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Mutex;

use lock_tokio::prelude::*;

static CACHE: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let url =
        std::env::var("POSTGRES_URL").unwrap_or_else(|_| "postgresql://localhost/mydb".into());
    let provider = PostgresLockProvider::new(&url).await?;
    cache_example(&provider).await?;
    cache_example(&provider).await
}

async fn cache_example(provider: &PostgresLockProvider) -> Result<(), LockError> {
    let rw_lock = provider.create_reader_writer_lock("cache");

    // Multiple readers can hold the lock simultaneously
    {
        let read_handle = rw_lock.acquire_read(None).await?;
        let another = rw_lock.acquire_read(None).await?;
        let data = read_from_cache().await;
        println!("Read {data:?} beside another reader");
        assert!(rw_lock.try_acquire_write().await?.is_none());
        another.release().await?;
        read_handle.release().await?;
    }

    // Writers get exclusive access
    {
        let write_handle = rw_lock.acquire_write(None).await?;
        update_cache().await;
        write_handle.release().await?;
    }

    Ok(())
}

async fn read_from_cache() -> Vec<&'static str> {
    tokio::task::yield_now().await;
    CACHE.lock().map(|cache| cache.clone()).unwrap_or_default()
}

async fn update_cache() {
    tokio::task::yield_now().await;
    if let Ok(mut cache) = CACHE.lock() {
        cache.push("fresh");
    }
}
