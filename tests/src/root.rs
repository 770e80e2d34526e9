//! A directory that goes when its process does, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Waits until its parent is gone, and takes a directory with it. The second time is for a server
/// that was still writing.
const JANITOR: &str = "trap '' INT HUP TERM; read -r _; rm -rf \"$1\"; sleep 1; rm -rf \"$1\"";

/// A directory for what statics hold, which are never dropped.
pub(crate) struct Root {
    path: PathBuf,
    /// Reads from a pipe that closes with this process.
    _janitor: Child,
}

impl Root {
    pub(crate) fn new(prefix: &str) -> Self {
        let directory = TempDir::with_prefix(prefix).expect("the temporary directory is there");
        let mut janitor = Command::new("sh");
        janitor.args(["-c", JANITOR, "janitor"]).arg(directory.path());
        janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let janitor = janitor.spawn().expect("there is a shell");
        Self { path: directory.keep(), _janitor: janitor }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
