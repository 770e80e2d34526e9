//! What a reader of the sources relies on: names, sizes, dependencies, and files that are named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of which only one of the two crates has one, or that show nothing to users.
const OWN_FILES: &[(&str, &str)] =
    &[("acquire.rs", "is private"), ("wait.rs", "parks a thread, and futures don't need that")];

/// Public names that one of the two crates may have alone.
const OWN_NAMES: &[(&str, &str)] = &[
    ("type BoxFuture", "a trait used as an object needs it for futures only"),
    ("use provider::BoxFuture", "as above"),
];

const PACKAGES: &[&str] = &[
    "lock-proto",
    "lock-engine",
    "lock-async",
    "lock-blocking",
    "lock-tokio",
    "lock-async-std",
    "lock-cli",
];

const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 60;

/// What lock-proto may be built from: thiserror with its macro's tree, two hashes, and a table.
const PROTO_TREE: &[&str] = &[
    "block-buffer",
    "cfg-if",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "hybrid-array",
    "libc",
    "lock-proto",
    "proc-macro2",
    "quote",
    "sha1",
    "sha2",
    "syn",
    "thiserror",
    "thiserror-impl",
    "typenum",
    "unicode-general-category",
    "unicode-ident",
];

#[test]
fn the_async_and_the_blocking_crate_show_the_same_names() {
    let futures = public_names("lock-async");
    let threads = public_names("lock-blocking");
    assert!(futures["lock.rs"].contains("fn acquire_with"), "the scanner finds methods");
    assert!(futures["provider.rs"].contains("fn create_lock"), "the scanner finds traits' methods");
    assert!(futures["lib.rs"].contains("use handle::LockHandle"), "the scanner finds uses");
    assert_eq!(futures, threads);
}

#[test]
fn the_adapters_of_the_runtimes_show_everything_under_their_own_name() {
    for package in ["lock-tokio", "lock-async-std"] {
        let source = read(&root().join(package).join("src/lib.rs"));
        assert!(source.lines().any(|line| line == "pub use lock_async::*;"), "{package}");
    }
}

macro_rules! names {
    ($module:ident: $adapter:ident) => {
        mod $module {
            #[expect(unused_imports, reason = "that they are there is the test")]
            use $adapter::{
                AcquireOptions, Backoff, DistributedLock, Fault, FaultKind, FileLockProvider,
                FileLockProviderBuilder, Holder, InMemoryLockProvider, InMemoryLockProviderBuilder,
                Lock, LockError, LockHandle, LockInfo, LockProvider, LossReason, LostToken,
                ManualClock, ReaderWriterLock, Renewal, Semaphore, connect, prelude,
            };

            use super::{check_clonable, check_shared, debugged};

            #[test]
            fn everything_may_be_shared_and_moved() {
                check_shared::<LockHandle>();
                check_shared::<LockError>();
                check_shared::<LossReason>();
                check_shared::<LockInfo>();
                check_shared::<FileLockProviderBuilder>();
                check_shared::<InMemoryLockProviderBuilder>();
                check_shared::<Box<dyn LockProvider>>();
                check_clonable::<LostToken>();
                check_clonable::<Lock>();
                check_clonable::<ReaderWriterLock>();
                check_clonable::<Semaphore>();
                check_clonable::<FileLockProvider>();
                check_clonable::<InMemoryLockProvider>();
                check_clonable::<ManualClock>();
                check_clonable::<AcquireOptions>();
            }

            #[test]
            fn debug_shows_names_and_nothing_of_the_inside() {
                let provider = InMemoryLockProvider::new();
                let directory = tempfile::tempdir().unwrap();
                let files = FileLockProvider::new(directory.path()).unwrap();
                assert_eq!(debugged(&provider), "InMemoryLockProvider { .. }");
                assert_eq!(debugged(&files), "FileLockProvider { .. }");
                for provider in [&provider as &dyn LockProvider, &files] {
                    let lock = provider.create_lock("orders");
                    let readers = provider.create_reader_writer_lock("orders");
                    let permits = provider.create_semaphore("orders", 3);
                    assert_eq!(debugged(&lock), r#"Lock { name: "orders", .. }"#);
                    assert_eq!(debugged(&readers), r#"ReaderWriterLock { name: "orders", .. }"#);
                    let shown = r#"Semaphore { name: "orders", limit: 3, .. }"#;
                    assert_eq!(debugged(&permits), shown);
                }
            }
        }
    };
}

names!(of_tokio: lock_tokio);
names!(of_async_std: lock_async_std);
names!(of_threads: lock_blocking);

#[test]
fn debug_of_a_handle_and_of_its_token_tells_what_a_user_may_ask() {
    let provider = lock_blocking::InMemoryLockProvider::new();
    let handle = lock_blocking::LockProvider::create_lock(&provider, "orders").acquire(None);
    let handle = handle.unwrap();
    assert_eq!(debugged(&handle), "LockHandle { fence: Some(1), .. }");
    assert_eq!(debugged(&handle.lost_token()), "LostToken { reason: None, .. }");

    let provider = lock_async::InMemoryLockProvider::new();
    let lock = lock_async::LockProvider::create_lock(&provider, "orders");
    let handle = futures_lite::future::block_on(lock.acquire(None)).unwrap();
    assert_eq!(debugged(&handle), "LockHandle { fence: Some(1), .. }");
    provider.expire("orders");
    assert_eq!(debugged(&handle.lost_token()), "LostToken { reason: Some(Expired), .. }");
}

#[test]
fn futures_may_be_moved_to_other_threads() {
    use lock_async::{AcquireOptions, DistributedLock, LockProvider};

    fn check_send(future: impl Future + Send) {
        drop(future);
    }
    fn check_generic<L: DistributedLock>(lock: &L) {
        check_send(lock.acquire(None));
        check_send(lock.try_acquire());
        check_send(lock.acquire_with(AcquireOptions::new()));
    }

    let provider = lock_async::InMemoryLockProvider::new();
    let (lock, permits) = (provider.create_lock("a"), provider.create_semaphore("a", 1));
    let readers = provider.create_reader_writer_lock("a");
    check_generic(&lock);
    check_generic(&permits);
    check_send(lock.acquire(None));
    check_send(lock.info());
    check_send(readers.acquire_read(None));
    check_send(readers.acquire_write_with(AcquireOptions::new()));
    check_send(permits.acquire_many(1, None));
    check_send(provider.list());
    check_send(provider.close());
    check_send(lock_async::connect("memory:"));
    let handle = futures_lite::future::block_on(lock.acquire(None)).unwrap();
    check_send(handle.lost_token().changed());
    check_send(handle.release());
}

#[test]
fn no_file_and_no_function_is_too_long_to_read() {
    let mut long = Vec::new();
    for path in sources() {
        let source = read(&path);
        if source.lines().count() > LONGEST_FILE {
            long.push(format!("{}: {} lines", path.display(), source.lines().count()));
        }
        for (name, lines) in functions(&source) {
            if lines > LONGEST_FUNCTION {
                long.push(format!("{}: {name} has {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_function_scanner_finds_where_functions_end() {
    let source = "trait T {\n    fn a(&self);\n    pub async fn b(\n        c: u8,\n    ) -> u8 {\n        \
                  c\n    }\n}\nfn d() {}\n";
    let found = functions(source);
    assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 5), ("d".to_owned(), 1)]);
}

#[test]
fn nothing_is_left_to_do_and_no_option_is_unwrapped() {
    check_absent(&sources(), &["todo!", "unimplemented!", ".unwrap()", "TODO", "FIXME"]);
}

#[test]
fn the_machines_know_no_clock_and_no_system() {
    let proto = root().join("lock-proto/src");
    check_absent(&files_below(&proto, "rs"), &["std::", "HashMap", "HashSet", "Instant::now"]);
    assert!(read(&proto.join("lib.rs")).lines().any(|line| line == "#![no_std]"));
}

#[test]
fn the_machines_depend_on_a_hash_and_little_else() {
    let tree = tree(&["-p", "lock-proto"]);
    let foreign: Vec<_> = tree.iter().filter(|name| !PROTO_TREE.contains(&name.as_str())).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn the_blocking_crate_has_no_async_crate_in_its_tree() {
    let tree = tree(&["-p", "lock-blocking", "-F", "file,redis"]);
    assert!(tree.contains("redis"));
    let found: Vec<_> = tree.iter().filter(|name| is_async(name)).collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(tree.contains("lock-engine") && !tree.contains("lock-async"));
}

#[test]
fn who_uses_async_std_does_not_build_tokio_and_the_other_way_round() {
    for (adapter, other) in [("lock-async-std", "tokio"), ("lock-tokio", "async-std")] {
        let tree = tree(&["-p", adapter, "-F", "file"]);
        assert!(tree.contains("lock-async"), "{adapter}");
        assert!(!tree.contains(other), "{adapter} builds {other}");
    }
}

#[test]
fn who_uses_redis_on_async_std_builds_no_runtime_of_tokio() {
    // The redis crate needs tokio's traits for streams, whatever the runtime.
    let text = tree_text(&["-p", "lock-async-std", "-F", "redis", "-f", "{p} {f}"]);
    let tokio = text.lines().find(|line| line.starts_with("tokio v")).expect("it is there");
    let features: Vec<&str> = tokio.split([' ', ',']).collect();
    assert!(!features.contains(&"rt") && !features.contains(&"net"), "{tokio}");
}

#[test]
fn the_files_that_the_readme_links_exist() {
    let readme = read(&root().join("README.md"));
    let links: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("http"))
        .collect();
    assert!(links.len() > 5, "the scanner finds links: {links:?}");
    for link in links {
        assert!(root().join(link).exists(), "README.md links {link}");
    }
}

#[test]
fn the_paths_that_the_architecture_names_exist() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let known: Vec<PathBuf> = files_below(&root(), "").iter().map(|path| within(path)).collect();
    let named: Vec<String> =
        text.split('`').skip(1).step_by(2).filter(|code| is_path(code)).flat_map(expand).collect();
    assert!(named.len() > 15, "the scanner finds paths: {named:?}");
    for path in named {
        let exists = |known: &PathBuf| known.ancestors().any(|part| part.ends_with(&path));
        assert!(known.iter().any(exists), "ARCHITECTURE.md names {path}");
    }
}

#[test]
fn the_changelog_says_what_is_not_released_yet() {
    let changelog = read(&root().join("CHANGELOG.md"));
    assert!(changelog.lines().any(|line| line == "## Unreleased"));
}

fn check_shared<T: Send + Sync + Unpin + 'static>() {}

fn check_clonable<T: Send + Sync + Unpin + Clone + Debug + 'static>() {}

fn debugged(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// Fails if one of `words` stands in code that users get, comments aside.
fn check_absent(files: &[PathBuf], words: &[&str]) {
    assert!(!files.is_empty());
    let mut found = Vec::new();
    for path in files {
        for (number, line) in without_tests(&read(path)).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The public names of a package, by file.
fn public_names(package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder = root().join(package).join("src");
    let mut names = BTreeMap::new();
    for path in files_below(&folder, "rs") {
        let file = path.strip_prefix(&folder).expect("it is below").display().to_string();
        if OWN_FILES.iter().any(|(own, _)| *own == file) {
            continue;
        }
        let mut found = names_in(&read(&path));
        for (own, _) in OWN_NAMES {
            found.remove(*own);
        }
        if !found.is_empty() {
            names.insert(file, found);
        }
    }
    names
}

fn names_in(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut in_trait = false;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let item = line.trim_start();
        in_trait = (in_trait && line != "}") || line.starts_with("pub trait ");
        if let Some(path) = item.strip_prefix("pub use ") {
            let mut path = path.to_owned();
            while !path.ends_with(';') {
                path += lines.next().expect("a use ends with a semicolon");
            }
            names.extend(used(path.trim_end_matches(';')));
        } else if let Some(item) = item.strip_prefix("pub ").or_else(|| in_trait.then_some(item)) {
            names.extend(declared(item.strip_prefix("async ").unwrap_or(item)));
        }
    }
    names
}

fn declared(item: &str) -> Option<String> {
    let (kind, rest) = item.split_once(' ')?;
    let known = ["fn", "struct", "enum", "trait", "type", "mod", "const"].contains(&kind);
    known.then(|| format!("{kind} {}", identifier(rest)))
}

fn used(path: &str) -> Vec<String> {
    let (from, names) = match path.split_once('{') {
        Some((from, names)) => (from, names.trim_end_matches('}')),
        None => {
            path.rsplit_once("::").map_or(("", path), |(from, _)| path.split_at(from.len() + 2))
        }
    };
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| format!("use {from}{name}")).collect()
}

/// Each function of a formatted source, with its lines from `fn` to the brace that ends it.
fn functions(source: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let item = line.trim_start();
        let Some((before, after)) = item.split_once("fn ") else { continue };
        if before.split_whitespace().any(|word| !is_modifier(word)) || !is_word_start(after) {
            continue;
        }
        let closing = format!("{}}}", &line[..line.len() - item.len()]);
        let head = lines[start..].iter().position(|line| line.ends_with(['{', '}', ';']));
        let head = start + head.expect("a function has an end");
        let end = if lines[head].ends_with('{') {
            head + lines[head..].iter().position(|line| *line == closing).expect("is formatted")
        } else {
            head
        };
        found.push((identifier(after).to_owned(), end - start + 1));
    }
    found
}

fn is_modifier(word: &str) -> bool {
    matches!(word, "pub" | "pub(crate)" | "pub(super)" | "async" | "const" | "extern" | "unsafe")
}

fn is_word_start(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(text)
}

fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]").next().unwrap_or(source)
}

/// The packages that are linked into what `selection` names.
fn tree(selection: &[&str]) -> BTreeSet<String> {
    let text = tree_text(selection);
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn tree_text(selection: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("tree").args(["-e", "normal", "--prefix", "none", "--offline", "--locked"]);
    let output = cargo.args(selection).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names are text")
}

fn is_async(package: &str) -> bool {
    let families = ["tokio", "async", "smol", "futures", "mio", "polling"];
    families.iter().any(|family| package.split('-').next() == Some(family))
}

fn is_path(code: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./{},".contains(c);
    let ends = [".rs", ".md"].iter().any(|end| code.ends_with(end));
    code.chars().all(plain) && (ends || code.contains('/'))
}

/// `a/{b,c}.rs` is two paths.
fn expand(path: &str) -> Vec<String> {
    let path = path.trim_end_matches('/');
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (choices, after) = rest.split_once('}').expect("a brace is closed");
    choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it has a workspace").to_owned()
}

fn within(path: &Path) -> PathBuf {
    path.strip_prefix(root()).expect("it is below").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources() -> Vec<PathBuf> {
    PACKAGES
        .iter()
        .flat_map(|package| files_below(&root().join(package).join("src"), "rs"))
        .collect()
}

/// The files below `folder` whose names end in `extension`, less what is built or hidden.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder stays").path();
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        if name == "target" || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if name.ends_with(extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}
