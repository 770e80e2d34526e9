//! Certificates for servers that speak TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::require;

const DAYS: &str = "2";

/// An authority made up for a test, and what it signed: a server at `127.0.0.1` and `localhost`,
/// and a client. The files are deleted with the value.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes up an authority and lets it sign a server's and a client's certificate, valid for two
    /// days.
    ///
    /// # Panics
    ///
    /// If there is no `openssl`, or it fails.
    #[must_use = "the files are deleted with the value"]
    pub fn new() -> Self {
        require("openssl", "openssl");
        let directory = TempDir::with_prefix("tls-").expect("the temporary directory is there");
        let certificates = Self { directory };
        certificates.sign("authority", &["basicConstraints=critical,CA:TRUE"], &[]);
        let by_authority = ["-CA", "authority.pem", "-CAkey", "authority.key"];
        let leaf = "basicConstraints=critical,CA:FALSE";
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        certificates.sign("server", &[leaf, names, "extendedKeyUsage=serverAuth"], &by_authority);
        certificates.sign("client", &[leaf, "extendedKeyUsage=clientAuth"], &by_authority);
        certificates
    }

    /// The authority's certificate, which a client must trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority.pem")
    }

    /// What is in the authority's certificate.
    #[must_use]
    pub fn authority_pem(&self) -> Vec<u8> {
        fs::read(self.authority()).expect("the file was written by us")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The key of the server's certificate.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// The certificate with which a client shows who it is, if the server asks: see
    /// `tls-auth-clients`.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.file("client.pem")
    }

    /// The key of the client's certificate.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.file("client.key")
    }

    /// The lines of a configuration with which a server shows the certificate.
    pub(super) fn lines(&self) -> [String; 4] {
        let line = |key: &str, path: &Path| format!("{key} {}", path.display());
        [
            line("tls-ca-cert-file", &self.authority()),
            line("tls-cert-file", &self.server()),
            line("tls-key-file", &self.server_key()),
            "tls-auth-clients no".to_owned(),
        ]
    }

    /// Writes `name.pem` and `name.key`, signed by itself unless `signer` says otherwise.
    fn sign(&self, name: &str, extensions: &[&str], signer: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(self.directory.path()).stdin(Stdio::null());
        openssl.args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            DAYS,
            "-subj",
            &format!("/CN=test {name}"),
        ]);
        openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
        // Without a configuration, whose extensions would be added to these.
        openssl.args(["-config", "/dev/null"]).args(signer);
        for extension in extensions {
            openssl.args(["-addext", extension]);
        }
        let output = openssl.output().expect("openssl was found before");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl did not sign {name}:\n{said}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
