//! What the providers of each runtime find wrong with real servers.

use lock_tests::redis::{Cluster, Sentinels, Server, ServerOptions};
use lock_tokio::Severity;

/// What every runtime finds: how bad, and in which words.
type Findings = Vec<(bool, String)>;

#[test]
fn every_runtime_finds_the_same() {
    let keeping = ServerOptions::new().with_append_only();
    let cache = keeping.clone().with_line("maxmemory-policy allkeys-lfu").start();
    let voters = [keeping.clone().start(), Server::start(), keeping.start()];
    let addresses: Vec<String> = voters.iter().map(Server::address).collect();
    let redlock = format!("redis+redlock://{}", addresses.join(","));

    check(&cache.url(), &[(false, "allkeys-lfu")]);
    check(&redlock, &[(true, &format!("{} keeps no log", addresses[1]))]);
    voters[0].kill();
    check(&redlock, &[(true, "can't be used"), (true, "keeps no log")]);
}

#[test]
fn every_runtime_examines_the_masters_of_a_cluster_and_of_sentinels() {
    let cluster = Cluster::start();
    let addresses: Vec<String> = cluster.nodes().iter().map(Server::address).collect();
    let sentinels = Sentinels::start();

    let found = check_same(&format!("redis+cluster://{}", addresses.join(",")));
    let lagging = found.iter().filter(|(_, text)| text.contains("does not wait for its replicas"));
    assert_eq!(lagging.count(), 3, "{found:?}");
    let found = check_same(&sentinels.url());
    assert!(found.iter().any(|(_, text)| text.starts_with("mymaster does not wait")), "{found:?}");
}

#[test]
fn a_server_that_went_away_is_an_error() {
    let server = Server::start();
    let provider = lock_blocking::RedisLockProvider::new(&server.url()).unwrap();

    server.kill();

    let error = provider.examine().unwrap_err();
    assert!(matches!(error, lock_blocking::LockError::Connection(_)), "{error:?}");
}

/// All runtimes find exactly what is expected: whether it is a danger, and words of it.
fn check(url: &str, expected: &[(bool, &str)]) {
    let found = check_same(url);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((danger, text), (dangerous, words)) in found.iter().zip(expected) {
        assert!(danger == dangerous && text.contains(words), "{words:?} in {found:?}");
    }
}

fn check_same(url: &str) -> Findings {
    let blocking = on_threads(url);
    assert_eq!(on_tokio(url), blocking);
    assert_eq!(on_async_std(url), blocking);
    blocking
}

fn on_threads(url: &str) -> Findings {
    let provider = lock_blocking::RedisLockProvider::new(url).expect("the servers run");
    told(&provider.examine().expect("the servers run"))
}

fn on_tokio(url: &str) -> Findings {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the servers run");
    runtime.block_on(async {
        let provider = lock_tokio::RedisLockProvider::new(url).await.expect("the servers run");
        told(&provider.examine().await.expect("the servers run"))
    })
}

fn on_async_std(url: &str) -> Findings {
    async_std::task::block_on(async {
        let provider = lock_async_std::RedisLockProvider::new(url).await.expect("the servers run");
        told(&provider.examine().await.expect("the servers run"))
    })
}

fn told(findings: &[lock_tokio::Finding]) -> Findings {
    let danger = |finding: &lock_tokio::Finding| finding.severity() == Severity::Danger;
    findings.iter().map(|finding| (danger(finding), finding.to_string())).collect()
}
