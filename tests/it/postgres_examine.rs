//! What the providers of each runtime find wrong with real PostgreSQL servers, and with poolers
//! before them.

use std::time::Duration;

use lock_blocking::LockProvider as _;
use lock_proto::postgres::EXAMINED;
use lock_tests::postgres::{PgBouncer, PoolMode, PostgresOptions, PostgresServer, USER};
use lock_tests::redis::eventually;
use lock_tokio::{LockError, PostgresFinding, Severity};

/// What every runtime finds: how bad, and in which words.
type Findings = Vec<(bool, String)>;

const LATE: (bool, &str) = (false, "to notice that the machine of a holder is gone");
const BY_TRANSACTION: (bool, &str) = (true, "gives each transaction another session");
const BY_STATEMENT: (bool, &str) = (true, "gives each statement another session");

#[test]
fn a_server_whose_settings_nobody_chose_is_fit_for_locks() {
    let server = PostgresServer::start();
    let names = EXAMINED.join("', '");
    let chosen = server.psql(&format!(
        "SELECT name FROM pg_settings WHERE name IN ('{names}') AND setting <> boot_val"
    ));
    assert!(chosen.is_empty(), "{chosen:?}");

    check(&Way::new(&server.url()), &[]);
    check(&Way::new(&server.unix_url()), &[]);
    // Nothing but the keepalive that sessions set for themselves.
    check(&Way::new(&server.url()).with_transactions(), &[LATE]);
    check(&Way::new(&server.unix_url()).with_transactions(), &[]);
    eventually("closed sessions", || server.backends().is_empty().then_some(()));
    assert!(server.advisory_locks().is_empty());
}

#[test]
fn a_pool_by_transactions_is_no_place_for_locks_of_sessions() {
    let server = PostgresServer::start();
    for size in [1, 2, 5] {
        let pool = PgBouncer::start(&server, PoolMode::Transaction, size);

        check(&Way::new(&pool.url()), &[BY_TRANSACTION]);
        check(&Way::new(&pool.url()).with_transactions(), &[]);
    }
}

#[test]
fn a_pool_by_transactions_is_found_out_while_others_use_it() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Transaction, 4);
    let way = Way::new(&pool.url()).with_transactions();
    let provider = way.on_threads();
    let _handle = provider.create_lock("a").acquire(None).unwrap();
    let _other = provider.create_lock("b").acquire(None).unwrap();

    check(&Way::new(&pool.url()), &[BY_TRANSACTION]);
    check(&way, &[]);
    assert_eq!(server.advisory_locks().len(), 2);
}

#[test]
fn a_pool_by_statements_is_no_place_for_locks() {
    let server = PostgresServer::start();
    for size in [1, 3] {
        let pool = PgBouncer::start(&server, PoolMode::Statement, size);

        check(&Way::new(&pool.url()), &[BY_STATEMENT]);
        check(&Way::new(&pool.url()).with_transactions(), &[BY_STATEMENT]);
    }
}

#[test]
fn a_pool_by_sessions_is_as_good_as_the_server() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Session, 2);

    check(&Way::new(&pool.url()), &[]);
}

#[test]
fn a_pool_that_has_no_second_session_is_no_place_to_wait() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, PoolMode::Session, 1);
    let way = Way::new(&pool.url()).with_connect_timeout(Duration::from_secs(2));

    let found = told(&way.on_threads().examine().unwrap());

    expect(&found, &[(true, "gives no further connection")]);
}

#[test]
fn a_server_that_is_full_has_few_connections() {
    let roomy = PostgresOptions::new().with_line("max_locks_per_transaction = 1000");
    let server = roomy.with_max_connections(3).start();
    // One of them is the fixture's own.
    let few = (false, "lets in 4 connections");
    // A session of whoever came before would be one too many.
    let alone = || eventually("closed sessions", || server.backends().is_empty().then_some(()));
    check_each(&Way::new(&server.url()), &[few], alone);
    check_each(&Way::new(&server.url()).with_max_connections(4), &[], alone);

    alone();
    let provider = Way::new(&server.url()).on_threads();
    let _others = [server.session(), server.session()];

    let found = told(&provider.examine().unwrap());
    expect(&found, &[(true, "has no connection left"), few]);
}

#[test]
fn a_role_or_a_database_may_be_let_in_seldom() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    let way = Way::new(&server.url_for("alice", USER));
    check(&way, &[]);
    server.psql("ALTER ROLE alice CONNECTION LIMIT 15");
    check(&way, &[(false, "lets in 15 connections")]);
    server.psql(&format!("ALTER DATABASE {USER} CONNECTION LIMIT 14"));
    check(&way, &[(false, "lets in 14 connections")]);
}

#[test]
fn a_standby_holds_no_locks_of_its_primary() {
    let primary = PostgresServer::start();
    let standby = PostgresOptions::new().with_primary(&primary).start();

    let chosen = format!("{}?target_session_attrs=standby", standby.url());
    check(&Way::new(&chosen), &[(true, "is a standby")]);
    let error = lock_blocking::PostgresLockProvider::new(&standby.url()).unwrap_err();
    assert!(format!("{error:?}").contains("it is a standby"), "{error:?}");
}

#[test]
fn what_is_set_for_a_role_or_a_database_concerns_others() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    server.psql(&format!(
        "ALTER ROLE alice SET lock_timeout = '7s'; \
         ALTER ROLE alice SET idle_session_timeout = '1h'; \
         ALTER DATABASE {USER} SET statement_timeout = '8s'; \
         ALTER DATABASE {USER} SET idle_in_transaction_session_timeout = '9s'"
    ));
    let url = server.url_for("alice", USER);
    let (waits, statements, idle, transactions) = (
        (false, "lock_timeout at 7s"),
        (false, "statement_timeout at 8s"),
        (false, "idle_session_timeout at 1 h 0 min"),
        (false, "idle_in_transaction_session_timeout at 9s"),
    );

    check(&Way::new(&url), &[waits, statements, idle, transactions]);
    // A transaction is not ended by the time-out of idle sessions, and sets the others aside.
    check(&Way::new(&url).with_transactions(), &[waits, statements, transactions, LATE]);
    assert!(server.psql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").is_empty());
}

#[test]
fn a_role_whose_keepalive_is_short_notices_dead_holders_in_transactions() {
    let server = PostgresOptions::new().with_role("alice", "secret").start();
    server.psql("ALTER ROLE alice SET tcp_keepalives_idle = 60");
    let way = Way::new(&server.url_for("alice", USER)).with_transactions();
    // Nine probes, 75 seconds from one to the next.
    check(&way, &[(false, "takes 12 min 15 s to notice")]);
    server.psql("ALTER ROLE alice SET tcp_user_timeout = '30s'");
    check(&way, &[]);
}

#[test]
fn a_server_runs_out_of_locks() {
    let small = PostgresOptions::new().with_max_connections(46);
    let small = small.with_line("max_locks_per_transaction = 15").start();
    check(&Way::new(&small.url()), &[(false, "has room for about 750 locks")]);

    let server = PostgresServer::start();
    let session = server.session();
    let hold = |locks: &str| {
        let asked = format!("SELECT count(pg_advisory_lock(n)) FROM generate_series({locks}) n");
        session.ask(&asked).unwrap();
    };
    hold("1, 3100");
    check(&Way::new(&server.url()), &[]);
    hold("3101, 3300");
    check(&Way::new(&server.url()), &[(false, "has room for about 6400 locks")]);
    hold("3301, 6000");
    check(&Way::new(&server.url()), &[(true, "has room for about 6400 locks")]);
}

#[test]
fn who_holds_locks_goes_on_holding_them() {
    let server = PostgresServer::start();
    for way in [
        Way::new(&server.unix_url()).with_max_connections(1),
        Way::new(&server.unix_url()).with_transactions().with_max_connections(1),
    ] {
        let provider = way.on_threads();
        let handle = provider.create_lock("a").acquire(None).unwrap();
        let before = server.advisory_locks();

        assert_eq!(told(&provider.examine().unwrap()), []);

        assert_eq!(server.advisory_locks(), before);
        handle.release().unwrap();
        assert!(server.advisory_locks().is_empty());
    }
}

#[test]
fn an_answer_that_nobody_waits_for_leaves_no_connection() {
    let server = PostgresServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let provider = lock_tokio::PostgresLockProvider::new(&server.url()).await.unwrap();
        let mut examining = Box::pin(provider.examine());
        std::future::poll_fn(|cx| {
            let _ = examining.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        drop(examining);
        drop(provider);
    });
    drop(runtime);
    eventually("closed sessions", || server.backends().is_empty().then_some(()));
}

#[test]
fn a_server_that_went_away_is_an_error() {
    let server = PostgresServer::start();
    let provider = lock_blocking::PostgresLockProvider::new(&server.url()).unwrap();

    server.kill();

    let error = provider.examine().unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
}

#[test]
fn a_server_that_does_not_answer_is_an_error_in_time() {
    let server = PostgresServer::start();
    let way = Way::new(&server.url()).with_connect_timeout(Duration::from_secs(2));
    let provider = way.on_threads();

    server.pause();

    let error = provider.examine().unwrap_err();
    assert!(matches!(error, LockError::Connection(_)), "{error:?}");
    server.resume();
    assert_eq!(told(&provider.examine().unwrap()), []);
}

/// How a provider uses a server.
struct Way {
    url: String,
    transactions: bool,
    max_connections: usize,
    connect_timeout: Duration,
}

/// A builder of what is called alike in each crate.
macro_rules! built {
    ($adapter:ident, $way:expr) => {
        $adapter::PostgresLockProvider::builder()
            .url(&$way.url)
            .use_transaction_scope($way.transactions)
            .max_connections($way.max_connections)
            .connect_timeout($way.connect_timeout)
            .build()
    };
}

impl Way {
    fn new(url: &str) -> Self {
        let connect_timeout = Duration::from_secs(30);
        Self { url: url.to_owned(), transactions: false, max_connections: 16, connect_timeout }
    }

    fn with_transactions(mut self) -> Self {
        self.transactions = true;
        self
    }

    fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    fn on_threads(&self) -> lock_blocking::PostgresLockProvider {
        built!(lock_blocking, self).expect("the server runs")
    }

    fn found_on_tokio(&self) -> Findings {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("threads can be had").block_on(async {
            let provider = built!(lock_tokio, self).await.expect("the server runs");
            told(&provider.examine().await.expect("the server runs"))
        })
    }

    fn found_on_async_std(&self) -> Findings {
        async_std::task::block_on(async {
            let provider = built!(lock_async_std, self).await.expect("the server runs");
            told(&provider.examine().await.expect("the server runs"))
        })
    }
}

/// All runtimes find exactly what is expected.
fn check(way: &Way, expected: &[(bool, &str)]) {
    check_each(way, expected, || {});
}

/// The same, after `prepare` for each.
fn check_each(way: &Way, expected: &[(bool, &str)], prepare: impl Fn()) {
    prepare();
    let blocking = told(&way.on_threads().examine().expect("the server runs"));
    expect(&blocking, expected);
    prepare();
    assert_eq!(way.found_on_tokio(), blocking);
    prepare();
    assert_eq!(way.found_on_async_std(), blocking);
}

/// Whether it is a danger, and words of it.
fn expect(found: &Findings, expected: &[(bool, &str)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((danger, text), (dangerous, words)) in found.iter().zip(expected) {
        assert!(danger == dangerous && text.contains(words), "{words:?} in {found:?}");
    }
}

fn told(findings: &[PostgresFinding]) -> Findings {
    let danger = |finding: &PostgresFinding| finding.severity() == Severity::Danger;
    findings.iter().map(|finding| (danger(finding), finding.to_string())).collect()
}
