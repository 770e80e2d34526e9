//! Reader-writer locks and semaphores.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lock_blocking::LockError;

use super::core_cases::{is_free, is_soon_free, take, until, until_waiting};
use super::{Acquire, Column, SOON};

/// Readers hold together, a writer alone.
pub fn readers_share_and_writers_do_not(column: &dyn Column) {
    let (provider, another) = (column.provider(), column.provider());
    let (reader, writer) = (provider.reader("a"), provider.writer("a"));
    let first = take(&*reader);
    let second = take(&*another.reader("a"));
    assert!(!is_free(&*writer));
    first.release().unwrap();
    assert!(!is_free(&*writer));
    second.release().unwrap();
    let held = take(&*writer);
    assert!(!is_free(&*reader));
    assert!(!is_free(&*another.writer("a")));
    held.release().unwrap();
    assert!(is_soon_free(&*reader));
}

/// A writer that waits is not starved by readers that come later.
pub fn a_waiting_writer_keeps_new_readers_out(column: &dyn Column) {
    let provider = column.provider();
    let (reader, writer) = (provider.reader("a"), provider.writer("a"));
    let held = take(&*reader);
    thread::scope(|threads| {
        let waiter = threads.spawn(|| drop(take(&*writer)));
        until_waiting(&*reader, 1);
        assert!(reader.try_acquire().unwrap().is_none());
        assert!(reader.acquire(Some(Duration::from_millis(20))).is_err());
        held.release().unwrap();
        waiter.join().unwrap();
    });
    assert!(is_soon_free(&*reader));
}

/// Readers that wait are not starved by writers that wait before them.
pub fn readers_that_waited_go_before_the_next_writer(column: &dyn Column) {
    let provider = column.provider();
    let (reader, writer) = (provider.reader("a"), provider.writer("a"));
    let served = Mutex::new(Vec::new());
    let serve = |side: &dyn Acquire, what: &'static str| {
        let _held = take(side);
        served.lock().unwrap().push(what);
    };
    let held = take(&*writer);
    thread::scope(|threads| {
        let serve = &serve;
        for (waiting, what) in ["writer", "writer", "reader", "reader"].into_iter().enumerate() {
            let side = if what == "writer" { &writer } else { &reader };
            threads.spawn(move || serve(&**side, what));
            until_waiting(&*writer, waiting + 1);
        }
        held.release().unwrap();
    });
    let phases = ["reader", "reader", "writer", "writer"];
    let order = ["writer", "writer", "reader", "reader"];
    // Several servers agree on who came first, and on nothing else; PostgreSQL has one queue.
    let queue = column.backend().votes() || column.backend().is_postgres();
    assert_eq!(*served.lock().unwrap(), if queue { order } else { phases });
}

/// Readers behind a writer that gives up need not wait for it.
pub fn a_writer_that_gives_up_lets_the_readers_in(column: &dyn Column) {
    let provider = column.provider();
    let (reader, writer) = (provider.reader("a"), provider.writer("a"));
    let held = take(&*reader);
    // Long enough to be seen waiting.
    let patience = Duration::from_millis(if column.backend().is_remote() { 1_000 } else { 100 });
    thread::scope(|threads| {
        let writes = threads.spawn(|| writer.acquire(Some(patience)).is_err());
        until_waiting(&*reader, 1);
        let reads = threads.spawn(|| drop(take(&*reader)));
        assert!(writes.join().unwrap());
        reads.join().unwrap();
    });
    assert!(held.is_valid());
}

/// A mutex is the write side of the reader-writer lock of its name.
pub fn a_mutex_and_a_writer_of_one_name_exclude_each_other(column: &dyn Column) {
    let provider = column.provider();
    let held = take(&*provider.lock("a"));
    assert!(!is_free(&*provider.writer("a")));
    assert!(!is_free(&*provider.reader("a")));
    drop(held);
    let _reads = take(&*provider.reader("a"));
    assert!(!is_free(&*provider.lock("a")));
}

/// Readers are not counted in a byte.
pub fn many_readers_fit(column: &dyn Column) {
    let provider = column.provider();
    let reader = provider.reader("a");
    let readers = column.backend().most(600);
    let held: Vec<_> = (0..readers).map(|_| take(&*reader)).collect();
    assert!(!is_free(&*provider.writer("a")));
    drop(held);
    // What is dropped is released soon.
    until("all readers gone", || is_free(&*provider.writer("a")));
}

/// As many permits are out as the limit says, over all objects and providers.
pub fn permits_run_out_and_come_back(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let (provider, another) = (column.provider(), column.provider());
    let (here, there) = (provider.semaphore("a", 3, 1), another.semaphore("a", 3, 1));
    let first = take(&*here);
    let _second = take(&*there);
    let _third = take(&*here);
    assert!(!is_free(&*here) && !is_free(&*there));
    thread::scope(|threads| {
        let waiter = threads.spawn(|| drop(take(&*there)));
        first.release().unwrap();
        waiter.join().unwrap();
    });
    assert!(is_soon_free(&*here) && is_soon_free(&*there));
}

/// Whoever wants several permits never keeps some of them.
pub fn permits_are_had_all_or_none(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let one = provider.semaphore("a", 5, 1);
    let held = take(&*provider.semaphore("a", 5, 3));
    assert!(!is_free(&*provider.semaphore("a", 5, 3)));
    let in_vain = provider.semaphore("a", 5, 3).acquire(Some(Duration::from_millis(20)));
    assert!(in_vain.is_err());
    let fourth = take(&*one);
    let fifth = take(&*one);
    assert!(!is_free(&*one));
    drop((held, fourth, fifth));
    assert!(is_soon_free(&*provider.semaphore("a", 5, 5)));
}

/// Takers of few permits don't starve a taker of many.
pub fn a_taker_of_many_is_not_overtaken(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let (one, three) = (provider.semaphore("a", 3, 1), provider.semaphore("a", 3, 3));
    let held = take(&*one);
    let order = Mutex::new(Vec::new());
    thread::scope(|threads| {
        threads.spawn(|| {
            let _three = take(&*three);
            order.lock().unwrap().push(3);
        });
        until_waiting(&*one, 1);
        threads.spawn(|| {
            let _one = take(&*one);
            order.lock().unwrap().push(1);
        });
        until_waiting(&*one, 2);
        held.release().unwrap();
    });
    assert_eq!(*order.lock().unwrap(), [3, 1]);
}

/// Permits that can never be had are the caller's error, at once.
pub fn permits_that_do_not_exist_are_refused(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    for (limit, permits) in [(0, 0), (0, 1), (3, 0), (3, 4), (1, u32::MAX)] {
        let semaphore = provider.semaphore("a", limit, permits);
        for outcome in [semaphore.acquire(None).map(drop), semaphore.try_acquire().map(drop)] {
            let Err(LockError::InvalidConfig { option, .. }) = outcome else {
                panic!("{permits} of {limit}: {outcome:?}");
            };
            assert!(["permits", "limit"].contains(&option));
        }
    }
    assert!(is_soon_free(&*provider.semaphore("a", 3, 3)));
}

/// The limit is reached, and never passed.
pub fn a_hundred_takers_reach_and_keep_the_limit(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let providers = [column.provider(), column.provider()];
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|threads| {
        for taker in 0..100 {
            let semaphore = providers[taker % 2].semaphore("a", 10, 1);
            let (inside, most) = (&inside, &most);
            threads.spawn(move || {
                let _held = take(&*semaphore);
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Nobody leaves before the limit was reached once.
                until("ten inside", || most.load(Ordering::SeqCst) >= 10);
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(most.into_inner(), 10);
    assert!(is_soon_free(&*providers[0].semaphore("a", 10, 10)));
}

/// Only the permits that are out cost anything.
pub fn a_huge_limit_is_no_burden(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let semaphore = provider.semaphore("odd \u{1f512}/../name", i32::MAX.unsigned_abs(), 1);
    let takers = column.backend().most(100);
    let held: Vec<_> = (0..takers).map(|_| take(&*semaphore)).collect();
    assert!(held.iter().all(|held| held.is_valid()));
    drop(held);
    until("all permits back", || !semaphore.info().unwrap().locked);
}

/// Programs that disagree about the limit are each held to their own.
pub fn takers_are_held_to_the_limit_they_bring(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let (two, three) = (provider.semaphore("a", 2, 1), provider.semaphore("a", 3, 1));
    let _held = (take(&*three), take(&*three));
    // Several servers have a lock for each permit, and count none: those must agree.
    if !column.backend().votes() {
        assert!(!is_free(&*two));
    }
    let _third = take(&*three);
    assert!(!is_free(&*three) && !is_free(&*two));
}

/// What came back leaves a hole where its file was deleted.
pub fn permits_are_shown_whichever_came_back_first(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let semaphore = column.provider().semaphore("a", 3, 1);
    let first = take(&*semaphore);
    let second = take(&*semaphore);
    first.release().unwrap();
    let info = semaphore.info().unwrap();
    assert!(info.locked);
    assert_eq!(info.holders.len(), 1);
    second.release().unwrap();
    assert!(!semaphore.info().unwrap().locked);
}

/// A name may be a mutex and a semaphore, or is refused to be both.
pub fn a_semaphore_and_a_mutex_of_one_name_are_independent(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let mutex = take(&*provider.lock("a"));
    let semaphore = provider.semaphore("a", 2, 2);
    if column.backend().is_redis() && !column.backend().votes() {
        // The .NET library has them at one key, and a type error is no wait.
        let refused = semaphore.acquire(Some(SOON)).map(drop);
        assert!(matches!(refused, Err(LockError::Backend(_))), "{refused:?}");
        assert!(mutex.is_valid());
        mutex.release().unwrap();
        return drop(take(&*semaphore));
    }
    let permits = take(&*semaphore);
    assert!(mutex.is_valid() && permits.is_valid());
}
