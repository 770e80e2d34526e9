//! Places where no lock file can be.

use std::time::Duration;

use lock_blocking::prelude::*;

/// Some file systems say "no such directory" of a directory that is there, which was tried again
/// and again, and then called busy.
#[test]
fn a_place_where_no_file_can_be_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let provider = FileLockProvider::new(&directory).unwrap();
    let locks = [
        FileLockProvider::new("/proc").unwrap().create_lock("orders"),
        provider.create_lock_at(""),
    ];
    for lock in locks {
        for timeout in [Some(Duration::ZERO), Some(Duration::from_secs(20)), None] {
            let refused = lock.acquire(timeout).unwrap_err();
            assert!(matches!(refused, LockError::Backend(_)), "{refused:?}");
            assert!(refused.to_string().contains("choose another directory"), "{refused}");
        }
    }
}
