//! Many read a cache at once; who updates it is alone.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Mutex;

use lock_tokio::prelude::*;

static CACHE: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[tokio::main]
async fn main() -> Result<(), LockError> {
    cache_example(&InMemoryLockProvider::new()).await
}

async fn cache_example(provider: &dyn LockProvider) -> Result<(), LockError> {
    let rw_lock = provider.create_reader_writer_lock("cache");

    // Multiple readers can hold the lock simultaneously.
    {
        let read_handle = rw_lock.acquire_read(None).await?;
        let another_reader = rw_lock.acquire_read(None).await?;
        assert!(rw_lock.try_acquire_write().await?.is_none());

        let data = read_from_cache().await;
        println!("Read {data:?} beside another reader");
        another_reader.release().await?;
        read_handle.release().await?;
    }

    // Writers get exclusive access.
    {
        let write_handle = rw_lock.acquire_write(None).await?;
        assert!(rw_lock.try_acquire_read().await?.is_none());

        update_cache().await;
        write_handle.release().await?;
    }

    let read_handle = rw_lock.acquire_read(None).await?;
    println!("Read {:?} after the update", read_from_cache().await);
    read_handle.release().await
}

async fn read_from_cache() -> Vec<&'static str> {
    tokio::task::yield_now().await;
    CACHE.lock().expect("nobody panics with it").clone()
}

async fn update_cache() {
    tokio::task::yield_now().await;
    CACHE.lock().expect("nobody panics with it").push("fresh");
}
