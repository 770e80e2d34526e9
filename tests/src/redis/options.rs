//! What a server is told in its configuration.

use std::fmt::Write;
use std::path::Path;

use super::{Certificates, Server};

/// The user whom every server knows and who may do everything.
pub(super) const ADMIN: &str = "fixture";

/// How a [`Server`] is to be started; by default without password, in memory only.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ServerOptions {
    password: Option<String>,
    user: Option<(String, String)>,
    append_only: bool,
    certificate: Option<[String; 4]>,
    master: Option<u16>,
    lines: Vec<String>,
    role: Role,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Server,
    Sentinel,
}

impl ServerOptions {
    /// A server without password that keeps nothing on disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands a password, which must not need to be escaped in URLs.
    pub fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Knows one more user, who may do everything, and nobody without a name unless there is a
    /// password as well. Neither word may need to be escaped in URLs.
    pub fn with_user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// Speaks nothing but TLS on its port. The certificates must outlive the server; those of
    /// clients are not asked for unless a line `tls-auth-clients yes` is added.
    pub fn with_tls(mut self, certificates: &Certificates) -> Self {
        self.certificate = Some(certificates.lines());
        self
    }

    /// Limits the memory, in Redis's notation (`"2mb"`), and refuses writes beyond.
    pub fn with_maxmemory(self, limit: &str) -> Self {
        self.with_line(&format!("maxmemory {limit}")).with_line("maxmemory-policy noeviction")
    }

    /// Writes every command to disk before it is answered, so that a killed server forgets nothing.
    pub fn with_append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// Follows another server, which must not speak TLS, and is started only when it has caught up.
    pub fn with_master(mut self, master: &Server) -> Self {
        self.master = Some(master.port());
        self
    }

    /// Adds a line to the configuration, which may override what stands there already.
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
    pub fn start(self) -> Server {
        Server::start_with(self)
    }

    pub(super) fn into_sentinel(mut self) -> Self {
        self.role = Role::Sentinel;
        self
    }

    pub(super) fn is_replica(&self) -> bool {
        self.master.is_some()
    }

    /// What follows the configuration on the command line.
    pub(super) fn arguments(&self) -> &'static [&'static str] {
        match self.role {
            Role::Server => &[],
            Role::Sentinel => &["--sentinel"],
        }
    }

    /// The scheme and the credentials of the server's URL.
    pub(super) fn url_start(&self) -> String {
        let credentials = match (&self.user, &self.password) {
            (Some((name, password)), _) => format!("{name}:{password}@"),
            (None, Some(password)) => format!(":{password}@"),
            (None, None) => String::new(),
        };
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{credentials}")
    }

    /// The text of the configuration.
    pub(super) fn configuration(&self, socket: &Path, port: u16) -> String {
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("unixsocket {}", socket.display()),
            format!("user {ADMIN} on >{ADMIN} ~* &* +@all"),
        ];
        match &self.certificate {
            Some(certificate) => {
                lines.extend(["port 0".to_owned(), format!("tls-port {port}")]);
                lines.extend(certificate.iter().cloned());
            }
            None => lines.push(format!("port {port}")),
        }
        if self.role == Role::Server {
            lines.extend(self.server_lines());
        }
        lines.extend(self.lines.iter().cloned());
        lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").expect("a string takes everything");
            text
        })
    }

    fn server_lines(&self) -> Vec<String> {
        let append_only = if self.append_only { "yes" } else { "no" };
        let mut lines = vec![
            "save \"\"".to_owned(),
            format!("appendonly {append_only}"),
            "appendfsync always".to_owned(),
            // A replica would wait five seconds for others that want the same copy.
            "repl-diskless-sync-delay 0".to_owned(),
            format!("masteruser {ADMIN}"),
            format!("masterauth {ADMIN}"),
        ];
        if let Some((name, password)) = &self.user {
            lines.push(format!("user {name} on >{password} ~* &* +@all"));
        }
        match (&self.password, &self.user) {
            (Some(password), _) => lines.push(format!("requirepass {password}")),
            (None, Some(_)) => lines.push("user default off".to_owned()),
            (None, None) => {}
        }
        lines.extend(self.master.map(|port| format!("replicaof 127.0.0.1 {port}")));
        lines
    }
}
