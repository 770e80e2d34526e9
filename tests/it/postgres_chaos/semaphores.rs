//! Permits whose holders die, and those that wait for them.

use std::time::{Duration, Instant};

use async_std::task;
use lock_tests::postgres::PostgresServer;
use lock_tests::redis::eventually;
use lock_tokio::LossReason;
use lock_tokio::prelude::*;

use super::{LONG, SLACK, tests, until_inside, until_none_left, within};
use crate::worker::Worker;

/// How often whoever is inside the gate looks for permits of those that could not tell it.
const LOOK: Duration = Duration::from_secs(1);

#[test]
fn the_permits_of_a_killed_process_are_free_at_the_next_look() {
    let server = PostgresServer::start();
    let mut workers = [(); 3].map(|()| Worker::start());
    for worker in &mut workers {
        assert_eq!(worker.ask(&format!("open-postgres {}", server.url())), "opened");
    }
    let [mut doomed, mut alive, mut waiter] = workers;
    doomed.hold("2/3 - permits");
    alive.hold("1/3 - permits");
    waiter.tell("acquire 2/3 - permits");
    // Three permits, and the gate.
    eventually("a waiter", || (server.advisory_locks().len() == 4).then_some(()));
    doomed.kill();
    let killed = Instant::now();
    waiter.held();
    assert!(killed.elapsed() < LOOK + SLACK, "{:?}", killed.elapsed());
    assert_eq!(alive.ask("release"), "released");
    assert_eq!(waiter.ask("release"), "released");
}

async fn permits_are_handed_over_by_a_message_and_not_by_the_next_look() {
    const ROUNDS: u32 = 12;
    let server = PostgresServer::start();
    let providers = [super::provider(&server.url()).await, super::provider(&server.url()).await];
    let semaphores = providers.each_ref().map(|it| it.create_semaphore("permits", 1));
    let mut held = semaphores[0].acquire(LONG).await.unwrap();
    let mut taken = Duration::ZERO;
    for round in 1..=ROUNDS {
        let semaphore = semaphores[round as usize % 2].clone();
        let waiting = task::spawn(async move { semaphore.acquire(LONG).await });
        // The permit, and the gate.
        until_inside(&server, 2).await;
        // By now it has looked, and heard that there is nothing.
        task::sleep(Duration::from_millis(30)).await;
        let released = Instant::now();
        held.release().await.unwrap();
        held = waiting.await.unwrap();
        taken += released.elapsed();
    }
    // Somebody who only looks needs half a second on average.
    assert!(taken < ROUNDS * LOOK / 4, "{taken:?}");
    held.release().await.unwrap();
    until_none_left(&server).await;
}

async fn a_taker_whose_session_ends_gives_way_and_comes_again() {
    let server = PostgresServer::start();
    let (here, there) =
        (super::provider(&server.url()).await, super::provider(&server.url()).await);
    let held = there.create_semaphore("permits", 2).acquire_many(2, LONG).await.unwrap();
    let semaphore = here.create_semaphore("permits", 2);
    let waiting = task::spawn(async move { semaphore.acquire(LONG).await });
    for _ in 0..3 {
        until_inside(&server, 3).await;
        server.terminate(sole_holder(&server));
    }
    until_inside(&server, 3).await;
    held.release().await.unwrap();
    let next = within("the permit", LOOK, waiting).await.unwrap();
    assert!(next.is_valid());
    next.release().await.unwrap();
    until_none_left(&server).await;
}

/// The session that holds one lock, where the other one has both permits.
fn sole_holder(server: &PostgresServer) -> u32 {
    let locks = server.advisory_locks();
    let alone = |pid| locks.iter().filter(|lock| lock.pid == pid).count() == 1;
    locks.iter().map(|lock| lock.pid).find(|pid| alone(*pid)).unwrap()
}

async fn a_holder_of_permits_learns_of_their_loss() {
    let server = PostgresServer::start();
    let provider = super::provider(&server.url()).await;
    let semaphore = provider.create_semaphore("permits", 3);
    let held = semaphore.acquire_many(3, LONG).await.unwrap();
    for backend in server.backends() {
        server.terminate(backend.pid);
    }
    let reason = within("the loss", Duration::ZERO, held.lost_token().changed()).await;
    assert_eq!(reason, LossReason::Disconnected);
    assert!(held.release().await.unwrap_err().is_lost());
    semaphore.acquire_many(3, LONG).await.unwrap().release().await.unwrap();
    until_none_left(&server).await;
}

tests!(
    tokio:
        a_holder_of_permits_learns_of_their_loss,
        a_taker_whose_session_ends_gives_way_and_comes_again,
        permits_are_handed_over_by_a_message_and_not_by_the_next_look;
    async_std:
        permits_are_handed_over_by_a_message_and_not_by_the_next_look,
);
