//! The adapters and backends, in the words of the cases.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::LazyLock;
use std::time::Duration;

use lock_blocking::{AcquireOptions, LockError, LockInfo, LossReason};
use tempfile::TempDir;

use super::postgres_place::PostgresPlace;
use super::redis_place::RedisPlace;
use super::{Acquire, Column, Held, Lost, Provider};

/// Runs futures to their end.
pub trait Executor: Send + Sync + 'static {
    /// Runs `future` on the calling thread.
    fn block_on<F: Future>(future: F) -> F::Output;
}

/// The tokio runtime.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tokio;

impl Executor for Tokio {
    fn block_on<F: Future>(future: F) -> F::Output {
        static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
            tokio::runtime::Runtime::new().expect("a test machine has threads for a runtime")
        });
        RUNTIME.block_on(future)
    }
}

/// The async-std runtime.
#[derive(Debug)]
#[non_exhaustive]
pub struct AsyncStd;

impl Executor for AsyncStd {
    fn block_on<F: Future>(future: F) -> F::Output {
        async_std::task::block_on(future)
    }
}

/// Which backend a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// In memory.
    Memory,
    /// Files that stay.
    Files,
    /// Files that are deleted on release.
    DeletedFiles,
    /// One Redis server.
    RedisServer,
    /// Three Redis servers.
    ThreeRedisServers,
    /// Five Redis servers.
    FiveRedisServers,
    /// Three Redis servers, of which one is dead.
    TwoOfThreeRedisServers,
    /// A cluster of three masters and three replicas.
    RedisCluster,
    /// A PostgreSQL server, with sessions that are shared.
    PostgresShared,
    /// A PostgreSQL server, with a session for each lock.
    PostgresSessions,
    /// A PostgreSQL server, with a transaction for each lock.
    PostgresTransactions,
    /// The same behind PgBouncer, which has a session for each transaction.
    PostgresPooled,
}

impl Backend {
    /// Whether locks live on Redis: with a lease, on a key that a semaphore of that name shares.
    #[must_use]
    pub fn is_redis(self) -> bool {
        matches!(self, Self::RedisServer | Self::RedisCluster) || self.votes()
    }

    /// Whether locks are advisory locks of PostgreSQL.
    #[must_use]
    pub fn is_postgres(self) -> bool {
        matches!(self, Self::PostgresShared | Self::PostgresSessions) || self.is_transaction()
    }

    /// Whether locks live on servers.
    #[must_use]
    pub fn is_remote(self) -> bool {
        self.is_redis() || self.is_postgres()
    }

    /// Whether a lock ends with its transaction, which knows no semaphores and no fences.
    #[must_use]
    pub fn is_transaction(self) -> bool {
        matches!(self, Self::PostgresTransactions | Self::PostgresPooled)
    }

    /// How many holds one provider may have at once, of those that a case asks for.
    #[must_use]
    pub fn most(self, holds: usize) -> usize {
        let dedicated = self.is_transaction() || self == Self::PostgresSessions;
        if dedicated { holds.min(40) } else { holds }
    }

    /// Whether several servers vote.
    #[must_use]
    pub fn votes(self) -> bool {
        matches!(
            self,
            Self::ThreeRedisServers | Self::FiveRedisServers | Self::TwoOfThreeRedisServers
        )
    }

    /// Whether everything that is held has a fence, shares and permits included.
    #[must_use]
    pub fn fences_shares(self) -> bool {
        self == Self::Memory || self.is_redis()
    }
}

/// A column of lock-tokio or lock-async-std.
#[derive(Debug)]
pub struct AsyncColumn<E> {
    memory: lock_tokio::InMemoryLockProvider,
    files: Files,
    redis: Option<RedisPlace>,
    postgres: Option<PostgresPlace>,
    executor: PhantomData<E>,
}

/// A column of lock-blocking.
#[derive(Debug)]
pub struct BlockingColumn {
    memory: lock_blocking::InMemoryLockProvider,
    files: Files,
    redis: Option<RedisPlace>,
    postgres: Option<PostgresPlace>,
}

#[derive(Debug)]
struct Files {
    backend: Backend,
    directory: TempDir,
}

impl Files {
    fn new(backend: Backend) -> Self {
        let directory = tempfile::tempdir().expect("a test machine has temporary directories");
        Self { backend, directory }
    }

    fn delete(&self) -> bool {
        self.backend == Backend::DeletedFiles
    }
}

impl<E: Executor> AsyncColumn<E> {
    /// A fresh column.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        let memory = lock_tokio::InMemoryLockProvider::new();
        let (redis, postgres) = (RedisPlace::new(backend), PostgresPlace::new(backend));
        Self { memory, files: Files::new(backend), redis, postgres, executor: PhantomData }
    }
}

impl BlockingColumn {
    /// A fresh column.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        let memory = lock_blocking::InMemoryLockProvider::new();
        let (redis, postgres) = (RedisPlace::new(backend), PostgresPlace::new(backend));
        Self { memory, files: Files::new(backend), redis, postgres }
    }
}

/// The builder of one adapter, for a place on PostgreSQL.
macro_rules! on_postgres {
    ($adapter:ident, $place:expr) => {
        $adapter::PostgresLockProvider::builder()
            .url(&$place.url)
            .use_multiplexing($place.multiplexing)
            .use_transaction_scope($place.transaction_scope)
            .fencing(!$place.transaction_scope)
            .max_connections(if $place.multiplexing { 16 } else { 64 })
    };
}

impl<E: Executor> Column for AsyncColumn<E> {
    fn provider(&self) -> Box<dyn Provider> {
        let provider: Box<dyn lock_tokio::LockProvider> = match self.files.backend {
            Backend::Memory => Box::new(self.memory.clone()),
            Backend::Files | Backend::DeletedFiles => Box::new(
                lock_async_std::FileLockProvider::builder()
                    .directory(&self.files.directory)
                    .delete_on_release(self.files.delete())
                    .build()
                    .expect("a temporary directory is fit for locks"),
            ),
            Backend::RedisServer
            | Backend::ThreeRedisServers
            | Backend::FiveRedisServers
            | Backend::TwoOfThreeRedisServers
            | Backend::RedisCluster => {
                let place = self.redis.as_ref().expect("a backend on Redis has a place there");
                let builder = lock_tokio::RedisLockProvider::builder();
                let builder = builder.urls(&place.urls).key_prefix(&place.prefix);
                Box::new(E::block_on(builder.build()).expect("the servers run"))
            }
            Backend::PostgresShared
            | Backend::PostgresSessions
            | Backend::PostgresTransactions
            | Backend::PostgresPooled => {
                let place = self.postgres.as_ref().expect("a backend on PostgreSQL has a place");
                let builder = on_postgres!(lock_tokio, place);
                Box::new(E::block_on(builder.build()).expect("the server runs"))
            }
        };
        Box::new(async_side::<E, _>(provider))
    }

    fn backend(&self) -> Backend {
        self.files.backend
    }
}

impl Column for BlockingColumn {
    fn provider(&self) -> Box<dyn Provider> {
        let provider: Box<dyn lock_blocking::LockProvider> = match self.files.backend {
            Backend::Memory => Box::new(self.memory.clone()),
            Backend::Files | Backend::DeletedFiles => Box::new(
                lock_blocking::FileLockProvider::builder()
                    .directory(&self.files.directory)
                    .delete_on_release(self.files.delete())
                    .build()
                    .expect("a temporary directory is fit for locks"),
            ),
            Backend::RedisServer
            | Backend::ThreeRedisServers
            | Backend::FiveRedisServers
            | Backend::TwoOfThreeRedisServers
            | Backend::RedisCluster => {
                let place = self.redis.as_ref().expect("a backend on Redis has a place there");
                let builder = lock_blocking::RedisLockProvider::builder();
                let builder = builder.urls(&place.urls).key_prefix(&place.prefix);
                Box::new(builder.build().expect("the servers run"))
            }
            Backend::PostgresShared
            | Backend::PostgresSessions
            | Backend::PostgresTransactions
            | Backend::PostgresPooled => {
                let place = self.postgres.as_ref().expect("a backend on PostgreSQL has a place");
                let builder = on_postgres!(lock_blocking, place);
                Box::new(builder.build().expect("the server runs"))
            }
        };
        Box::new(BlockingSide(provider))
    }

    fn backend(&self) -> Backend {
        self.files.backend
    }
}

struct AsyncSide<E, T>(T, PhantomData<E>);
struct BlockingSide<T>(T);

fn async_side<E, T>(inner: T) -> AsyncSide<E, T> {
    AsyncSide(inner, PhantomData)
}

/// The two sides of a reader-writer lock, and a semaphore with the permits to take.
struct Reader<T>(T);
struct Writer<T>(T);
struct Permits<T>(T, u32);

/// `Provider` for one kind of adapter: `$wrap` puts an adapter's type in the words of the cases.
macro_rules! provider {
    ([$($generics:tt)*] $side:ty, $wrap:expr, |$self:ident| $list:expr, $close:expr) => {
        impl<$($generics)*> Provider for $side {
            fn lock(&self, name: &str) -> Box<dyn Acquire> {
                Box::new($wrap(self.0.create_lock(name)))
            }

            fn reader(&self, name: &str) -> Box<dyn Acquire> {
                Box::new($wrap(Reader(self.0.create_reader_writer_lock(name))))
            }

            fn writer(&self, name: &str) -> Box<dyn Acquire> {
                Box::new($wrap(Writer(self.0.create_reader_writer_lock(name))))
            }

            fn semaphore(&self, name: &str, limit: u32, permits: u32) -> Box<dyn Acquire> {
                let semaphore = self.0.create_semaphore(name, limit);
                assert_eq!(semaphore.limit(), limit);
                Box::new($wrap(Permits(semaphore, permits)))
            }

            fn list(&self) -> Result<Vec<LockInfo>, LockError> {
                let $self = self;
                $list
            }

            fn close(&self) {
                let $self = self;
                $close
            }
        }
    };
}

provider!([E: Executor] AsyncSide<E, Box<dyn lock_tokio::LockProvider>>, async_side::<E, _>,
    |side| E::block_on(side.0.list()), E::block_on(side.0.close()));
provider!([] BlockingSide<Box<dyn lock_blocking::LockProvider>>, BlockingSide,
    |side| side.0.list(), side.0.close());

/// `Acquire` for one primitive under both kinds of adapter, by its own ways to acquire.
macro_rules! acquire {
    ($async:ty, $blocking:ty, |$inner:ident, $options:ident, $timeout:ident|
     $name:expr, $with:expr, $acquire:expr, $try:expr, $info:expr) => {
        acquire!(@ [E: Executor] AsyncSide<E, $async>, async_side::<E, _>, E::block_on;
            |$inner, $options, $timeout| $name, $with, $acquire, $try, $info);
        acquire!(@ [] BlockingSide<$blocking>, BlockingSide, std::convert::identity;
            |$inner, $options, $timeout| $name, $with, $acquire, $try, $info);
    };
    (@ [$($generics:tt)*] $side:ty, $wrap:expr, $run:expr;
     |$inner:ident, $options:ident, $timeout:ident|
     $name:expr, $with:expr, $acquire:expr, $try:expr, $info:expr) => {
        impl<$($generics)*> Acquire for $side {
            fn name(&self) -> String {
                let $inner = &self.0;
                $name.to_owned()
            }

            fn acquire_with(&self, $options: AcquireOptions) -> Result<Box<dyn Held>, LockError> {
                let $inner = &self.0;
                Ok(Box::new($wrap($run($with)?)))
            }

            fn acquire(&self, $timeout: Option<Duration>) -> Result<Box<dyn Held>, LockError> {
                let $inner = &self.0;
                Ok(Box::new($wrap($run($acquire)?)))
            }

            fn try_acquire(&self) -> Result<Option<Box<dyn Held>>, LockError> {
                let $inner = &self.0;
                Ok($run($try)?.map(|held| Box::new($wrap(held)) as Box<dyn Held>))
            }

            fn info(&self) -> Result<LockInfo, LockError> {
                let $inner = &self.0;
                $run($info)
            }
        }
    };
}

acquire!(
    lock_tokio::Lock,
    lock_blocking::Lock,
    |lock, options, timeout| lock.name(),
    lock.acquire_with(options),
    lock.acquire(timeout),
    lock.try_acquire(),
    lock.info()
);
acquire!(
    Reader<lock_tokio::ReaderWriterLock>,
    Reader<lock_blocking::ReaderWriterLock>,
    |side, options, timeout| side.0.name(),
    side.0.acquire_read_with(options),
    side.0.acquire_read(timeout),
    side.0.try_acquire_read(),
    side.0.info()
);
acquire!(
    Writer<lock_tokio::ReaderWriterLock>,
    Writer<lock_blocking::ReaderWriterLock>,
    |side, options, timeout| side.0.name(),
    side.0.acquire_write_with(options),
    side.0.acquire_write(timeout),
    side.0.try_acquire_write(),
    side.0.info()
);
acquire!(
    Permits<lock_tokio::Semaphore>,
    Permits<lock_blocking::Semaphore>,
    |side, options, timeout| side.0.name(),
    side.0.acquire_many_with(side.1, options),
    side.0.acquire_many(side.1, timeout),
    side.0.try_acquire_many(side.1),
    side.0.info()
);

/// `Held` and `Lost` for one kind of adapter.
macro_rules! handle {
    ([$($generics:tt)*] $handle:ty, $token:ty, $wrap:expr, $run:expr, |$lost:ident| $changed:expr, $expiring:expr) => {
        impl<$($generics)*> Held for $handle {
            fn fence(&self) -> Option<u64> {
                self.0.fence()
            }

            fn is_valid(&self) -> bool {
                self.0.is_valid()
            }

            fn remaining(&self) -> Option<Duration> {
                self.0.remaining()
            }

            fn extend(&self, ttl: Duration) -> Result<(), LockError> {
                $run(self.0.extend(ttl))
            }

            fn lost_token(&self) -> Box<dyn Lost> {
                Box::new($wrap(self.0.lost_token()))
            }

            fn release(self: Box<Self>) -> Result<(), LockError> {
                $run(self.0.release())
            }
        }

        impl<$($generics)*> Lost for $token {
            fn reason(&self) -> Option<LossReason> {
                assert_eq!(self.0.is_lost(), self.0.reason().is_some());
                self.0.reason()
            }

            fn changed(&self) -> LossReason {
                let $lost = &self.0;
                $changed
            }

            fn is_expiring(&self) -> bool {
                self.0.is_expiring()
            }

            fn expiring(&self) {
                let $lost = &self.0;
                $expiring
            }
        }
    };
}

handle!([E: Executor] AsyncSide<E, lock_tokio::LockHandle>, AsyncSide<E, lock_tokio::LostToken>,
    async_side::<E, _>, E::block_on, |lost| E::block_on(lost.changed()),
    E::block_on(lost.expiring()));
handle!([] BlockingSide<lock_blocking::LockHandle>, BlockingSide<lock_blocking::LostToken>,
    BlockingSide, std::convert::identity,
    |lost| lost.changed(None).expect("a wait without end ends with a loss"),
    assert!(lost.expiring(None)));
