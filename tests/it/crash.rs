//! Processes that end, stop and interfere while they hold locks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lock_blocking::FileLockProvider;
use lock_proto::file::file_name;
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::worker::{BOUND, Worker};

/// What is promised; a probe comes every half second.
const NOTICED: Duration = Duration::from_secs(1);

#[test]
fn the_death_of_a_holder_wakes_who_waits_in_another_process() {
    let dir = temporary();
    let mut holder = Worker::on(dir.path());
    let mut waiter = Worker::on(dir.path());
    let first = holder.hold("lock - a");
    waiter.wait_for("lock - a");

    holder.kill();
    assert!(waiter.held() > first);
}

#[test]
fn the_death_of_a_writer_wakes_a_reader_and_that_of_a_reader_a_writer() {
    let dir = temporary();
    for (held, wanted) in [("write", "read"), ("read", "write")] {
        let mut holder = Worker::on(dir.path());
        let mut waiter = Worker::on(dir.path());
        holder.hold(&format!("{held} - a"));
        waiter.wait_for(&format!("{wanted} - a"));

        holder.kill();
        waiter.held();
    }
}

#[test]
fn the_death_of_a_permits_holder_wakes_who_waits_for_one() {
    let dir = temporary();
    let [mut one, mut two, mut waiter] = [(); 3].map(|()| Worker::on(dir.path()));
    one.hold("1/2 - a");
    two.hold("1/2 - a");
    waiter.wait_for("1/2 - a");

    two.kill();
    waiter.held();
    assert_eq!(Worker::on(dir.path()).ask("acquire 1/2 0 a"), "busy");
}

#[test]
fn a_process_that_ends_without_a_release_frees_its_locks() {
    let dir = temporary();
    let mut holder = Worker::on(dir.path());
    holder.hold("lock - a");
    holder.hold("1/1 - a");
    holder.tell("exit");
    holder.finish();

    let mut next = Worker::on(dir.path());
    next.hold("lock 0 a");
    next.hold("1/1 0 a");
}

#[test]
fn eight_processes_never_overlap() {
    never_overlap(Worker::on);
}

#[test]
fn eight_processes_never_overlap_though_each_deletes_the_file() {
    never_overlap(Worker::deleting_on);
}

fn never_overlap(open: fn(&Path) -> Worker) {
    const ROUNDS: usize = 300;
    let (dir, work) = (temporary(), temporary());
    fs::write(work.path().join("counter"), "0").expect("a fresh folder can be written to");
    let mut workers = [(); 8].map(|()| open(dir.path()));
    for worker in &mut workers {
        worker.tell(&format!("rounds {ROUNDS} a {}", work.path().display()));
    }
    for worker in &mut workers {
        assert_eq!(worker.answer(), "done");
    }
    let count = fs::read_to_string(work.path().join("counter")).expect("the counter is there");
    assert_eq!(count, (workers.len() * ROUNDS).to_string());
}

#[test]
fn a_stopped_holder_keeps_its_lock() {
    let dir = temporary();
    let [mut holder, mut other] = [(); 2].map(|()| Worker::on(dir.path()));
    holder.hold("lock - a");
    holder.stop();
    assert_eq!(other.ask("acquire lock 700 a"), "busy");

    holder.resume();
    assert_eq!(holder.ask("status"), "valid None");
    assert_eq!(other.ask("acquire lock 0 a"), "busy");
    assert_eq!(holder.ask("release"), "released");
    other.hold("lock 0 a");
}

#[test]
fn a_holder_whose_file_is_deleted_by_hand_learns_of_it() {
    for open in [Worker::on, Worker::deleting_on] {
        let dir = temporary();
        let (mut holder, mut other) = (open(dir.path()), Worker::on(dir.path()));
        holder.hold("lock - a");
        fs::remove_file(lock_file(&dir, "a")).unwrap();

        assert_replaced(&mut holder);
        other.hold("lock 0 a");
        holder.refuses("release", "LockLost", "replaced");
        assert!(lock_file(&dir, "a").exists(), "the file is somebody else's");
    }
}

#[test]
fn a_holder_whose_file_is_replaced_learns_of_it() {
    for open in [Worker::on, Worker::deleting_on] {
        let dir = temporary();
        let mut holder = open(dir.path());
        holder.hold("lock - a");
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), lock_file(&dir, "a")).unwrap();

        assert_replaced(&mut holder);
        holder.refuses("release", "LockLost", "replaced");
        assert!(lock_file(&dir, "a").exists(), "the file is somebody else's");
    }
}

fn assert_replaced(holder: &mut Worker) {
    let started = Instant::now();
    assert_eq!(holder.ask(&format!("lost {}", BOUND.as_millis())), "lost Replaced");
    assert!(started.elapsed() < NOTICED, "noticed after {:?}", started.elapsed());
    assert_eq!(holder.ask("status"), "invalid Some(0ns)");
    holder.refuses("extend 1000", "LockLost", "replaced");
}

#[test]
fn fencing_tokens_rise_from_process_to_process() {
    for open in [Worker::on, Worker::deleting_on] {
        let dir = temporary();
        let mut workers = [(); 3].map(|()| open(dir.path()));
        let mut last = 0;
        for turn in 0..60 {
            let worker = &mut workers[turn % 3];
            let fence = worker.hold("lock - a");
            assert!(fence > last, "{fence} after {last}");
            last = fence;
            assert_eq!(worker.ask("release"), "released");
        }
    }
}

#[test]
fn a_child_of_a_holder_does_not_keep_the_lock() {
    let dir = temporary();
    let fifo = Fifo::new(&dir);
    let [mut holder, mut other] = [(); 2].map(|()| Worker::on(dir.path()));
    holder.hold("lock - a");
    holder.ask(&format!("spawn {}", fifo.path.display()));
    assert_eq!(holder.ask("release"), "released");
    other.hold("lock 0 a");
    assert_eq!(other.ask("release"), "released");

    holder.hold("lock - a");
    holder.kill();
    other.hold("lock 0 a");
}

/// What `cat` waits to be written to, until it is dropped.
struct Fifo {
    path: PathBuf,
}

impl Fifo {
    fn new(dir: &TempDir) -> Self {
        let path = dir.path().join("fifo");
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
        assert!(made.success());
        Self { path }
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = rustix::fs::open(&self.path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty());
    }
}

#[test]
fn flock_1_and_a_lock_at_its_file_exclude_each_other() {
    let dir = temporary();
    let path = dir.path().join("shared with flock");
    let mut worker = Worker::on(dir.path());
    let at = path.display();

    let flock = Flock::hold(&path);
    assert_eq!(worker.ask(&format!("acquire at 0 {at}")), "busy");
    worker.wait_for(&format!("at - {at}"));
    flock.release();
    worker.held();

    assert!(!Flock::succeeds_at_once(&path));
    assert_eq!(worker.ask("release"), "released");
    assert!(Flock::succeeds_at_once(&path));
}

#[test]
fn flock_1_gets_the_lock_of_a_holder_that_dies() {
    let dir = temporary();
    let path = lock_file(&dir, "a");
    let mut worker = Worker::on(dir.path());
    worker.hold("lock - a");
    assert!(!Flock::succeeds_at_once(&path));

    let waiter = Flock::start(&path);
    worker.kill();
    waiter.begun().release();
}

/// `flock` and a program that runs until its input ends.
struct Flock {
    child: Child,
}

impl Flock {
    fn start(path: &Path) -> Self {
        let mut command = Command::new("flock");
        command.arg(path).args(["sh", "-c", "echo held; exec cat"]);
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("flock is there");
        Self { child }
    }

    fn hold(path: &Path) -> Self {
        Self::start(path).begun()
    }

    fn begun(mut self) -> Self {
        let mut line = String::new();
        let output = self.child.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut line).expect("flock says something");
        assert_eq!(line, "held\n");
        self
    }

    fn release(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    fn succeeds_at_once(path: &Path) -> bool {
        Command::new("flock").arg("-n").arg(path).arg("true").status().unwrap().success()
    }
}

#[test]
fn the_limit_of_a_semaphore_holds_for_all_processes_together() {
    let dir = temporary();
    let [mut one, mut two, mut three] = [(); 3].map(|()| Worker::on(dir.path()));
    one.hold("2/3 - a");
    two.hold("1/3 - a");
    assert_eq!(three.ask("acquire 1/3 0 a"), "busy");
    assert_eq!(two.ask("acquire 1/3 100 a"), "busy");

    assert_eq!(one.ask("release"), "released");
    assert_eq!(three.ask("acquire 3/3 100 a"), "busy");
    three.hold("1/3 0 a");
    two.hold("1/3 0 a");
}

#[test]
fn a_waiter_that_dies_keeps_no_permit_and_blocks_nobody() {
    let dir = temporary();
    let [mut holder, mut at_gate, mut behind, mut last] = [(); 4].map(|()| Worker::on(dir.path()));
    holder.hold("1/2 - a");
    // It has one permit, and waits for the other.
    at_gate.wait_for("2/2 - a");
    behind.wait_for("1/2 - a");
    last.wait_for("1/2 - a");

    behind.kill();
    at_gate.kill();
    last.held();
    assert_eq!(holder.ask("release"), "released");
    holder.hold("1/2 0 a");
}

#[test]
fn a_file_with_contents_of_its_own_is_locked_and_not_changed() {
    let dir = temporary();
    let path = dir.path().join("precious");
    fs::write(&path, "distributed-lock 2\nkeep me\0").unwrap();
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    for delete in [false, true] {
        let builder = FileLockProvider::builder().directory(dir.path());
        let lock = builder.delete_on_release(delete).build().unwrap().create_lock_at(&path);
        let handle = lock.acquire(None).unwrap();
        assert_eq!(handle.fence(), None);
        let other = OpenOptions::new().read(true).open(&path).unwrap();
        assert!(other.try_lock().is_err());
        handle.release().unwrap();
        other.try_lock().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"distributed-lock 2\nkeep me\0");
    }
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn lock_file(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(file_name(name))
}
