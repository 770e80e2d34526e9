//! A lease that is renewed five times and no more: a job that takes too long notices that it lost
//! its lock, and stops.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::{Duration, Instant};

use lock_tokio::prelude::*;
use lock_tokio::{LossReason, Renewal};

const TTL: Duration = Duration::from_millis(600);
const CADENCE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), LockError> {
    let provider = InMemoryLockProvider::new();

    let options = AcquireOptions::new()
        .with_timeout(Duration::from_secs(10))
        .with_ttl(TTL)
        .with_renewal(Renewal::Every(CADENCE))
        .with_max_renewals(5);

    let lock = provider.create_lock("long-running-task").acquire_with(options).await?;
    let started = Instant::now();

    // Long-running operation.
    for i in 0..20 {
        println!("Working on step {i}");
        tokio::time::sleep(CADENCE).await;

        // Check if the lock is still valid.
        if !lock.is_valid() {
            println!("Lock lost, aborting operation");
            break;
        }
    }

    assert!(!lock.is_valid(), "it was renewed too often");
    assert!(started.elapsed() > TTL + 4 * CADENCE, "it was renewed too rarely");
    assert_eq!(lock.lost_token().reason(), Some(LossReason::Expired));

    // Somebody else may have held it meanwhile, and the release says so.
    assert!(lock.release().await.is_err_and(|error| error.is_lost()));
    Ok(())
}
