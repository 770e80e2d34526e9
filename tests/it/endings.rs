//! How waits and tokens end when several things happen at once, on memory and on files.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use futures_lite::future::{block_on, or, yield_now};
use lock_async::{
    BoxFuture, FileLockProvider, InMemoryLockProvider, Lock, LockError, LockHandle, LockProvider,
    LossReason,
};
use lock_tests::entropy::Entropy;
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(30);
const NAME: &str = "orders";
const GRANTED: &str = "the lock can be asked for";

type Acquired = Result<LockHandle, LockError>;

#[test]
fn cancels_at_random_moments_leave_nothing_locked_under_tokio() {
    for place in places() {
        tokio_runtime().block_on(cancel_at_random(Runtime::Tokio, place));
    }
}

#[test]
fn cancels_at_random_moments_leave_nothing_locked_under_async_std() {
    for place in places() {
        async_std::task::block_on(cancel_at_random(Runtime::AsyncStd, place));
    }
}

async fn cancel_at_random(runtime: Runtime, place: Place) {
    const TASKS: u64 = 8;
    const ROUNDS: usize = 250;

    let begun = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (lock, begun) = (place.lock(), Arc::clone(&begun));
            runtime.spawn(async move {
                // One that had ended before the next began would have nobody in its way.
                begun.fetch_add(1, Ordering::SeqCst);
                while begun.load(Ordering::SeqCst) < TASKS {
                    yield_now().await;
                }
                let mut entropy = Entropy::from_seed(task, 2 * ROUNDS);
                let mut acquired = 0;
                for _ in 0..ROUNDS {
                    let moment = entropy.pick(16);
                    let cancelled = async {
                        yields(moment).await;
                        None
                    };
                    if let Some(handle) =
                        or(async { Some(lock.acquire(None).await) }, cancelled).await
                    {
                        let handle = handle.expect(GRANTED);
                        yields(entropy.pick(8)).await;
                        drop(handle);
                        acquired += 1;
                    }
                }
                (acquired, ROUNDS - acquired)
            })
        })
        .collect();
    let (mut acquired, mut cancelled) = (0, 0);
    for task in tasks {
        let (some, rest) = task.await;
        acquired += some;
        cancelled += rest;
    }
    assert!(acquired > 0 && cancelled > 0, "some were cancelled, and not all");
    place.check_nothing_is_open();
    let fresh = place.another();
    assert!(fresh.lock().try_acquire().await.expect(GRANTED).is_some());
    assert!(!place.lock().is_locked().await.expect(GRANTED));
}

#[test]
fn a_cancel_that_races_the_grant_never_loses_the_lock() {
    const ROUNDS: u64 = 2_000;

    for place in places() {
        let lock = place.lock();
        for round in 0..ROUNDS {
            let holder = block_on(lock.acquire(None)).unwrap();
            let (mut first, mut second) = (acquiring(&lock), acquiring(&lock));
            let (wakes, later) = (Wakes::new(), Wakes::new());
            assert!(wakes.poll(&mut first).is_pending());
            assert!(later.poll(&mut second).is_pending());
            together(round, || drop(holder), || drop(first));
            assert!(later.finish(second).is_ok(), "round {round}");
        }
        place.check_nothing_is_open();
    }
}

#[test]
fn a_close_that_races_the_grant_leaves_no_handle_that_was_not_told() {
    const ROUNDS: u64 = 2_000;

    for round in 0..ROUNDS {
        let place = Place::memory();
        let lock = place.lock();
        let holder = block_on(lock.acquire(None)).unwrap();
        let mut waiter = acquiring(&lock);
        let wakes = Wakes::new();
        assert!(wakes.poll(&mut waiter).is_pending());
        together(round, || drop(holder), || block_on(place.provider.close()));
        match wakes.finish(waiter) {
            Err(LockError::Cancelled) => {}
            Ok(handle) => assert_eq!(handle.lost_token().reason(), Some(LossReason::Closed)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_lock_file_that_goes_wakes_who_waits_on_the_token() {
    let place = Place::files();
    async_std::task::block_on(async {
        let handle = place.lock().acquire(None).await.unwrap();
        let directory = place.directory.as_ref().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        assert_eq!(handle.lost_token().changed().await, LossReason::Replaced);
    });
}

#[test]
fn every_task_that_waits_on_a_token_hears_of_the_loss() {
    for runtime in [Runtime::Tokio, Runtime::AsyncStd] {
        runtime.block_on(async move {
            let provider = InMemoryLockProvider::new();
            let handle = provider.create_lock(NAME).acquire(None).await.unwrap();
            let token = handle.lost_token();
            let mut by_hand = token.changed();
            let wakes = Wakes::new();
            assert!(wakes.poll(&mut by_hand).is_pending());
            let clones = (0..16).map(|_| token.clone());
            let tasks: Vec<_> =
                clones.map(|token| runtime.spawn(async move { token.changed().await })).collect();
            yields(3).await;
            assert_eq!(provider.expire(NAME), 1);
            assert_eq!(wakes.count(), 1);
            for task in tasks {
                assert_eq!(task.await, LossReason::Expired);
            }
            drop(handle);
            assert_eq!(token.changed().await, LossReason::Expired, "it outlives its handle");
        });
    }
}

#[test]
fn a_token_whose_handle_was_dropped_hears_of_nobody_elses_loss() {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock(NAME);
    let handle = block_on(lock.acquire(None)).unwrap();
    let token = handle.lost_token();
    drop(handle);
    let next = block_on(lock.acquire(None)).unwrap();
    assert_eq!(provider.expire(NAME), 1);
    assert!(next.lost_token().is_lost() && !token.is_lost());
}

#[test]
fn acquires_that_time_out_leave_no_thread_and_no_task() {
    const MYSELF: &str = "endings::acquires_that_time_out_leave_no_thread_and_no_task";
    const ALONE: &str = "LOCK_TESTS_ALONE";

    // Other tests start threads as well, so this one counts in a process of its own.
    if env::var_os(ALONE).is_none() {
        let mut child = process::Command::new(env::current_exe().unwrap());
        let output = child.args(["--exact", MYSELF]).env(ALONE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let runtime = tokio_runtime();
    for place in places() {
        runtime.block_on(async {
            let lock = place.lock();
            let holder = lock.acquire(None).await.unwrap();
            tokio::spawn(async {}).await.unwrap();
            let timeout = Duration::from_millis(20);
            let before = threads();
            let waiters: Vec<_> = (0..1_000)
                .map(|_| {
                    let lock = lock.clone();
                    tokio::spawn(async move { lock.acquire(Some(timeout)).await })
                })
                .collect();
            for waiter in waiters {
                assert!(waiter.await.unwrap().unwrap_err().is_timeout());
            }
            let names: Vec<_> = threads().difference(&before).cloned().collect();
            assert!(names.len() <= 1, "beside the background thread: {names:?}");
            eventually(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0);
            holder.release().await.unwrap();
            assert!(lock.try_acquire().await.unwrap().is_some());
        });
        place.check_nothing_is_open();
    }
}

#[test]
fn an_acquire_that_moves_to_another_thread_wakes_it_there() {
    for place in places() {
        let lock = place.lock();
        let holder = block_on(lock.acquire(None)).unwrap();
        let mut future = acquiring(&lock);
        let (here, there) = (Wakes::new(), Wakes::new());
        assert!(here.poll(&mut future).is_pending());
        let before = here.count();
        let mover = Arc::clone(&there);
        let future = thread::spawn(move || {
            assert!(mover.poll(&mut future).is_pending());
            future
        });
        let future = future.join().unwrap();
        drop(holder);
        assert!(there.finish(future).is_ok());
        assert_eq!(here.count(), before, "the old waker is forgotten");
    }
}

#[test]
fn a_waker_that_panics_neither_wakes_fewer_nor_stops_a_close() {
    for place in places() {
        let lock = place.lock();
        let _held = block_on(lock.acquire(None)).unwrap();
        let (mut first, mut second) = (acquiring(&lock), acquiring(&lock));
        let (panics, woken) = (Waker::from(Arc::new(Panics)), Wakes::new());
        let first = std::pin::Pin::new(&mut first).poll(&mut Context::from_waker(&panics));
        assert!(first.is_pending() && woken.poll(&mut second).is_pending());
        block_on(place.provider.close());
        let cancelled = woken.finish(second).unwrap_err();
        assert!(matches!(cancelled, LockError::Cancelled), "{cancelled}");
        place.check_nothing_is_open();
    }
}

#[test]
fn a_waker_that_panics_leaves_nobody_else_asleep() {
    let timers = lock_engine::Timers::started().unwrap();
    let at = lock_engine::Clock::System.now() + Duration::from_millis(50);
    let (mut first, mut second) = (timers.sleep_until(at), timers.sleep_until(at));
    let (panics, woken) = (Waker::from(Arc::new(Panics)), Wakes::new());
    let first = std::pin::Pin::new(&mut first).poll(&mut Context::from_waker(&panics));
    assert!(first.is_pending() && woken.poll(&mut second).is_pending());
    woken.finish(second);
}

/// A provider, and where its locks are.
struct Place {
    provider: Box<dyn LockProvider>,
    directory: Option<Arc<TempDir>>,
}

fn places() -> [Place; 2] {
    [Place::memory(), Place::files()]
}

impl Place {
    fn memory() -> Self {
        Self { provider: Box::new(InMemoryLockProvider::new()), directory: None }
    }

    fn files() -> Self {
        Self::in_directory(Arc::new(tempfile::tempdir().expect("a temporary directory")))
    }

    fn in_directory(directory: Arc<TempDir>) -> Self {
        let provider = FileLockProvider::new(directory.path()).expect("the directory is ours");
        Self { provider: Box::new(provider), directory: Some(directory) }
    }

    /// Another provider; of the same locks, if they are files.
    fn another(&self) -> Self {
        self.directory.clone().map_or_else(Self::memory, Self::in_directory)
    }

    fn lock(&self) -> Lock {
        self.provider.create_lock(NAME)
    }

    /// Another thread may be about to close a file that it opened for a waiter that left.
    fn check_nothing_is_open(&self) {
        let Some(directory) = &self.directory else { return };
        eventually(|| {
            let files = fs::read_dir("/proc/self/fd").expect("Linux shows open files");
            let mut open = files.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            !open.any(|path| path != directory.path() && path.starts_with(directory.path()))
        });
    }
}

#[derive(Clone, Copy)]
enum Runtime {
    Tokio,
    AsyncStd,
}

impl Runtime {
    fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Tokio => tokio_runtime().block_on(future),
            Self::AsyncStd => async_std::task::block_on(future),
        }
    }

    fn spawn<T: Send + 'static>(
        self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, T> {
        match self {
            Self::Tokio => {
                let task = tokio::spawn(future);
                Box::pin(async { task.await.expect("the task does not panic") })
            }
            Self::AsyncStd => Box::pin(async_std::task::spawn(future)),
        }
    }
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().expect("a runtime")
}

fn acquiring(lock: &Lock) -> BoxFuture<'static, Acquired> {
    let lock = lock.clone();
    Box::pin(async move { lock.acquire(None).await })
}

async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Runs both at once, with one of them a little late.
fn together(round: u64, one: impl FnOnce(), other: impl FnOnce() + Send) {
    let barrier = Barrier::new(2);
    let late = Entropy::from_seed(round, 1).pick(256);
    let spin = |times: usize| (0..times).for_each(|_| std::hint::spin_loop());
    thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            spin(late);
            other();
        });
        barrier.wait();
        spin(256 - late);
        one();
    });
}

fn eventually(mut check: impl FnMut() -> bool) {
    let started = Instant::now();
    while !check() {
        assert!(started.elapsed() < BOUND, "it did not come true");
        thread::yield_now();
    }
}

fn threads() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux shows threads");
    tasks.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A waker with a bug.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("a waker's own bug"));
    }
}

/// A waker that counts.
struct Wakes {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Wakes {
    fn new() -> Arc<Self> {
        Arc::new(Self { count: Mutex::new(0), changed: Condvar::new() })
    }

    fn count(&self) -> usize {
        *self.count.lock().expect("nobody panics while counting")
    }

    fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    fn wait_for(&self, count: usize) {
        let counted = self.count.lock().expect("nobody panics while counting");
        let waited = self.changed.wait_timeout_while(counted, BOUND, |now| *now < count);
        assert!(!waited.expect("nobody panics while counting").1.timed_out(), "nobody woke it");
    }

    /// Polls whenever it is woken, as an executor does.
    fn finish<F: Future + Unpin>(self: &Arc<Self>, mut future: F) -> F::Output {
        loop {
            let seen = self.count();
            if let Poll::Ready(output) = self.poll(&mut future) {
                return output;
            }
            self.wait_for(seen + 1);
        }
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        *self.count.lock().expect("nobody panics while counting") += 1;
        self.changed.notify_all();
    }
}
