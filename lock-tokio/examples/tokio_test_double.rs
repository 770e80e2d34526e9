//! Tests what no backend does on demand: a clock that jumps, a lock that is lost.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use lock_tokio::prelude::*;
use lock_tokio::{LossReason, ManualClock, Renewal};

#[tokio::main]
async fn main() -> Result<(), LockError> {
    // Half a minute passes in no time.
    let clock = ManualClock::default();
    let provider = InMemoryLockProvider::builder().clock(&clock).build();
    let options =
        AcquireOptions::new().with_ttl(Duration::from_secs(30)).with_renewal(Renewal::Off);
    let handle = provider.create_lock("job").acquire_with(options).await?;
    clock.advance(Duration::from_secs(29));
    assert!(handle.is_valid());
    clock.advance(Duration::from_secs(1));
    assert!(!handle.is_valid());
    println!("The lease ran out on time");

    // The code under test learns of a loss and leaves the results alone.
    let (outcome, ()) = tokio::join!(job(&provider), async {
        while provider.lose("job", LossReason::Disconnected) == 0 {
            tokio::task::yield_now().await;
        }
    });
    assert!(outcome.is_err_and(|error| error.is_lost()));
    println!("The job noticed its loss");
    Ok(())
}

async fn job(provider: &dyn LockProvider) -> Result<(), LockError> {
    let handle = provider.create_lock("job").acquire(None).await?;
    let reason = handle.lost_token().changed().await;
    Err(LockError::LockLost(reason))
}
