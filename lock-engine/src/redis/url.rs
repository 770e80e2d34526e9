//! URLs of Redis servers.

use std::time::Duration;

use lock_proto::LockError;
use percent_encoding::percent_decode_str;

use super::setup::invalid;
use crate::url::redis_scheme;

/// A URL taken apart.
pub(super) struct Parsed {
    pub(super) kind: Kind,
    /// The URLs of the single servers.
    pub(super) nodes: Vec<String>,
    pub(super) expiry: Option<Duration>,
    pub(super) prefix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Servers,
    Cluster,
    Sentinels {
        master: String,
        /// A URL with all that the master's must have, its address aside.
        like: String,
    },
}

/// Takes `url` apart. What is wrong is said without repeating it: it may hold a password.
pub(super) fn parse(url: &str) -> Result<Parsed, LockError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
    let scheme = scheme.to_ascii_lowercase();
    let (bare, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parsed = Parsed { kind: Kind::Servers, nodes: Vec::new(), expiry: None, prefix: None };
    let unix = scheme == "unix" || scheme.ends_with("+unix");
    let others = parsed.take_options(query, unix)?;
    if unix {
        parsed.nodes.push(format!("unix://{bare}?{others}"));
        return Ok(parsed);
    }
    let (single, kind) = redis_scheme(&scheme).ok_or_else(no_url)?;
    // A password may have a slash in it, if somebody forgot to escape it.
    let (user, hosts) = bare.rsplit_once('@').map_or(("", bare), |(user, hosts)| (user, hosts));
    let (hosts, path) = hosts.split_once('/').unwrap_or((hosts, ""));
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err(invalid("url", "it has no host, or a comma too many"));
    }
    if kind.is_empty() && hosts.len() > 1 {
        return Err(invalid(
            "url",
            "it names several hosts: say what they are to one another with redis+redlock://, \
             redis+cluster:// or redis+sentinel://",
        ));
    }
    let node = |host: &str, path: &str| format!("{single}://{user}{host}/{path}");
    match kind {
        "sentinel" => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let master = percent_decode_str(master).decode_utf8_lossy().into_owned();
            if master.is_empty() {
                return Err(invalid(
                    "url",
                    "say what the sentinels call the server, as in \
                     redis+sentinel://a:26379,b:26379/mymaster/0",
                ));
            }
            let like = node("master", database);
            parsed.nodes = hosts.iter().map(|host| sentinel(single, host)).collect();
            parsed.kind = Kind::Sentinels { master, like };
        }
        "cluster" => {
            parsed.nodes = hosts.iter().map(|host| node(host, path)).collect();
            parsed.kind = Kind::Cluster;
        }
        _ => parsed.nodes = hosts.iter().map(|host| node(host, path)).collect(),
    }
    Ok(parsed)
}

fn sentinel(single: &str, host: &str) -> String {
    let port = if has_port(host) { "" } else { ":26379" };
    format!("{single}://{host}{port}/")
}

fn has_port(host: &str) -> bool {
    // An IPv6 address has colons of its own, in brackets.
    host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
}

impl Parsed {
    /// Takes our own options; gives back those of a Unix socket's URL.
    fn take_options(&mut self, query: &str, unix: bool) -> Result<String, LockError> {
        let mut others = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "expiry" => self.expiry = Some(duration(value)?),
                "prefix" => {
                    self.prefix = Some(percent_decode_str(value).decode_utf8_lossy().into_owned());
                }
                // Which protocol is spoken is our own business.
                "protocol" => {}
                "db" | "user" | "pass" if unix => others.push(option),
                _ => {
                    return Err(invalid(
                        "url",
                        "it has an option that is not known; known are expiry=30s and prefix=app:, \
                         and for Unix sockets db, user and pass",
                    ));
                }
            }
        }
        Ok(others.join("&"))
    }
}

fn duration(text: &str) -> Result<Duration, LockError> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let millis = units.iter().find_map(|(unit, millis)| {
        text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*millis)
    });
    let problem = "expiry is a number and a unit, as in 500ms, 30s or 2m";
    millis.map(Duration::from_millis).ok_or_else(|| invalid("url", problem))
}

fn no_url() -> LockError {
    invalid("url", "it is no URL of a Redis server; write for example redis://localhost:6379")
}
