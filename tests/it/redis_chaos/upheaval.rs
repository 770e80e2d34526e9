//! Everything that can be done to a server while eight tasks take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lock_tests::redis::{Server, ServerOptions};
use lock_tokio::LossReason;
use lock_tokio::prelude::*;

use super::{LONG, Room, keys_left, provider};

const TASKS: u64 = 8;

/// Repeats `upset` about so often until it is dropped.
struct Upheaval {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u32>>,
}

impl Upheaval {
    fn begin(every: Duration, upset: impl Fn(u32) + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut rounds = 0;
            while !ended.load(Ordering::SeqCst) {
                upset(rounds);
                rounds += 1;
                thread::sleep(every);
            }
            rounds
        });
        Self { over, thread: Some(thread) }
    }

    /// How often it was done.
    fn end(mut self) -> u32 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Upheaval {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Lets eight tasks of two providers visit a room until something was done `upsets` times.
async fn check_turns(
    server: Arc<Server>,
    upsets: u32,
    every: Duration,
    upset: impl Fn(&Server, u32) + Send + 'static,
) {
    let providers = [provider(&server).await, provider(&server).await];
    let (room, done) = (Arc::new(Room::default()), Arc::new(AtomicBool::new(false)));
    let (upheaved, enough) = (Arc::clone(&server), Arc::clone(&done));
    let upheaval = Upheaval::begin(every, move |round| {
        upset(&upheaved, round);
        enough.store(round + 1 >= upsets, Ordering::SeqCst);
    });
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let lock = providers[number as usize % 2].create_lock("orders");
            let (room, done) = (Arc::clone(&room), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut turns, mut last) = (0, None);
                while turns < 3 || !done.load(Ordering::SeqCst) {
                    let held = lock.acquire(LONG).await.unwrap();
                    assert!(held.fence() > last, "{:?} after {last:?}", held.fence());
                    last = held.fence();
                    room.visit().await;
                    held.release().await.unwrap();
                    turns += 1;
                }
                turns
            })
        })
        .collect();
    let mut turns = 0;
    for task in tasks {
        turns += task.await.unwrap();
    }
    assert!(upheaval.end() >= upsets);
    assert_eq!(room.visits(), turns);
    for provider in providers {
        provider.close().await;
    }
    assert_eq!(keys_left(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_are_forgotten_all_the_time_are_no_trouble() {
    let server = Arc::new(Server::start());
    check_turns(server, 100, Duration::from_millis(3), |server, _| {
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_killed_all_the_time_let_never_two_in() {
    let server = Arc::new(Server::start());
    check_turns(server, 30, Duration::from_millis(30), |server, round| {
        let kinds = [&["normal"][..], &["pubsub"], &["normal", "pubsub"]];
        for kind in kinds[round as usize % 3] {
            server.command(&["CLIENT", "KILL", "TYPE", kind]).unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_goes_on_lets_never_two_in() {
    let server = Arc::new(Server::start());
    check_turns(server, 10, Duration::from_millis(40), |server, round| {
        server.pause();
        thread::sleep(Duration::from_millis(u64::from(round) * 10));
        server.resume();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_memory_that_is_killed_lets_never_two_in() {
    let server = Arc::new(ServerOptions::new().with_append_only().start());
    check_turns(server, 5, Duration::from_millis(200), |server, _| server.restart()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fences_rise_although_everything_is_deleted_all_the_time() {
    let server = Arc::new(Server::start());
    let (first, second) = (provider(&server).await, provider(&server).await);
    let flushed = Arc::clone(&server);
    let upheaval = Upheaval::begin(Duration::from_millis(80), move |_| {
        flushed.command(&["FLUSHALL"]).unwrap();
    });
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let lock = if number % 2 == 0 { &first } else { &second }.create_lock("orders");
            tokio::spawn(async move {
                let mut holds = Vec::new();
                for _ in 0..6 {
                    let held = lock.acquire(LONG).await.unwrap();
                    let (began, fence) = (Instant::now(), held.fence().unwrap());
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let ended = Instant::now();
                    match held.release().await {
                        Ok(()) | Err(LockError::LockLost(LossReason::Revoked)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    holds.push((began, fence, ended));
                }
                holds
            })
        })
        .collect();
    let mut holds = Vec::new();
    for task in tasks {
        holds.extend(task.await.unwrap());
    }
    assert!(upheaval.end() > 1);
    assert_eq!(holds.len(), 6 * TASKS as usize);
    for (_, fence, ended) in &holds {
        for (_, later, _) in holds.iter().filter(|(began, _, _)| began > ended) {
            assert!(later > fence, "{later} after {fence}");
        }
    }
}
