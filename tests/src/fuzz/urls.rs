//! What names a backend.

use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use lock_engine::postgres::PostgresSetup;
use lock_engine::redis::{RedisSetup, Topology};
use lock_engine::{Endpoint, SecretUrl};
use lock_proto::LockError;

use super::number;
use crate::entropy::Entropy;

/// What no fuzzer comes upon by itself.
const SECRET: &str = "correct-horse-battery-staple";

/// A directory of any name has a URL; a password is never shown.
pub(super) fn endpoint(bytes: &[u8]) {
    let mut path = vec![b'/'];
    path.extend(bytes.iter().copied().filter(|byte| *byte != 0));
    let url = format!("file:///{}", escaped(&path[1..]));
    let Endpoint::File(directory) = Endpoint::parse(&url).expect("it is a directory") else {
        panic!("{url} is no directory");
    };
    assert_eq!(directory.as_os_str().as_bytes(), path);
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Endpoint::parse(&text) {
        let scheme = matches!(error, LockError::Unsupported(_));
        assert!(scheme || matches!(error, LockError::InvalidConfig { option: "url", .. }));
    }
    let (before, after) = text.split_once('\0').unwrap_or((&text, ""));
    let url = format!("redis://{}:{before}{SECRET}{after}@host/0", before.len());
    for shown in [format!("{:?}", SecretUrl::new(&url)), format!("{:?}", Endpoint::parse(&url))] {
        assert!(!shown.contains(SECRET), "{url} is shown as {shown}");
    }
}

/// What a URL says is what comes of it, and what is wrong with it is said without a password.
pub(super) fn redis(bytes: &[u8]) {
    check_secret(bytes, |url| {
        let mut setup = RedisSetup::new();
        setup.add_url(url);
        (setup.checked().map(drop), format!("{setup:?}"))
    });
    let mut entropy = Entropy::new(bytes.to_vec());
    let kind = ["", "+redlock", "+cluster", "+sentinel"][entropy.pick(4)];
    let count = if kind.is_empty() { 1 } else { 1 + entropy.pick(9) };
    let hosts: Vec<String> = (0..count).map(|host| format!("h{host}:{}", 1 + host)).collect();
    let (prefix, millis) = (super::bytes(&mut entropy, 24), number(&mut entropy));
    let url = format!(
        "redis{kind}://:{SECRET}@{}/{}?prefix={}&expiry={millis}ms",
        hosts.join(","),
        if kind == "+sentinel" { "main/1" } else { "1" },
        escaped(&prefix),
    );
    let mut setup = RedisSetup::new();
    setup.add_url(&url);
    let range = Duration::from_millis(100)..=Duration::from_millis(i32::MAX as u64);
    let plan = match setup.checked() {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!range.contains(&Duration::from_millis(millis)), "{url}: {error}");
            return super::options::refused(&error, &["expiry"]);
        }
    };
    assert!(range.contains(&Duration::from_millis(millis)), "{url} is no good");
    assert_eq!(plan.key_prefix, String::from_utf8_lossy(&prefix), "{url}");
    let clients = match (kind, plan.topology) {
        ("" | "+redlock", Topology::Servers(clients)) => clients,
        ("+cluster", Topology::Cluster(clients)) => clients,
        ("+sentinel", Topology::Sentinels { sentinels, master, .. }) => {
            assert_eq!(master, "main");
            sentinels
        }
        (_, other) => panic!("{url} is {other:?}"),
    };
    let address = |client: &redis::Client| client.get_connection_info().addr().to_string();
    assert_eq!(clients.iter().map(address).collect::<Vec<_>>(), hosts, "{url}");
}

/// A URL and pairs that say the same mean the same, and neither shows a password.
pub(super) fn postgres(bytes: &[u8]) {
    let names_files = |text: &str| text.contains("cert") || text.contains("key");
    let text = String::from_utf8_lossy(bytes);
    // An option may be spelt with escapes.
    let escapes = text.split_once('?').is_some_and(|(_, options)| options.contains('%'));
    if !names_files(&text) && !escapes {
        check_secret(bytes, |text| (checked(text).map(drop), String::new()));
    }
    let mut entropy = Entropy::new(bytes.to_vec());
    let mut value = || {
        let value = super::bytes(&mut entropy, 16);
        let value = String::from_utf8_lossy(&value).replace(['\0', ','], "-");
        // An empty value is none, and a list is trimmed.
        format!("h{value}h")
    };
    let (user, password, host, database) = (value(), value() + SECRET, value(), value());
    let (port, seconds) = (number(&mut entropy), number(&mut entropy));
    let url = checked(&format!(
        "postgres://{}:{}@{}:{port}/{}?connect_timeout={seconds}",
        escaped(user.as_bytes()),
        escaped(password.as_bytes()),
        escaped(host.as_bytes()),
        escaped(database.as_bytes()),
    ));
    let pairs = checked(&format!(
        "user={} password={} host={} port={port} dbname={} connect_timeout = {seconds}",
        quoted(&user),
        quoted(&password),
        quoted(&host),
        quoted(&database),
    ));
    let (url, pairs) = (format!("{url:?}"), format!("{pairs:?}"));
    assert_eq!(url, pairs);
    assert!(!url.contains(SECRET), "{url}");
    let sensible = (1..=65_535).contains(&port) && seconds <= 600;
    assert_eq!(sensible, url.starts_with("Ok"), "port {port}, {seconds} s: {url}");
}

fn checked(text: &str) -> Result<lock_engine::postgres::PostgresPlan, LockError> {
    let mut setup = PostgresSetup::new();
    setup.set_url(text);
    setup.checked()
}

/// Whatever stands around a password, it is not in what is said; that of a URL is in nothing that
/// is shown.
fn check_secret(bytes: &[u8], check: impl Fn(&str) -> (Result<(), LockError>, String)) {
    let text = String::from_utf8_lossy(bytes);
    let (before, after) = text.split_once('\0').unwrap_or((&text, ""));
    let (outcome, _) = check(&format!("{before}{SECRET}{after}"));
    if let Err(error) = outcome {
        assert!(!format!("{error:?} {error}").contains(SECRET), "{text:?}: {error}");
    }
    let (_, shown) = check(&format!("redis://user:{before}{SECRET}{after}@host"));
    assert!(!shown.contains(SECRET), "{text:?}: {shown}");
}

/// For a URL, each byte.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// For a value among pairs.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
