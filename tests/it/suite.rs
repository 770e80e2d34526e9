//! Each case of the suite in each column: every backend under every adapter.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use lock_tests::each_case;
use lock_tests::suite::adapters::{AsyncColumn, AsyncStd, Backend, BlockingColumn, Tokio};
use lock_tests::suite::watched::watched;
use lock_tests::suite::{distributed_lock, fault_tolerance, sync_primitives};

macro_rules! column {
    ($column:ident: $new:expr; $($theme:ident { $($case:ident)* })*) => {
        mod $column {
            use super::*;

            $(mod $theme {
                use super::*;

                $(#[test]
                fn $case() {
                    watched(super::super::$theme::$case, || $new);
                })*
            })*
        }
    };
}

each_case!(column! tokio_memory: AsyncColumn::<Tokio>::new(Backend::Memory););
each_case!(column! tokio_files: AsyncColumn::<Tokio>::new(Backend::Files););
each_case!(column! tokio_deleted_files: AsyncColumn::<Tokio>::new(Backend::DeletedFiles););
each_case!(column! async_std_memory: AsyncColumn::<AsyncStd>::new(Backend::Memory););
each_case!(column! async_std_files: AsyncColumn::<AsyncStd>::new(Backend::Files););
each_case!(column! async_std_deleted_files: AsyncColumn::<AsyncStd>::new(Backend::DeletedFiles););
each_case!(column! blocking_memory: BlockingColumn::new(Backend::Memory););
each_case!(column! blocking_files: BlockingColumn::new(Backend::Files););
each_case!(column! blocking_deleted_files: BlockingColumn::new(Backend::DeletedFiles););
each_case!(column! tokio_redis_server: AsyncColumn::<Tokio>::new(Backend::RedisServer););
each_case!(column! tokio_redis_three: AsyncColumn::<Tokio>::new(Backend::ThreeRedisServers););
each_case!(column! tokio_redis_five: AsyncColumn::<Tokio>::new(Backend::FiveRedisServers););
each_case!(column! tokio_redis_two_of_three: AsyncColumn::<Tokio>::new(Backend::TwoOfThreeRedisServers););
each_case!(column! tokio_redis_cluster: AsyncColumn::<Tokio>::new(Backend::RedisCluster););
each_case!(column! async_std_redis_server: AsyncColumn::<AsyncStd>::new(Backend::RedisServer););
each_case!(column! async_std_redis_three: AsyncColumn::<AsyncStd>::new(Backend::ThreeRedisServers););
each_case!(column! async_std_redis_five: AsyncColumn::<AsyncStd>::new(Backend::FiveRedisServers););
each_case!(column! async_std_redis_two_of_three: AsyncColumn::<AsyncStd>::new(Backend::TwoOfThreeRedisServers););
each_case!(column! async_std_redis_cluster: AsyncColumn::<AsyncStd>::new(Backend::RedisCluster););
each_case!(column! blocking_redis_server: BlockingColumn::new(Backend::RedisServer););
each_case!(column! blocking_redis_three: BlockingColumn::new(Backend::ThreeRedisServers););
each_case!(column! blocking_redis_five: BlockingColumn::new(Backend::FiveRedisServers););
each_case!(column! blocking_redis_two_of_three: BlockingColumn::new(Backend::TwoOfThreeRedisServers););
each_case!(column! blocking_redis_cluster: BlockingColumn::new(Backend::RedisCluster););
each_case!(column! tokio_postgres_shared: AsyncColumn::<Tokio>::new(Backend::PostgresShared););
each_case!(column! tokio_postgres_sessions: AsyncColumn::<Tokio>::new(Backend::PostgresSessions););
each_case!(column! tokio_postgres_transactions: AsyncColumn::<Tokio>::new(Backend::PostgresTransactions););
each_case!(column! tokio_postgres_pooled: AsyncColumn::<Tokio>::new(Backend::PostgresPooled););
each_case!(column! async_std_postgres_shared: AsyncColumn::<AsyncStd>::new(Backend::PostgresShared););
each_case!(column! async_std_postgres_sessions: AsyncColumn::<AsyncStd>::new(Backend::PostgresSessions););
each_case!(column! async_std_postgres_transactions: AsyncColumn::<AsyncStd>::new(Backend::PostgresTransactions););
each_case!(column! async_std_postgres_pooled: AsyncColumn::<AsyncStd>::new(Backend::PostgresPooled););
each_case!(column! blocking_postgres_shared: BlockingColumn::new(Backend::PostgresShared););
each_case!(column! blocking_postgres_sessions: BlockingColumn::new(Backend::PostgresSessions););
each_case!(column! blocking_postgres_transactions: BlockingColumn::new(Backend::PostgresTransactions););
each_case!(column! blocking_postgres_pooled: BlockingColumn::new(Backend::PostgresPooled););

macro_rules! names {
    ($($theme:ident { $($case:ident)* })*) => {
        [$($(concat!(stringify!($theme), "::", stringify!($case)),)*)*]
    };
}

const BACKENDS: [&str; 12] = [
    "memory",
    "files",
    "deleted_files",
    "redis_server",
    "redis_three",
    "redis_five",
    "redis_two_of_three",
    "redis_cluster",
    "postgres_shared",
    "postgres_sessions",
    "postgres_transactions",
    "postgres_pooled",
];

#[test]
fn no_case_is_missing_in_any_column() {
    let list = Command::new(env::current_exe().unwrap()).args(["--list", "suite::"]).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let present: BTreeSet<&str> =
        list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for adapter in ["tokio", "async_std", "blocking"] {
        for backend in BACKENDS {
            for case in each_case!(names!) {
                let cell = format!("suite::{adapter}_{backend}::{case}");
                assert!(present.contains(cell.as_str()), "{cell} is missing");
            }
        }
    }
}

#[test]
fn every_public_case_is_in_the_list() {
    let listed: BTreeSet<&str> = each_case!(names!).into_iter().collect();
    let sources = [
        ("distributed_lock", include_str!("../src/suite/distributed_lock.rs")),
        ("sync_primitives", include_str!("../src/suite/sync_primitives.rs")),
        ("fault_tolerance", include_str!("../src/suite/fault_tolerance.rs")),
    ];
    for (theme, source) in sources {
        for line in source.lines() {
            let Some(case) = line.strip_prefix("pub fn ").and_then(|rest| rest.split('(').next())
            else {
                continue;
            };
            let case = format!("{theme}::{case}");
            assert!(listed.contains(case.as_str()), "{case} is written and never run");
        }
    }
}
