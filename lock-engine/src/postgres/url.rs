//! Connection strings of PostgreSQL servers, as text: URLs, and `key=value` pairs.
//!
//! The rules are [libpq's](https://www.postgresql.org/docs/current/libpq-connect.html). What is
//! wrong is said without repeating any of it: it may hold a password, or part of one.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use lock_proto::LockError;
use percent_encoding::percent_decode_str;

/// The parameters of a connection string, in their order, each with its value.
///
/// `host` and `port` are as in libpq: several, with commas.
pub(super) type Parameters = Vec<(String, String)>;

/// The schemes of a PostgreSQL server's URL.
pub(crate) const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// Takes a connection string apart.
pub(super) fn parse(text: &str) -> Result<Parameters, LockError> {
    let scheme = text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    match scheme {
        Some((scheme, rest)) if SCHEMES.contains(&scheme.as_str()) => parse_url(rest),
        // A password among pairs may have a :// in it.
        Some((scheme, _)) if !scheme.contains('=') => Err(not_readable()),
        Some(_) | None => parse_pairs(text),
    }
}

fn parse_url(rest: &str) -> Result<Parameters, LockError> {
    let mut parameters = Parameters::new();
    let (bare, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may have a slash or an @ in it, if somebody forgot to escape it.
    let (user, bare) =
        bare.rsplit_once('@').map_or((None, bare), |(user, rest)| (Some(user), rest));
    if let Some(user) = user {
        let (user, password) = user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)));
        push(&mut parameters, "user", user)?;
        push(&mut parameters, "password", password.unwrap_or_default())?;
    }
    let (hosts, database) = bare.split_once('/').unwrap_or((bare, ""));
    push_hosts(&mut parameters, hosts)?;
    push(&mut parameters, "dbname", database)?;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').ok_or_else(|| {
            invalid("each option after the question mark has a value, as in ?sslmode=require")
        })?;
        push(&mut parameters, &decoded(key)?, value)?;
    }
    Ok(parameters)
}

/// Each host has a port of its own in a URL; in the parameters there are two lists.
fn push_hosts(parameters: &mut Parameters, hosts: &str) -> Result<(), LockError> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((address, port))) => (address, port),
            Some(None) => return Err(invalid("an IPv6 address has a ] at its end, as in [::1]")),
            None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port,
            None if port.is_empty() => port,
            None => return Err(invalid("after the ] of an IPv6 address comes :port, or nothing")),
        };
        names.push(decoded(name)?.into_owned());
        ports.push(decoded(port)?.into_owned());
    }
    if names.iter().any(|name| !name.is_empty()) {
        parameters.push(("host".to_owned(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

fn push(parameters: &mut Parameters, key: &str, value: &str) -> Result<(), LockError> {
    if !value.is_empty() {
        parameters.push((key.to_owned(), decoded(value)?.into_owned()));
    }
    Ok(())
}

fn decoded(text: &str) -> Result<Cow<'_, str>, LockError> {
    let is_escape = |text: &str| text.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_escape) {
        return Err(invalid(
            "a % must be followed by two hexadecimal digits; for itself write %25",
        ));
    }
    let text = percent_decode_str(text).decode_utf8();
    text.ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| invalid("what is written with % signs must be UTF-8, and have no NUL in it"))
}

fn parse_pairs(text: &str) -> Result<Parameters, LockError> {
    let mut parameters = Parameters::new();
    let mut rest = text.chars().peekable();
    loop {
        skip_space(&mut rest);
        if rest.peek().is_none() {
            return Ok(parameters);
        }
        let mut key = String::new();
        while let Some(letter) = rest.next_if(|next| *next != '=' && !next.is_whitespace()) {
            key.push(letter);
        }
        skip_space(&mut rest);
        if key.is_empty() || rest.next_if_eq(&'=').is_none() {
            return Err(not_readable());
        }
        skip_space(&mut rest);
        let value = take_value(&mut rest)?;
        if value.contains('\0') {
            return Err(invalid("it has a NUL in it"));
        }
        // As libpq has it, what is empty is not given.
        if !value.is_empty() {
            parameters.push((key, value));
        }
    }
}

fn skip_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|next| next.is_whitespace()).is_some() {}
}

fn take_value(rest: &mut Peekable<Chars<'_>>) -> Result<String, LockError> {
    let mut value = String::new();
    let quoted = rest.next_if_eq(&'\'').is_some();
    loop {
        match rest.next_if(|next| quoted || !next.is_whitespace()) {
            Some('\'') if quoted => return Ok(value),
            // What a backslash stands before is itself; the last of all is nothing.
            Some('\\') => value.extend(rest.next()),
            Some(letter) => value.push(letter),
            None if quoted => return Err(invalid("a value has a ' at its begin, and none after")),
            None => return Ok(value),
        }
    }
}

fn not_readable() -> LockError {
    invalid(
        "it is no connection string of a PostgreSQL server; write for example \
         postgres://user:password@host:5432/database, with %40 for an @ in the password, or \
         host=localhost user=app dbname=database",
    )
}

pub(super) fn invalid(problem: impl Into<Cow<'static, str>>) -> LockError {
    LockError::InvalidConfig { option: "url", problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_url_is_the_same_as_its_parts() {
        check("postgres://", &[]);
        check("postgresql:///app", &[("dbname", "app")]);
        check("POSTGRES://a", &[("host", "a")]);
        check(
            "postgres://u%40x:p%2F%3A@host:5433/my%20app?sslmode=require",
            &[
                ("user", "u@x"),
                ("password", "p/:"),
                ("host", "host"),
                ("port", "5433"),
                ("dbname", "my app"),
                ("sslmode", "require"),
            ],
        );
        check("postgres://a:1,b,[::1]:3/", &[("host", "a,b,::1"), ("port", "1,,3")]);
        check("postgres://%2Frun%2Fpg:5433/", &[("host", "/run/pg"), ("port", "5433")]);
        check("postgres:///app?host=/run/pg", &[("dbname", "app"), ("host", "/run/pg")]);
    }

    #[test]
    fn a_password_that_was_not_escaped_is_read_all_the_same() {
        check("postgres://u:p/w@x@host", &[("user", "u"), ("password", "p/w@x"), ("host", "host")]);
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        check("", &[]);
        check("host=a\n port = 1 user=''", &[("host", "a"), ("port", "1")]);
        check(
            r"password='it\'s a \\' dbname=a\ b",
            &[("password", r"it's a \"), ("dbname", "a b")],
        );
        check("password=a://b=c", &[("password", "a://b=c")]);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "secret",
            "mysql://u:secret@host/db",
            "postgres://u:secret%zz@host/db",
            "postgres://u:secret%ff@host/db",
            "postgres://u:secret@[::1/db",
            "postgres://u:secret@[::1]x/db",
            "postgres://u:secret@host/db?sslmode",
            "password=secret user",
            "password='secret",
            "=secret",
        ] {
            let problem = parse(text).expect_err(text).to_string();
            assert!(problem.starts_with("invalid option url: "), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    fn check(text: &str, parts: &[(&str, &str)]) {
        let parsed = parse(text).expect(text);
        let parsed: Vec<_> = parsed.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(parsed, parts, "{text}");
    }
}
