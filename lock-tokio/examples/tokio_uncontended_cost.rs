//! Measures what an uncontended acquire and release cost: run it with `--release --features file`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Instant;

use lock_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let rounds = if cfg!(debug_assertions) { 1_000 } else { 200_000 };
    measure("memory", &InMemoryLockProvider::new(), rounds).await?;
    measure("files", &FileLockProvider::new(&directory)?, rounds).await?;
    Ok(())
}

async fn measure(what: &str, provider: &dyn LockProvider, rounds: u32) -> Result<(), LockError> {
    let lock = provider.create_lock("uncontended");
    let mut best = u128::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..rounds {
            lock.acquire(None).await?.release().await?;
        }
        best = best.min(started.elapsed().as_nanos() / u128::from(rounds));
    }
    println!("{what}: {best} ns per acquire and release");
    Ok(())
}
