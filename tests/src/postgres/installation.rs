//! The programs of PostgreSQL, and where their files are.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::geteuid;
use tempfile::TempDir;

use super::{ADMIN, USER};
use crate::process::{NOBODY, Program};
use crate::root::Root;

/// A program of the server, which refuses to run as root.
pub(super) fn program(name: &str) -> Program {
    Program::find(name, "postgresql", &versions()).unprivileged()
}

/// An empty directory for a server, deleted with the value.
pub(super) fn directory() -> TempDir {
    let directory = TempDir::with_prefix_in("", root()).expect("the directory is there");
    give_away(directory.path());
    directory
}

/// Makes a file or a directory the server's own, which nobody else may read.
pub(super) fn give_away(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is ours");
}

/// Makes the data of a server that knows [`USER`]: as a copy, because `initdb` takes eight times as
/// long.
pub(super) fn make_data(data: &Path) {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let path = root().join("template");
        make_template(&path);
        path
    });
    let copied = Command::new("cp").arg("-a").arg(template).arg(data).status();
    assert!(copied.is_ok_and(|status| status.success()), "the disk has no room");
}

fn make_template(data: &Path) {
    let path = data.to_str().expect("the temporary directory has a plain name");
    let arguments = ["--pgdata", path, "--username", ADMIN, "--no-sync", "--wal-segsize", "1"];
    let locale = ["--encoding", "UTF8", "--locale", "C"];
    program("initdb").run(root(), &[&arguments[..], &locale].concat(), "");
    let roles = format!("CREATE ROLE {USER} LOGIN\nCREATE DATABASE {USER} OWNER {USER}\n");
    let single = ["--single", "-F", "-D", path, "-c", "log_min_messages=error", "postgres"];
    program("postgres").run(root(), &single, &roles);
}

/// Where all servers of this process are, deleted when it ends.
fn root() -> &'static Path {
    static ROOT: OnceLock<Root> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let root = Root::new("postgres-");
        give_away(root.path());
        root
    });
    root.path()
}

/// Where Debian has the programs of each version, the latest first.
fn versions() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable();
    versions.into_iter().rev().map(|(_, path)| path).collect()
}
