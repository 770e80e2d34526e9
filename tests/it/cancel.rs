//! Acquisitions that are dropped at every point, and what they may not leave behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use lock_tokio::LossReason;
use lock_tokio::prelude::*;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// The runtimes, each with what the tests need of it.
trait Runtime {
    fn run<F: Future>(future: F) -> F::Output;
    /// Starts a task, and gives what waits for its end.
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> Pin<Box<dyn Future<Output = ()>>>;
    fn timeout<F: Future<Output: Send> + Send>(
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + Send;
}

struct Tokio;
struct AsyncStd;

impl Runtime for Tokio {
    fn run<F: Future>(future: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let task = tokio::spawn(future);
        Box::pin(async { task.await.unwrap() })
    }

    async fn timeout<F: Future<Output: Send> + Send>(
        limit: Duration,
        future: F,
    ) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }
}

impl Runtime for AsyncStd {
    fn run<F: Future>(future: F) -> F::Output {
        async_std::task::block_on(future)
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        future: F,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async_std::task::spawn(future))
    }

    async fn timeout<F: Future<Output: Send> + Send>(
        limit: Duration,
        future: F,
    ) -> Option<F::Output> {
        async_std::future::timeout(limit, future).await.ok()
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Case = fn(&dyn LockProvider);

fn on_memory_and_files(case: Case) {
    case(&InMemoryLockProvider::new());
    for delete in [false, true] {
        let directory = TempDir::new().unwrap();
        let files = FileLockProvider::builder().directory(&directory).delete_on_release(delete);
        case(&files.build().unwrap());
    }
}

fn poll<F: Future>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

fn is_free(lock: &Lock) -> bool {
    let wakes = Arc::default();
    let tried = pin!(lock.try_acquire());
    matches!(poll(tried, &wakes), Poll::Ready(Ok(Some(_))))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "not in time: {what}");
        thread::yield_now();
    }
}

#[test]
fn a_future_that_is_never_polled_asks_for_nothing() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        drop(lock.acquire(None));
        assert!(is_free(&lock));
    });
}

#[test]
fn an_uncontended_acquisition_is_ready_at_once() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        let wakes = Arc::default();
        let acquire = pin!(lock.acquire(None));
        let Poll::Ready(Ok(handle)) = poll(acquire, &wakes) else { panic!("it waits") };
        let release = pin!(handle.release());
        assert!(matches!(poll(release, &wakes), Poll::Ready(Ok(()))));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_wait_that_is_dropped_after_any_poll_leaves_nothing() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        for polls in 0..6 {
            let handle = hold(&lock);
            {
                let wakes = Arc::default();
                let mut acquire = Box::pin(lock.acquire(Some(SOON)));
                for _ in 0..polls {
                    assert!(poll(acquire.as_mut(), &wakes).is_pending());
                }
            }
            drop(handle);
            assert!(is_free(&lock), "after {polls} polls");
        }
    });
}

#[test]
fn a_grant_that_nobody_takes_goes_to_the_next() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        let handle = hold(&lock);
        let (wakes, next_wakes) = (Arc::default(), Arc::<Wakes>::default());
        let mut acquire = Box::pin(lock.acquire(None));
        let mut next = Box::pin(lock.acquire(None));
        assert!(poll(acquire.as_mut(), &wakes).is_pending());
        assert!(poll(next.as_mut(), &next_wakes).is_pending());
        drop(handle);
        until("granted", || wakes.0.load(Ordering::SeqCst) > 0);
        drop(acquire);
        until("granted", || next_wakes.0.load(Ordering::SeqCst) > 0);
        let Poll::Ready(Ok(handle)) = poll(next.as_mut(), &next_wakes) else { panic!("it waits") };
        drop((handle, next));
        assert!(is_free(&lock));
    });
}

#[test]
fn a_release_that_is_dropped_releases() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        drop(hold(&lock).release());
        assert!(is_free(&lock));
    });
}

#[test]
fn a_storm_of_cancels_leaves_nothing_locked_on_tokio() {
    storm::<Tokio>();
}

#[test]
fn a_storm_of_cancels_leaves_nothing_locked_on_async_std() {
    storm::<AsyncStd>();
}

/// Two thousand waits, most of which end before their turn.
fn storm<R: Runtime>() {
    let directory = TempDir::new().unwrap();
    let files = || FileLockProvider::new(&directory).unwrap();
    let (first, second) = (files(), files());
    let inside = Arc::new(AtomicUsize::new(0));
    R::run(async {
        let mut tasks = Vec::new();
        for task in 0..20_u64 {
            let provider = if task % 2 == 0 { &first } else { &second };
            let (lock, inside) = (provider.create_lock("orders"), Arc::clone(&inside));
            tasks.push(R::spawn(async move {
                for turn in 0..100 {
                    let patience = Duration::from_micros((task * 7919 + turn * 104_729) % 3000);
                    if let Some(held) = R::timeout(patience, lock.acquire(None)).await {
                        let held = held.unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        async_std::task::yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        if turn % 2 == 0 {
                            held.release().await.unwrap();
                        }
                    }
                }
            }));
        }
        for task in tasks {
            task.await;
        }
        first.close().await;
        second.close().await;
    });
    let open = open_files(&directory);
    assert!(open.is_empty(), "{open:?}");
    assert!(is_free(&files().create_lock("orders")));
}

#[test]
fn a_thousand_timed_out_waits_leave_no_thread() {
    let directory = TempDir::new().unwrap();
    let provider = FileLockProvider::new(&directory).unwrap();
    let lock = provider.create_lock("orders");
    let other = FileLockProvider::new(&directory).unwrap();
    let _handle = hold(&other.create_lock("orders"));
    Tokio::run(async {
        let brief = Some(Duration::from_micros(50));
        assert!(lock.acquire(brief).await.is_err());
        for _ in 0..1000 {
            assert!(lock.acquire(brief).await.is_err_and(|error| error.is_timeout()));
        }
    });
    let ours = fs::read_dir("/proc/self/task").unwrap().filter(|task| {
        let name = task.as_ref().unwrap().path().join("comm");
        fs::read_to_string(name).is_ok_and(|name| name.trim() == "distributed-loc")
    });
    assert_eq!(ours.count(), 1);
    // The holder's own.
    assert_eq!(open_files(&directory).len(), 1);
}

#[test]
fn a_runtime_goes_on_while_acquisitions_wait() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        let handle = hold(&lock);
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let longest = single.block_on(async {
            let waits: Vec<_> = (0..50)
                .map(|_| {
                    let lock = lock.clone();
                    tokio::spawn(async move { lock.acquire(Some(SOON)).await.map(drop) })
                })
                .collect();
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            let mut longest = Duration::ZERO;
            for _ in 0..40 {
                let before = Instant::now();
                ticks.tick().await;
                longest = longest.max(before.elapsed());
            }
            drop(handle);
            for wait in waits {
                wait.await.unwrap().unwrap();
            }
            longest
        });
        assert!(longest < Duration::from_millis(200), "a tick took {longest:?}");
    });
}

#[test]
fn a_handle_may_be_dropped_outside_of_any_runtime() {
    on_memory_and_files(|provider| {
        let lock = provider.create_lock("orders");
        let handle = Tokio::run(lock.acquire(None)).unwrap();
        drop(handle);
        assert!(is_free(&lock));
    });
}

#[test]
fn the_loss_ends_a_select() {
    let provider = InMemoryLockProvider::new();
    let lock = provider.create_lock("orders");
    Tokio::run(async {
        let handle = lock.acquire(None).await.unwrap();
        let lost = handle.lost_token();
        tokio::select! {
            biased;
            _ = lost.changed() => panic!("it is ours"),
            () = std::future::ready(()) => {}
        }
        let work = async {
            provider.lose("orders", LossReason::Revoked);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            reason = lost.changed() => assert_eq!(reason, LossReason::Revoked),
            () = work => {}
        }
        assert!(handle.release().await.is_err_and(|error| error.is_lost()));
    });
}

fn hold(lock: &Lock) -> LockHandle {
    futures_lite::future::block_on(lock.acquire(Some(SOON))).unwrap()
}

/// The files of `directory` that this process has open.
fn open_files(directory: &TempDir) -> Vec<std::path::PathBuf> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| path.starts_with(directory.path()))
        .collect()
}
