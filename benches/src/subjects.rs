//! What is measured: our locks, those of others, and the least that any of them could do.

pub mod files;
pub mod memory;
pub mod ours;
pub mod pieces;
pub mod postgres;
pub mod redis_floor;
pub mod redis_peers;
pub mod semaphores;
pub mod threads;

/// Our locks as they come.
pub const TOKIO: &str = "lock-tokio";
/// The same without fencing tokens, which no peer has.
pub const UNFENCED: &str = "lock-tokio, unfenced";
/// The same with fencing tokens, where they are not given unasked.
pub const FENCED: &str = "lock-tokio, fenced";
/// All tasks ask one provider, which passes the lock on.
pub const ONE_PROVIDER: &str = "lock-tokio, one provider";
pub const ASYNC_STD: &str = "lock-async-std";
pub const BLOCKING: &str = "lock-blocking";
/// All servers answer.
pub const HEALTHY: &str = "lock-tokio, healthy";
/// One server accepts and never answers.
pub const HUNG: &str = "lock-tokio, one hung";
pub const DEAD: &str = "lock-tokio, one dead";
pub const SLOW: &str = "lock-tokio, one slow";

pub const FLOOR: &str = "floor";
/// The system calls of a file lock that survives the deletion of its file and mints fences.
pub const SAFE_FLOOR: &str = "floor, as safe";
/// The floor of a lock on Redis, on the runtime of async-std.
pub const ASYNC_STD_FLOOR: &str = "floor, async-std";
/// Threads and a bare connection, without a client library; or threads that hand a lock on, and ask the
/// server now and then.
pub const THREADS_FLOOR: &str = "floor, threads";
/// A token that is handed on, without a lease.
pub const HAND_OFF: &str = "floor, handing on";
/// A lock with leases and a queue on the server, and nothing else.
pub const QUEUE_FLOOR: &str = "floor, a queue";
/// The floor, where its waiters ask again every 10 ms.
pub const POLLING: &str = "floor, polling";
pub const RSLOCK: &str = "rslock";
pub const ASYNC_REDIS_LOCK: &str = "async-redis-lock";
pub const SQLX: &str = "sqlx";
pub const DISTRIBUTED_LOCK: &str = "distributed-lock";
