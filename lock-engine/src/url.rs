//! Which backend a URL names.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use lock_proto::LockError;
use percent_encoding::percent_decode_str;

/// The backend that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// `memory:`: this process.
    Memory,
    /// `file:///directory`: the lock files of a directory.
    File(PathBuf),
    /// `postgres://host/database`, `postgresql://`: a PostgreSQL server.
    Postgres(SecretUrl),
    /// `redis://host`, `rediss://`, `redis+redlock://a,b,c`, `redis+cluster://a,b`,
    /// `redis+sentinel://a,b/master`, `unix:///socket`: Redis servers.
    Redis(SecretUrl),
}

/// A URL that may hold a password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl Endpoint {
    /// Reads `url`.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidConfig`] if it is no URL, [`LockError::Unsupported`] if its scheme is
    /// none of a backend's.
    pub fn parse(url: &str) -> Result<Self, LockError> {
        // The URL may hold a password, so it is never repeated.
        let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme))
        else {
            return Err(invalid("it has no scheme; write for example file:///var/lock/app"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "memory" if rest.is_empty() || rest == "//" => Ok(Self::Memory),
            "memory" => Err(invalid("memory: takes nothing after its colon")),
            "file" => directory(rest).map(Self::File),
            "postgres" | "postgresql" if rest.starts_with("//") => {
                Ok(Self::Postgres(SecretUrl::new(url)))
            }
            scheme if redis_scheme(scheme).is_some() => Ok(Self::Redis(SecretUrl::new(url))),
            scheme => {
                let known = format!(
                    "no backend for {scheme:?}; known are file:, memory:, postgres: and redis:"
                );
                Err(LockError::Unsupported(known.into()))
            }
        }
    }
}

impl SecretUrl {
    /// Keeps `url` to itself.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// The URL with its password.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redacted(&self.0), f)
    }
}

/// `rediss+cluster` is `rediss` and `cluster`.
pub(crate) fn redis_scheme(scheme: &str) -> Option<(&str, &str)> {
    let (single, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let known = match single {
        "unix" => kind.is_empty(),
        "redis" | "valkey" => ["", "unix", "redlock", "cluster", "sentinel"].contains(&kind),
        "rediss" | "valkeys" => ["", "redlock", "cluster", "sentinel"].contains(&kind),
        _ => false,
    };
    known.then_some((single, kind))
}

/// `url` as it may be shown.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return "***".to_owned();
    };
    if rest.split_once('?').is_some_and(|(_, query)| query.contains('@')) {
        // It may be a password with a question mark in it.
        return format!("{scheme}://***");
    }
    let (bare, query) = rest.split_once('?').map_or((rest, None), |(bare, query)| {
        let shown = if query.contains("pass") { "***" } else { query };
        (bare, Some(shown))
    });
    let shown = match bare.rsplit_once('@') {
        Some((user, hosts)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:***@{hosts}")
        }
        None => format!("{scheme}://{bare}"),
    };
    query.map_or_else(|| shown.clone(), |query| format!("{shown}?{query}"))
}

/// RFC 3986, section 3.1; what else stands before a colon may be part of a password.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn directory(rest: &str) -> Result<PathBuf, LockError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
    if !path.starts_with('/') {
        return Err(invalid("a file URL needs an absolute directory, as in file:///var/lock/app"));
    }
    if path.contains(['?', '#']) {
        return Err(invalid("a file URL has no options; in a directory's name write %3F and %23"));
    }
    if !path.split('%').skip(1).all(begins_with_two_digits) {
        return Err(invalid(
            "a % must be followed by two hexadecimal digits; for itself write %25",
        ));
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    if bytes.contains(&0) {
        return Err(invalid("a directory can't have a NUL in its name"));
    }
    Ok(OsString::from_vec(bytes).into())
}

fn begins_with_two_digits(escape: &str) -> bool {
    let digits = escape.bytes().take(2).filter(u8::is_ascii_hexdigit);
    digits.count() == 2
}

fn invalid(problem: &'static str) -> LockError {
    LockError::InvalidConfig { option: "url", problem: problem.into() }
}
