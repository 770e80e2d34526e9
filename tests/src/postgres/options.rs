//! What a server is told in its configuration.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{ADMIN, PostgresServer, USER};
use crate::redis::Certificates;

/// A server that is killed remembers what it committed, but only the kernel keeps that.
const SETTINGS: [&str; 10] = [
    "listen_addresses = '127.0.0.1'",
    "max_connections = 100",
    "shared_buffers = '16MB'",
    // Otherwise segments would be left behind by a server that is killed.
    "dynamic_shared_memory_type = mmap",
    "fsync = off",
    "full_page_writes = off",
    "autovacuum = off",
    "password_encryption = 'scram-sha-256'",
    "lc_messages = 'C'",
    "log_line_prefix = '%m [%p] %u@%d '",
];

/// How a [`PostgresServer`] is to be started; by default [`USER`] needs no password.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PostgresOptions {
    roles: Vec<(String, String)>,
    certificate: Option<Certificate>,
    primary: Option<Primary>,
    access: Vec<String>,
    lines: Vec<String>,
}

/// Files that a server needs a copy of.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What a standby follows.
#[derive(Clone, Debug)]
pub(super) struct Primary {
    pub(super) socket: PathBuf,
    pub(super) port: u16,
}

impl PostgresOptions {
    /// A server that lets [`USER`] in without a password.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows one more ordinary user, who has to show a password. Neither word may need to be
    /// escaped in URLs or in SQL.
    pub fn with_role(mut self, name: &str, password: &str) -> Self {
        self.roles.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Speaks nothing but TLS on its port. Certificates of clients are not asked for, unless a line
    /// such as `hostssl all all all cert` is added to those who have access.
    pub fn with_tls(mut self, certificates: &Certificates) -> Self {
        self.certificate = Some(Certificate {
            authority: certificates.authority(),
            certificate: certificates.server(),
            key: certificates.server_key(),
        });
        self
    }

    /// Follows another server as a hot standby.
    pub fn with_primary(mut self, primary: &PostgresServer) -> Self {
        let socket = primary.unix_directory().to_owned();
        self.primary = Some(Primary { socket, port: primary.port() });
        self
    }

    /// How many sessions of ordinary users there may be, beside this fixture's own.
    pub fn with_max_connections(self, count: u32) -> Self {
        self.with_line(&format!("max_connections = {}", count + 4))
            .with_line("superuser_reserved_connections = 3")
    }

    /// Puts a line before all others of `pg_hba.conf`.
    pub fn with_access(mut self, line: &str) -> Self {
        self.access.push(line.to_owned());
        self
    }

    /// Adds a line to `postgresql.conf`, which overrides what stands there already.
    pub fn with_line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it doesn't, with what it said.
    #[must_use = "a server dies with its value"]
    pub fn start(self) -> PostgresServer {
        PostgresServer::start_with(self)
    }

    pub(super) fn roles(&self) -> &[(String, String)] {
        &self.roles
    }

    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    pub(super) fn primary(&self) -> Option<&Primary> {
        self.primary.as_ref()
    }

    /// The name of a user and its password, as a URL has them.
    pub(super) fn credentials(&self, user: &str) -> String {
        let password = self.roles.iter().find(|(name, _)| name == user);
        password.map_or_else(|| user.to_owned(), |(name, password)| format!("{name}:{password}"))
    }

    /// What a URL ends with.
    pub(super) fn url_end(&self) -> &'static str {
        if self.certificate.is_some() { "?sslmode=require" } else { "" }
    }

    /// The text of `postgresql.conf`.
    pub(super) fn settings(&self) -> String {
        let tls: &[&str] = match self.certificate {
            Some(_) => &[
                "ssl = on",
                "ssl_ca_file = 'authority.pem'",
                "ssl_cert_file = 'server.pem'",
                "ssl_key_file = 'server.key'",
            ],
            None => &[],
        };
        let fixed = SETTINGS.iter().chain(tls).copied();
        text_of(fixed.chain(self.lines.iter().map(String::as_str)))
    }

    /// The text of `pg_hba.conf`.
    pub(super) fn access(&self) -> String {
        let host = if self.certificate.is_some() { "hostssl" } else { "host" };
        let mut lines = vec![
            format!("local all,replication {ADMIN} trust"),
            format!("local all {USER} trust"),
            format!("{host} all {USER} 127.0.0.1/32 trust"),
        ];
        for (name, _) in &self.roles {
            lines.push(format!("local all {name} scram-sha-256"));
            lines.push(format!("{host} all {name} 127.0.0.1/32 scram-sha-256"));
        }
        text_of(self.access.iter().chain(&lines).map(String::as_str))
    }
}

fn text_of<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("a string takes everything");
        text
    })
}
