//! Programs that have a connection of their own, one for each adapter, as one trait.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use async_std::net::TcpStream;
use lock_proto::LockError;
use lock_proto::postgres::AdvisoryKey;
use lock_tests::postgres::Rows;
use postgres::Client;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::Host;
use tokio_postgres::{Config, Error, NoTls, SimpleQueryMessage};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

/// Which lock, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: AdvisoryKey,
    pub(crate) shared: bool,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    RollBack,
    Drop,
}

/// Takes locks on whatever is lent.
pub(crate) trait Taker {
    fn ask(&mut self, sql: &str) -> Result<Rows, Error>;

    fn acquire(&mut self, lock: Wanted, timeout: Option<Duration>) -> Result<(), LockError>;

    fn try_acquire(&mut self, lock: Wanted) -> Result<bool, LockError>;

    /// The two time-outs, as the server shows them.
    fn time_outs(&mut self) -> [String; 2] {
        ["lock_timeout", "statement_timeout"].map(|name| {
            self.ask(&format!("show {name}")).expect("it can always be shown").remove(0).remove(0)
        })
    }
}

/// A program with a connection; as a taker, it takes locks on the session.
pub(crate) trait Lender: Taker + Sized + Send + 'static {
    fn connect(url: &str) -> Self;

    fn release(&mut self, lock: Wanted) -> Result<(), LockError>;

    /// Lends a transaction.
    fn within<T>(&mut self, ending: Ending, work: impl FnOnce(&mut dyn Taker) -> T) -> T;

    fn pid(&mut self) -> u32 {
        let row = self.ask("select pg_backend_pid()").expect("it is connected").remove(0);
        row[0].parse().expect("it is a number")
    }
}

/// Defines a test once for each adapter.
macro_rules! on_all_adapters {
    ($($test:ident),* $(,)?) => {
        mod on_tokio {
            $(#[test] fn $test() { super::$test::<$crate::postgres_own::lender::OnTokio>(); })*
        }
        mod on_async_std {
            $(#[test] fn $test() { super::$test::<$crate::postgres_own::lender::OnAsyncStd>(); })*
        }
        mod on_threads {
            $(#[test] fn $test() { super::$test::<$crate::postgres_own::lender::OnThreads>(); })*
        }
    };
}
pub(crate) use on_all_adapters;

/// A client of tokio-postgres, and what runs its connection.
pub(crate) struct Futures<R> {
    pub(crate) runtime: R,
    pub(crate) client: tokio_postgres::Client,
}

pub(crate) type OnTokio = Futures<Runtime>;
pub(crate) type OnAsyncStd = Futures<NoTokio>;

/// A client of the crate `postgres`.
pub(crate) struct OnThreads(Client);

/// Whatever runs futures.
pub(crate) trait Runs: Send + 'static {
    fn started() -> Self;

    fn connect(&self, url: &str) -> tokio_postgres::Client;

    fn run<F: Future>(&self, future: F) -> F::Output;
}

/// Runs futures, and knows no runtime of tokio.
pub(crate) struct NoTokio;

impl Runs for Runtime {
    fn started() -> Self {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn connect(&self, url: &str) -> tokio_postgres::Client {
        self.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        })
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.block_on(future)
    }
}

impl Runs for NoTokio {
    fn started() -> Self {
        Self
    }

    fn connect(&self, url: &str) -> tokio_postgres::Client {
        self.run(async {
            let config: Config = url.parse().unwrap();
            let [Host::Tcp(host)] = config.get_hosts() else { panic!("{url}") };
            let port = config.get_ports()[0];
            let stream = TcpStream::connect((host.as_str(), port)).await.unwrap();
            let (client, connection) = config.connect_raw(stream.compat(), NoTls).await.unwrap();
            async_std::task::spawn(connection);
            client
        })
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        async_std::task::block_on(future)
    }
}

impl<R: Runs> Taker for Futures<R> {
    fn ask(&mut self, sql: &str) -> Result<Rows, Error> {
        self.runtime.run(self.client.simple_query(sql)).map(rows)
    }

    fn acquire(&mut self, lock: Wanted, timeout: Option<Duration>) -> Result<(), LockError> {
        self.runtime.run(lock.on_futures().acquire_on(&self.client, timeout))
    }

    fn try_acquire(&mut self, lock: Wanted) -> Result<bool, LockError> {
        self.runtime.run(lock.on_futures().try_acquire_on(&self.client))
    }
}

impl<R: Runs> Lender for Futures<R> {
    fn connect(url: &str) -> Self {
        let runtime = R::started();
        let client = runtime.connect(url);
        Self { runtime, client }
    }

    fn release(&mut self, lock: Wanted) -> Result<(), LockError> {
        self.runtime.run(lock.on_futures().release_on(&self.client))
    }

    fn within<T>(&mut self, ending: Ending, work: impl FnOnce(&mut dyn Taker) -> T) -> T {
        let Self { runtime, client } = self;
        let transaction = runtime.run(client.transaction()).unwrap();
        let mut lent = Lent { runtime, transaction };
        let done = work(&mut lent);
        match ending {
            Ending::Commit => runtime.run(lent.transaction.commit()).unwrap(),
            Ending::RollBack => runtime.run(lent.transaction.rollback()).unwrap(),
            Ending::Drop => drop(lent),
        }
        done
    }
}

/// A transaction of tokio-postgres, and what runs its connection.
struct Lent<'a, R> {
    runtime: &'a R,
    transaction: tokio_postgres::Transaction<'a>,
}

impl<R: Runs> Taker for Lent<'_, R> {
    fn ask(&mut self, sql: &str) -> Result<Rows, Error> {
        self.runtime.run(self.transaction.simple_query(sql)).map(rows)
    }

    fn acquire(&mut self, lock: Wanted, timeout: Option<Duration>) -> Result<(), LockError> {
        self.runtime.run(lock.on_futures().acquire_in(&mut self.transaction, timeout))
    }

    fn try_acquire(&mut self, lock: Wanted) -> Result<bool, LockError> {
        self.runtime.run(lock.on_futures().try_acquire_in(&mut self.transaction))
    }
}

impl Taker for OnThreads {
    fn ask(&mut self, sql: &str) -> Result<Rows, Error> {
        self.0.simple_query(sql).map(rows)
    }

    fn acquire(&mut self, lock: Wanted, timeout: Option<Duration>) -> Result<(), LockError> {
        lock.on_threads().acquire_on(&mut self.0, timeout)
    }

    fn try_acquire(&mut self, lock: Wanted) -> Result<bool, LockError> {
        lock.on_threads().try_acquire_on(&mut self.0)
    }
}

impl Lender for OnThreads {
    fn connect(url: &str) -> Self {
        Self(Client::connect(url, NoTls).unwrap())
    }

    fn release(&mut self, lock: Wanted) -> Result<(), LockError> {
        lock.on_threads().release_on(&mut self.0)
    }

    fn within<T>(&mut self, ending: Ending, work: impl FnOnce(&mut dyn Taker) -> T) -> T {
        let mut transaction = self.0.transaction().unwrap();
        let done = work(&mut transaction);
        match ending {
            Ending::Commit => transaction.commit().unwrap(),
            Ending::RollBack => transaction.rollback().unwrap(),
            Ending::Drop => drop(transaction),
        }
        done
    }
}

impl Taker for postgres::Transaction<'_> {
    fn ask(&mut self, sql: &str) -> Result<Rows, Error> {
        self.simple_query(sql).map(rows)
    }

    fn acquire(&mut self, lock: Wanted, timeout: Option<Duration>) -> Result<(), LockError> {
        lock.on_threads().acquire_in(self, timeout)
    }

    fn try_acquire(&mut self, lock: Wanted) -> Result<bool, LockError> {
        lock.on_threads().try_acquire_in(self)
    }
}

impl Wanted {
    /// Nobody else may have it.
    pub(crate) fn exclusive(key: AdvisoryKey) -> Self {
        Self { key, shared: false }
    }

    /// Other readers may have it.
    pub(crate) fn shared(key: AdvisoryKey) -> Self {
        Self { key, shared: true }
    }

    pub(crate) fn on_futures(self) -> lock_tokio::PostgresAdvisoryLock {
        let lock = lock_tokio::PostgresAdvisoryLock::from_key(self.key);
        if self.shared { lock.shared() } else { lock }
    }

    pub(crate) fn on_threads(self) -> lock_blocking::PostgresAdvisoryLock {
        let lock = lock_blocking::PostgresAdvisoryLock::from_key(self.key);
        if self.shared { lock.shared() } else { lock }
    }
}

pub(crate) fn rows(messages: Vec<SimpleQueryMessage>) -> Rows {
    let rows = messages.into_iter().filter_map(|message| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().into()).collect())
    });
    rows.collect()
}
