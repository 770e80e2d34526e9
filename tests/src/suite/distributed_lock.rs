//! Mutual exclusion, and what is told about it.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lock_blocking::AcquireOptions;

use super::adapters::Backend;
use super::core_cases::{is_a_lock, is_free, is_soon_free, take, until, until_waiting};
use super::{Acquire, Column};

/// A mutex does what every lock does.
pub fn a_mutex_is_a_lock(column: &dyn Column) {
    let provider = column.provider();
    is_a_lock(&*provider.lock("a"), &*provider.lock("a"), &*provider.lock("b"));
}

/// The write side of a reader-writer lock does what every lock does.
pub fn a_writer_is_a_lock(column: &dyn Column) {
    let provider = column.provider();
    is_a_lock(&*provider.writer("a"), &*provider.writer("a"), &*provider.writer("b"));
}

/// A semaphore of one permit does what every lock does.
pub fn a_permit_of_one_is_a_lock(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let semaphore = |name| provider.semaphore(name, 1, 1);
    is_a_lock(&*semaphore("a"), &*semaphore("a"), &*semaphore("b"));
}

/// So does one of five permits of which four are taken.
pub fn the_last_permit_of_five_is_a_lock(column: &dyn Column) {
    if !column.has_semaphores() {
        return;
    }
    let provider = column.provider();
    let semaphore = |name| provider.semaphore(name, 5, 1);
    let drained = provider.semaphore("a", 5, 4);
    let _four = take(&*drained);
    let (one, same) = (semaphore("a"), semaphore("a"));
    let held = take(&*one);
    assert!(same.try_acquire().unwrap().is_none());
    thread::scope(|threads| {
        let waiter = threads.spawn(|| drop(take(&*same)));
        until_waiting(&*one, 1);
        held.release().unwrap();
        waiter.join().unwrap();
    });
    assert!(is_soon_free(&*one));
    assert!(drained.try_acquire().unwrap().is_none());
}

/// `name()` is what `create_…` was given.
pub fn the_names_are_what_they_were_given(column: &dyn Column) {
    let provider = column.provider();
    for name in ["", "orders", "a/b", "\u{1f512}", ".."] {
        assert_eq!(provider.lock(name).name(), name);
        assert_eq!(provider.reader(name).name(), name);
        assert_eq!(provider.semaphore(name, 1, 1).name(), name);
    }
}

/// Names are neither trimmed, nor folded, nor normalised, nor parsed.
pub fn names_that_look_alike_are_different_locks(column: &dyn Column) {
    let provider = column.provider();
    let names = [
        "Name",
        "name",
        "NAME",
        "name ",
        " name",
        "name.",
        "name.lock",
        "name.permits",
        "name.permit0",
        "name:writer",
        "{name}",
        "n\u{e4}me",
        "na\u{308}me",
        "name\0",
        "./name",
        "name/",
        "semaphore:name",
    ];
    let held: Vec<_> = names.iter().map(|name| take(&*provider.lock(name))).collect();
    if column.backend().is_redis() {
        // A semaphore lies where the lock of its name does.
        held.into_iter().for_each(|held| held.release().unwrap());
    }
    if !column.has_semaphores() {
        return;
    }
    let _permits: Vec<_> =
        names.iter().map(|name| take(&*provider.semaphore(name, 1, 1))).collect();
}

/// Every text is a name.
pub fn odd_names_are_locks(column: &dyn Column) {
    let (provider, another) = (column.provider(), column.provider());
    let (long, longer) = ("x".repeat(1_000), "y".repeat(100_000));
    let names =
        ["", " ", ".", "..", "/", "\\", "a/../b", "\0", "\n", "con", "*?\"<>|", &long, &longer];
    for name in names {
        let held = take(&*provider.lock(name));
        assert!(!is_free(&*another.lock(name)), "{name:?}");
        held.release().unwrap();
        assert!(is_soon_free(&*another.lock(name)), "{name:?}");
    }
}

/// A lock is its name, not the object.
pub fn two_objects_of_one_name_are_one_lock(column: &dyn Column) {
    let provider = column.provider();
    let held = take(&*provider.lock("a"));
    assert!(!is_free(&*provider.lock("a")));
    drop(provider.lock("a"));
    assert!(held.is_valid());
}

/// Each provider counts its locks for itself, so their watches of one file were mixed up.
pub fn a_waiter_is_woken_although_another_provider_gave_up(column: &dyn Column) {
    if column.backend() == Backend::Memory {
        // All the providers of a column are one.
        return;
    }
    let (holder, stays, leaves) = (column.provider(), column.provider(), column.provider());
    let held = take(&*holder.lock("a"));
    let (stays, leaves) = (stays.lock("a"), leaves.lock("a"));
    thread::scope(|threads| {
        let waiter = threads.spawn(|| drop(take(&*stays)));
        // The first of a process that waits for a file is not counted, but there is a count then.
        let files = matches!(column.backend(), Backend::Files | Backend::DeletedFiles);
        let least = (!files).then_some(0);
        until("in its queue", || stays.info().is_ok_and(|info| info.waiters > least));
        assert!(leaves.acquire(Some(Duration::from_millis(50))).is_err());
        let released = Instant::now();
        held.release().unwrap();
        waiter.join().unwrap();
        let waited = released.elapsed();
        assert!(waited < Duration::from_millis(500), "woken after {waited:?}");
    });
}

/// Two providers of one place are one place.
pub fn two_providers_share_their_locks(column: &dyn Column) {
    let (provider, another) = (column.provider(), column.provider());
    is_a_lock_across(&*provider.lock("a"), &*another.lock("a"));
    is_a_lock_across(&*provider.writer("b"), &*another.reader("b"));
    if column.has_semaphores() {
        is_a_lock_across(&*provider.semaphore("c", 1, 1), &*another.semaphore("c", 1, 1));
    }
}

fn is_a_lock_across(here: &dyn Acquire, there: &dyn Acquire) {
    let held = take(here);
    assert!(!is_free(there));
    thread::scope(|threads| {
        let waiter = threads.spawn(|| drop(take(there)));
        held.release().unwrap();
        waiter.join().unwrap();
    });
    assert!(is_soon_free(here));
}

/// Each hold is its own: what an old handle does touches no newer one.
pub fn an_old_holder_never_frees_the_newer_one(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let brief = AcquireOptions::new().with_max_hold(Duration::from_millis(1));
    let old = lock.acquire_with(brief).unwrap();
    let newer = take(&*lock);
    assert!(!old.is_valid());
    assert!(old.release().unwrap_err().is_lost());
    assert!(newer.is_valid());
    assert!(!is_free(&*lock));
    newer.release().unwrap();
}

/// In one process a lock is a queue.
pub fn waiters_are_served_in_the_order_they_came(column: &dyn Column) {
    let provider = column.provider();
    let lock = provider.lock("a");
    let served = Mutex::new(Vec::new());
    let held = take(&*lock);
    thread::scope(|threads| {
        for waiter in 0..10 {
            let (lock, served) = (&lock, &served);
            threads.spawn(move || {
                let _held = take(&**lock);
                served.lock().unwrap().push(waiter);
            });
            until_waiting(&**lock, waiter + 1);
        }
        held.release().unwrap();
    });
    assert_eq!(*served.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

/// Nobody is ever inside with somebody else.
pub fn a_hundred_acquirers_are_never_two_inside(column: &dyn Column) {
    let providers = [column.provider(), column.provider()];
    let inside = AtomicUsize::new(0);
    thread::scope(|threads| {
        for acquirer in 0..100 {
            let lock = providers[acquirer % 2].lock("a");
            let inside = &inside;
            threads.spawn(move || {
                let held = take(&*lock);
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::yield_now();
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                held.release().unwrap();
            });
        }
    });
    assert!(is_soon_free(&*providers[0].lock("a")));
}

/// No round is lost in a long run.
pub fn twenty_threads_take_turns_a_thousand_times(column: &dyn Column) {
    let provider = column.provider();
    let (inside, rounds) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // A turn takes a vote, or a round trip, or next to nothing.
    let turns = match column.backend() {
        backend if backend.votes() => 10,
        backend if backend.is_remote() => 100,
        _ => 1_000,
    };
    thread::scope(|threads| {
        for _ in 0..20 {
            let lock = provider.lock("a");
            let (inside, rounds) = (&inside, &rounds);
            threads.spawn(move || {
                for _ in 0..turns {
                    let _held = take(&*lock);
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    rounds.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                }
            });
        }
    });
    assert_eq!(rounds.into_inner(), 20 * turns);
}

/// A fencing token is greater than all before it, and stays the same.
pub fn fences_rise_from_holder_to_holder(column: &dyn Column) {
    let (provider, another) = (column.provider(), column.provider());
    if column.backend().is_transaction() {
        return assert_eq!(take(&*provider.lock("a")).fence(), None);
    }
    let shares = column.backend().fences_shares();
    let mut last = 0;
    for round in 0..50 {
        let lock = if round % 2 == 0 { provider.lock("a") } else { another.writer("a") };
        let held = take(&*lock);
        let fence = held.fence().expect("an exclusive hold has a fence");
        assert!(fence > last, "{fence} after {last}");
        assert_eq!(held.fence(), Some(fence));
        last = fence;
        held.release().unwrap();
    }
    let shared = take(&*provider.reader("a"));
    assert_eq!(shared.fence().is_some(), shares);
    shared.release().unwrap();
    let permit = take(&*provider.semaphore("permits", 2, 1));
    assert_eq!(permit.fence().is_some(), shares);
}

/// Who asks learns who holds.
pub fn a_holder_is_known_to_those_who_ask(column: &dyn Column) {
    let (provider, another) = (column.provider(), column.provider());
    let signed = column.backend() != Backend::Memory;
    let lock = another.lock("a");
    assert!(!lock.info().unwrap().locked);
    let options = AcquireOptions::new().with_owner("nightly report");
    let held = provider.lock("a").acquire_with(options).unwrap();

    let info = lock.info().unwrap();
    assert!(info.locked);
    assert_eq!(info.name.as_deref(), Some("a"));
    let holder = info.holders.first().expect("an exclusive holder signs");
    // PostgreSQL knows the session that holds, and through a pool not even that.
    if column.backend().is_postgres() {
        assert_eq!((holder.owner.as_deref(), holder.fence), (None, None));
    } else {
        assert_eq!(holder.owner.as_deref(), Some("nightly report"));
        assert_eq!(holder.fence, held.fence());
    }
    assert_eq!(holder.held_for.is_some(), !column.backend().is_redis());
    assert_eq!(holder.remaining.is_some(), column.backend().is_redis());
    assert_eq!(holder.pid.is_some(), signed);
    assert!(holder.pid.is_none_or(|pid| pid == std::process::id()));
    assert_eq!(holder.host.is_some(), signed);

    held.release().unwrap();
    let info = lock.info().unwrap();
    assert!(!info.locked && info.holders.is_empty());
}

/// What is held is listed.
pub fn locks_are_listed(column: &dyn Column) {
    let provider = column.provider();
    let _lock = take(&*provider.lock("a/b"));
    let _permits = column.has_semaphores().then(|| take(&*provider.semaphore("pool", 5, 2)));
    let listed = column.provider().list().unwrap();
    let held: Vec<_> = listed.iter().filter(|info| info.locked).collect();
    if column.backend().is_postgres() {
        // It has a number for each permit, and the names of those that are numbers.
        assert_eq!(held.len(), if column.has_semaphores() { 3 } else { 1 }, "{held:?}");
        return assert!(held.iter().any(|info| info.name.as_deref() == Some("a/b")));
    }
    assert_eq!(held.len(), 2, "{held:?}");
    assert!(held.iter().any(|info| info.name.as_deref() == Some("a/b")));
    assert!(held.iter().any(|info| info.name.as_deref() == Some("pool")));
}

/// A handle needs nobody to keep its provider.
pub fn a_handle_outlives_its_provider(column: &dyn Column) {
    let provider = column.provider();
    let held = take(&*provider.lock("a"));
    drop(provider);
    assert!(held.is_valid());
    assert!(!is_free(&*column.provider().lock("a")));
    held.release().unwrap();
    assert!(is_soon_free(&*column.provider().lock("a")));
}
