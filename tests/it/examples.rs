//! Every example runs and says what it should, and two builds at once take turns.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use lock_proto::file::file_name;
use lock_tests::postgres::PostgresServer;
use lock_tests::suite::adapters::Backend;
use lock_tests::suite::redis_place::urls;

/// Long enough to build everything on a busy machine.
const BOUND: Duration = Duration::from_secs(300);

/// The examples of a package, each with lines that it must print.
type Examples = &'static [(&'static str, &'static [&'static str])];

const FEATURES: &str = "file,redis,postgres";

const TOKIO: Examples = &[
    ("tokio_connect", &["Lock released"]),
    ("tokio_error_handling", ERRORS),
    ("tokio_extend_and_info", &["Held by Some(\"worker 1\"), fence Some(1)"]),
    ("tokio_file_lock", &["Lock released!"]),
    ("tokio_lock_loss", LOSS),
    ("tokio_mutex_tasks", &["All tasks had their turn"]),
    ("tokio_options", &["invalid option renewal: "]),
    ("tokio_postgres_lock", &["Lock acquired! Doing critical work...", "Lock released!"]),
    (
        "tokio_postgres_options",
        &["Fencing token: true", "Released with its transaction", "invalid option max_connections"],
    ),
    (
        "tokio_postgres_own_transaction",
        &["Free before the commit: false", "Free after the commit: true", "Bookings: 2"],
    ),
    ("tokio_postgres_reader_writer", &["Read [] beside another reader", "Read [\"fresh\"] beside"]),
    ("tokio_provider_abstraction", &["Protected by files", "Protected by what a URL names"]),
    ("tokio_reader_writer", READERS),
    ("tokio_redis_cluster", &["Held by this process: true", "Lock released!"]),
    ("tokio_redis_cluster_contention", &["All 3 clients had the lock in turn"]),
    ("tokio_redis_cluster_guard", &["The work failed: out of disk", "The guard released its lock"]),
    ("tokio_redis_cluster_workers", &["3 workers did 6 tasks once each"]),
    ("tokio_redis_lock", &["Fencing token: true", "Lock released!"]),
    ("tokio_redis_options", &["Released by hand", "invalid option renewal: "]),
    ("tokio_redis_redlock", &["Held by a majority for 29 s or more", "Lock released!"]),
    ("tokio_redis_semaphore", &["All five tickets came back"]),
    ("tokio_release_on_drop", &["Nobody released it, and it is free"]),
    ("tokio_renewal", &["Lock lost, aborting operation"]),
    ("tokio_semaphore", &["The sixth got its ticket when others came back"]),
    ("tokio_semaphore_tasks", &["All tasks had their turn"]),
    ("tokio_test_double", &["The lease ran out on time", "The job noticed its loss"]),
    ("tokio_try_acquire", &["Lock unavailable, skipping work"]),
    ("tokio_uncontended_cost", &["memory: ", "files: "]),
];

const ASYNC_STD: Examples = &[
    ("async_std_file_lock", &["Lock released!"]),
    ("async_std_lock_loss", LOSS),
    ("async_std_mutex_tasks", &["All tasks had their turn"]),
    ("async_std_postgres_lock", &["Lock acquired!", "Lock released!"]),
    ("async_std_reader_writer", READERS),
    ("async_std_redis_lock", &["Lock released!"]),
    ("async_std_release_on_drop", &["Nobody released it, and it is free"]),
    ("async_std_semaphore", &["The sixth got its ticket when others came back"]),
    ("async_std_semaphore_tasks", &["All tasks had their turn"]),
    ("async_std_try_acquire", &["Lock unavailable, skipping work"]),
];

const BLOCKING: Examples = &[
    ("blocking_error_handling", ERRORS),
    ("blocking_file_lock", &["Lock released!"]),
    ("blocking_lock_loss", LOSS),
    ("blocking_mutex_threads", &["All threads had their turn"]),
    ("blocking_postgres_lock", &["Released by the drop: true"]),
    (
        "blocking_postgres_own_transaction",
        &["Free before the commit: false", "Free after the commit: true"],
    ),
    ("blocking_reader_writer", READERS),
    ("blocking_redis_lock", &["Lock released!", "Released by the drop: true"]),
    ("blocking_release_on_drop", &["Nobody released it, and it is free"]),
    ("blocking_semaphore", &["The sixth got its ticket when others came back"]),
    ("blocking_semaphore_threads", &["All threads had their turn"]),
    ("blocking_try_acquire", &["Lock unavailable, skipping work"]),
];

const ERRORS: &[&str] =
    &["Timed out after 50ms", "Other error: invalid option limit", "Operation was cancelled"];
const LOSS: &[&str] = &["Lock was lost! Aborting work.", "Finished the second time"];
const READERS: &[&str] = &["Read [] beside another reader", "Read [\"fresh\"] after the update"];

#[test]
fn the_examples_of_tokio_run() {
    check("lock-tokio", TOKIO);
}

#[test]
fn the_examples_of_async_std_run() {
    check("lock-async-std", ASYNC_STD);
}

#[test]
fn the_examples_of_plain_threads_run() {
    check("lock-blocking", BLOCKING);
}

#[test]
fn every_example_is_run() {
    for (package, examples) in
        [("lock-tokio", TOKIO), ("lock-async-std", ASYNC_STD), ("lock-blocking", BLOCKING)]
    {
        let folder = fs::read_dir(workspace().join(package).join("examples")).unwrap();
        let files: BTreeSet<String> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let listed = examples.iter().map(|(name, _)| format!("{name}.rs")).collect();
        assert_eq!(files, listed, "the examples of {package}, and those that are run");
    }
}

#[test]
fn of_two_builds_at_once_one_works_and_the_other_waits_for_the_result() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, log) = (directory.path().join("cache"), directory.path().join("log"));
    fs::create_dir(&cache).unwrap();
    // No build goes on before both wait: otherwise they might never meet.
    let gate = File::create(cache.join(file_name("primes"))).unwrap();
    gate.lock().unwrap();

    let mut builds = ["first", "second"].map(|target| {
        let mut cargo = cargo(&["build"]);
        cargo.arg("--manifest-path").arg(build_script().join("Cargo.toml"));
        cargo.arg("--target-dir").arg(directory.path().join(target));
        cargo.env("PRIMES_CACHE", &cache).env("PRIMES_LOG", &log);
        Program::start(cargo)
    });
    await_that("both builds wait", || {
        events(&log).len() == 2 || builds.iter_mut().any(Program::has_ended)
    });
    let waiting = events(&log);
    drop(gate);
    for build in builds {
        build.finish();
    }

    assert_eq!(names(&waiting), ["waits", "waits"]);
    let turns = &events(&log)[2..];
    assert_eq!(names(turns), ["enters", "made it", "leaves", "enters", "leaves"]);
    let pids: Vec<_> = turns.iter().map(|(pid, _)| pid).collect();
    assert!(pids[..3].iter().all(|pid| *pid == pids[0]), "{turns:?}");
    assert!(pids[3..].iter().all(|pid| *pid == pids[4] && *pid != pids[0]), "{turns:?}");
}

/// Or it could not be built without a network.
#[test]
fn the_build_script_locks_what_the_workspace_locks() {
    let ours = locked_packages(&workspace().join("Cargo.lock"));
    let mut examples = locked_packages(&build_script().join("Cargo.lock"));
    examples.remove("build-script-example 0.1.0");
    let others: Vec<_> = examples.difference(&ours).collect();
    assert!(
        others.is_empty(),
        "{others:?} are not in Cargo.lock: copy it over examples/build-script/Cargo.lock and run \
         cargo check --offline there"
    );
}

fn check(package: &str, examples: Examples) {
    for (name, lines) in examples {
        let mut run = cargo(&["run", "-p", package, "--example", name, "--features", FEATURES]);
        // Names of its own, on servers that all examples share.
        let at =
            |urls: Vec<String>| urls.iter().map(|url| format!("{url}?prefix={name}:")).collect();
        if name.contains("redis_cluster") {
            let urls: Vec<String> = at(urls(Backend::RedisCluster));
            run.env("REDIS_CLUSTER_URL", urls.concat());
        } else if name.contains("redis_redlock") {
            let urls: Vec<String> = at(urls(Backend::ThreeRedisServers));
            run.env("REDIS_URLS", urls.join(","));
        } else if name.contains("redis") {
            let urls: Vec<String> = at(urls(Backend::RedisServer));
            run.env("REDIS_URL", urls.concat());
        } else if name.contains("postgres") {
            run.env("POSTGRES_URL", postgres_url());
        }
        let output = Program::start(run).finish();
        for line in *lines {
            let said = output.lines().any(|said| said.starts_with(line));
            assert!(said, "{name} did not say {line:?}, but:\n{output}");
        }
    }
}

/// A server that all examples share.
fn postgres_url() -> String {
    static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);
    SERVER.url()
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace()).args(arguments).args(["--quiet", "--offline", "--locked"]);
    cargo
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is inside of it")
}

fn build_script() -> PathBuf {
    workspace().join("examples/build-script")
}

/// What the build scripts wrote: their process, and what it did.
fn events(log: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let event = |line: &str| line.split_once(' ').map(|(pid, event)| (pid.into(), event.into()));
    text.lines().filter_map(event).collect()
}

fn names(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(_, event)| event.as_str()).collect()
}

fn locked_packages(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("the file is there");
    let value = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let package = |table: &str| {
        let mut values = table.lines().skip(1).take(2).map(value);
        Some(format!("{} {}", values.next()?, values.next()?))
    };
    text.split("[[package]]").skip(1).filter_map(package).collect()
}

fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < BOUND, "it is not so that {what}");
        // What is awaited needs the processors, for minutes.
        thread::sleep(Duration::from_millis(10));
    }
}

/// A program that runs; killed with whoever waits for it.
struct Program {
    command: Command,
    child: Child,
    output: File,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let output = tempfile::tempfile().expect("a temporary file");
        let clone = || output.try_clone().expect("a descriptor");
        let (stdout, stderr) = (clone(), clone());
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        Self { child: child.expect("the program starts"), command, output }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Waits for its success; what it wrote to either output.
    fn finish(mut self) -> String {
        await_that(&format!("{:?} ended", self.command), || self.has_ended());
        let mut said = String::new();
        self.output.rewind().expect("a file");
        self.output.read_to_string(&mut said).expect("text");
        let status = self.child.wait().expect("our own child");
        assert!(status.success(), "{:?}: {status}\n{said}", self.command);
        said
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, if all is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
