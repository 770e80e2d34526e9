//! Locks on PostgreSQL.
//!
//! Without `initdb` and `postgres` on the path there is nothing to measure.

use std::sync::Arc;
use std::time::Duration;

use lock_tokio::LockProvider as _;

use crate::bench::{Bench, first_core};
use crate::metric::Metric::{
    CyclesPerSecond, MostToLeastServed, Overlaps, OwnerChangesPerSecond, WaitP99Ms,
};
use crate::round::Scenario;
use crate::subjects::postgres::{AdvisoryFloor, DistributedPostgres, Sqlx};
use crate::subjects::{DISTRIBUTED_LOCK, FENCED, FLOOR, ONE_PROVIDER, SQLX, TOKIO, ours};
use crate::turns::{self, Turn};
use crate::workload::{Crowd, Executor, alone, crowd, side_by_side};

const TRY: &str = "pg_try_advisory_lock";
const WAIT: &str = "pg_advisory_lock";
const WAITERS: u32 = 8;
const TASKS: u32 = 64;

/// One task, one acquire + release after another, with both ends of each connection on one core:
/// elsewhere it is measured where the kernel happens to place them, once for the life of each.
pub fn one_task(bench: &Bench) -> Scenario<'_> {
    let about = "PostgreSQL, one task, all on one core; the floor is two prepared statements";
    let scenario = Scenario::new("postgres-uncontended", about, bench.pick(31, 9));
    let Some(server) = bench.postgres() else { return scenario };
    let (url, runtime) = (server.url(), bench.runtime_on_one_core());
    let confined = server.confine(&first_core());
    let (ours, fenced, floor, sqlx, distributed) = runtime.block_on(async {
        let provider = DistributedPostgres::provider(&url, 2).await;
        (
            Arc::new(ours::postgres(&url, false).await.create_lock("one task")),
            Arc::new(ours::postgres(&url, true).await.create_lock("fenced")),
            Arc::new(AdvisoryFloor::new(&url, TRY, 1).await),
            Arc::new(Sqlx::new(&Sqlx::pool(&url, 2).await, "sqlx")),
            Arc::new(DistributedPostgres::new(&provider, "distributed-lock")),
        )
    });
    let (executor, pace) = (Executor::Tokio(runtime), bench.alone(60, 25));
    scenario
        .with(FLOOR, move || {
            let _ = &confined;
            alone(executor, &floor, pace)
        })
        .with(TOKIO, move || alone(executor, &ours, pace))
        .with(FENCED, move || alone(executor, &fenced, pace))
        .with(SQLX, move || alone(executor, &sqlx, pace))
        .with(DISTRIBUTED_LOCK, move || alone(executor, &distributed, pace))
}

/// Sixty-four tasks, a key for each.
pub fn many_keys(bench: &Bench) -> Scenario<'_> {
    let about = "PostgreSQL, 64 tasks, a key for each; the floor has 64 connections";
    let scenario = Scenario::new("postgres-64-keys", about, bench.pick(15, 5));
    let Some(server) = bench.postgres() else { return scenario };
    let url = server.url();
    let (ours, floor, sqlx, distributed) = bench.block_on(async {
        let pool = Sqlx::pool(&url, TASKS).await;
        let provider = DistributedPostgres::provider(&url, TASKS).await;
        let key = |task: u32| format!("{task}");
        (
            ours::locks(&ours::postgres(&url, false).await, "many keys", TASKS as usize),
            floors(&url, TRY, (1..).take(TASKS as usize)).await,
            (0..TASKS).map(|task| Arc::new(Sqlx::new(&pool, &key(task)))).collect::<Vec<_>>(),
            (0..TASKS)
                .map(|task| Arc::new(DistributedPostgres::new(&provider, &key(task))))
                .collect::<Vec<_>>(),
        )
    });
    let (executor, span) = (bench.tokio(), bench.span(300, 150));
    scenario
        .with(FLOOR, move || side_by_side(executor, &floor, span))
        .with(TOKIO, move || side_by_side(executor, &ours, span))
        .with(SQLX, move || side_by_side(executor, &sqlx, span))
        .with(DISTRIBUTED_LOCK, move || side_by_side(executor, &distributed, span))
}

/// Eight tasks that want one key.
pub fn one_key(bench: &Bench) -> Scenario<'_> {
    let about = "PostgreSQL, 8 tasks, one key; the floor waits in the server, a connection each";
    let scenario = Scenario::new("postgres-8-waiters", about, bench.pick(15, 5));
    let Some(server) = bench.postgres() else { return scenario };
    let url = server.url();
    let (ours, passing, floor, sqlx, distributed) = bench.block_on(async {
        let pool = Sqlx::pool(&url, WAITERS).await;
        let provider = DistributedPostgres::provider(&url, WAITERS).await;
        let mut ours = Vec::new();
        for _ in 0..WAITERS {
            ours.push(Arc::new(ours::postgres(&url, false).await.create_lock("clients")));
        }
        let one = Arc::new(ours::postgres(&url, false).await.create_lock("one provider"));
        (
            ours,
            vec![one; WAITERS as usize],
            floors(&url, WAIT, (0..WAITERS).map(|_| 1)).await,
            (0..WAITERS).map(|_| Arc::new(Sqlx::new(&pool, "sqlx"))).collect::<Vec<_>>(),
            (0..WAITERS)
                .map(|_| Arc::new(DistributedPostgres::new(&provider, "distributed-lock")))
                .collect::<Vec<_>>(),
        )
    });
    let executor = bench.tokio();
    let pace = Crowd { hold: Duration::ZERO, think: Duration::ZERO, span: bench.span(400, 120) };
    let sample = |turns: &[Vec<Turn>]| {
        let metrics =
            [OwnerChangesPerSecond, CyclesPerSecond, WaitP99Ms, MostToLeastServed, Overlaps];
        turns::only(&turns::of_mutex(turns), &metrics)
    };
    scenario
        .with(FLOOR, move || sample(&crowd(executor, &floor, pace)))
        .with(TOKIO, move || sample(&crowd(executor, &ours, pace)))
        .with(ONE_PROVIDER, move || sample(&crowd(executor, &passing, pace)))
        .with(SQLX, move || sample(&crowd(executor, &sqlx, pace)))
        .with(DISTRIBUTED_LOCK, move || sample(&crowd(executor, &distributed, pace)))
}

async fn floors(url: &str, take: &str, keys: impl Iterator<Item = i64>) -> Vec<Arc<AdvisoryFloor>> {
    let mut floors = Vec::new();
    for key in keys {
        floors.push(Arc::new(AdvisoryFloor::new(url, take, key).await));
    }
    floors
}
