//! Which backend a URL names.

use std::ffi::OsString;
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
}

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
            scheme => {
                let known = format!("no backend for {scheme:?}; known are file: and memory:");
                Err(LockError::Unsupported(known.into()))
            }
        }
    }
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
