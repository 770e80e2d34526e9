//! Several clients of a Redis cluster compete for one lock, and try again with growing rests.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;

const CLIENTS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_CLUSTER_URL")
        .unwrap_or_else(|_| "redis+cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002".into());

    // Each client has connections of its own, as another machine would.
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let provider = RedisLockProvider::new(&url).await?;
        clients.push(tokio::spawn(compete(client, provider)));
    }
    for client in clients {
        client.await??;
    }
    println!("All {CLIENTS} clients had the lock in turn");
    Ok(())
}

async fn compete(client: usize, provider: RedisLockProvider) -> Result<(), LockError> {
    let lock = provider.create_lock("contended_resource");

    // At most ten tries; whoever waits with a time-out instead is woken when its turn comes.
    let mut rest = Duration::from_millis(10);
    for _ in 0..10 {
        if let Some(handle) = lock.try_acquire().await? {
            return work(client, handle).await;
        }
        println!("Client {client} found it held, and rests for {rest:?}");
        tokio::time::sleep(rest).await;
        rest *= 2;
    }
    work(client, lock.acquire(Some(Duration::from_secs(10))).await?).await
}

async fn work(client: usize, handle: LockHandle) -> Result<(), LockError> {
    println!("Client {client} is in");
    tokio::time::sleep(Duration::from_millis(30)).await;
    handle.release().await
}
