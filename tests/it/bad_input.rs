//! Places and files that are no good for locks: each is a typed error that says what to do.

use std::error::Error as _;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lock_blocking::{AcquireOptions, FileLockProvider, LockError, LockProvider as _, connect};
use lock_proto::file::file_name;
use tempfile::tempdir;

use crate::worker::Worker;

#[test]
fn a_directory_must_be_named() {
    for builder in [FileLockProvider::builder(), FileLockProvider::builder().directory("")] {
        let Err(LockError::InvalidConfig { option, .. }) = builder.build() else {
            panic!("locks in no directory");
        };
        assert_eq!(option, "directory");
    }
}

#[test]
fn a_file_is_no_directory() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    for place in [file.clone(), file.join("below")] {
        let error = FileLockProvider::new(&place).unwrap_err();
        assert!(matches!(error, LockError::Backend(_)), "{error:?}");
        assert!(error.to_string().contains("is a file"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_directory_where_everybody_deletes_others_files_is_refused() {
    let dir = tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let error = FileLockProvider::new(dir.path()).unwrap_err();
    assert!(error.to_string().contains("sticky"), "{error}");

    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    let lock = FileLockProvider::new(dir.path()).unwrap().create_lock("a");
    lock.acquire(None).unwrap().release().unwrap();
}

#[test]
fn what_is_planted_at_the_lock_file_is_neither_followed_nor_waited_for() {
    let dir = tempdir().unwrap();
    let provider = FileLockProvider::new(dir.path()).unwrap();
    let at = |name: &str| dir.path().join(file_name(name));
    fs::write(dir.path().join("victim"), "mine").unwrap();
    symlink(dir.path().join("victim"), at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());

    for (name, word) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("directory", "is a directory"),
        ("fifo", "no regular file"),
    ] {
        let error = provider.create_lock(name).acquire(None).unwrap_err();
        assert!(matches!(error, LockError::Backend(_)), "{name}: {error:?}");
        assert!(error.to_string().contains(word), "{name}: {error}");
        assert!(provider.create_lock(name).try_acquire().is_err(), "{name} is not busy");
    }
    assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"mine");
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn a_read_only_file_system_is_an_error_and_not_busy() {
    let dir = tempdir().unwrap();
    let prepare = "mkdir locks && mount -o remount,ro none .";
    let mut worker = Worker::with_tmpfs(dir.path(), "size=64k", prepare);
    assert_eq!(worker.ask("open locks"), "opened");
    for what in ["lock 0 a", "lock - a", "read - a", "1/3 - a"] {
        worker.refuses(&format!("acquire {what}"), "Backend", "read-only");
    }
    worker.refuses("open elsewhere", "Backend", "read-only");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_locked() {
    let dir = tempdir().unwrap();
    let prepare = "mkdir locks && head -c 1M /dev/zero > filler 2> errors || true";
    let mut worker = Worker::with_tmpfs(dir.path(), "size=64k", prepare);
    assert_eq!(worker.ask("open locks"), "opened");
    worker.refuses("acquire lock - a", "Backend", "free some space");
    worker.refuses("acquire lock 0 a", "Backend", "free some space");
    assert_eq!(worker.ask("delete filler"), "deleted");
    worker.hold("lock 0 a");
}

#[test]
fn too_many_open_files_are_an_error_and_leave_nothing_locked() {
    let dir = tempdir().unwrap();
    let mut worker = Worker::on(dir.path());
    worker.hold("lock 0 b");
    assert_eq!(worker.ask("release"), "released");
    assert_eq!(worker.ask("starve"), "starved");
    worker.refuses("acquire lock - a", "Backend", "ulimit -n");
    worker.refuses("acquire 2/3 0 a", "Backend", "ulimit -n");
    assert_eq!(worker.ask("feed"), "fed");
    worker.hold("lock 0 a");
    worker.hold("2/3 0 a");
}

#[test]
fn a_directory_is_bytes() {
    let dir = tempdir().unwrap();
    let odd = dir.path().join(OsStr::from_bytes(b"l\xff\xfecks"));
    let lock = FileLockProvider::new(&odd).unwrap().create_lock("a");
    let held = lock.acquire(None).unwrap();
    let same = FileLockProvider::new(&odd).unwrap().create_lock("a");
    assert!(same.try_acquire().unwrap().is_none());
    held.release().unwrap();
}

#[test]
fn a_directory_that_was_deleted_is_made_again() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("a/b");
    let provider = FileLockProvider::new(&place).unwrap();
    for lock in [provider.create_lock("a"), provider.create_lock("a")] {
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        lock.acquire(None).unwrap().release().unwrap();
        assert!(place.is_dir());
    }
    fs::remove_dir_all(&place).unwrap();
    assert!(provider.list().unwrap().is_empty());
}

#[test]
fn a_relative_directory_stays_where_it_was() {
    let dir = tempdir().unwrap();
    let mut worker = Worker::on(dir.path());
    assert_eq!(worker.ask(&format!("chdir {}", dir.path().display())), "changed");
    assert_eq!(worker.ask("open below"), "opened");
    assert_eq!(worker.ask("chdir /"), "changed");
    worker.hold("lock 0 a");
    assert!(dir.path().join("below").join(file_name("a")).is_file());
}

#[test]
fn urls_that_name_no_backend_are_refused_without_being_repeated() {
    for (url, unsupported) in [
        ("", false),
        ("orders", false),
        ("/var/lock", false),
        ("file:", false),
        ("file://", false),
        ("file:relative", false),
        ("file:///locks?mode=hunter2", false),
        ("file:///locks#hunter2", false),
        ("file:///locks%zz", false),
        ("file:///locks%0", false),
        ("file:///a%00b", false),
        ("memory:hunter2", false),
        ("user+hunter2@loft:5432", false),
        (":hunter2@loft", false),
        ("carrier-pigeon://user:hunter2@loft", true),
        ("etcd://user:hunter2@localhost", true),
        ("postgres://user:hunter2@localhost:port", false),
        ("redis://user:hunter2@localhost:port", false),
    ] {
        let error = connect(url).map(drop).unwrap_err();
        let refused = if unsupported {
            matches!(error, LockError::Unsupported(_))
        } else {
            matches!(error, LockError::InvalidConfig { option: "url", .. })
        };
        assert!(refused, "{url}: {error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_file_url_names_its_directory_in_full() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("two words?");
    let path = place.display().to_string().replace(' ', "%20").replace('?', "%3F");
    for scheme in ["file://", "FILE:", "file://localhost"] {
        let provider = connect(&format!("{scheme}{path}")).unwrap();
        provider.create_lock("a").acquire(None).unwrap().release().unwrap();
    }
    assert!(Path::new(&place).join(file_name("a")).is_file());
    connect("memory:").unwrap().create_lock("a").acquire(None).unwrap().release().unwrap();
}

#[test]
fn a_path_that_no_system_call_takes_is_refused() {
    let dir = tempdir().unwrap();
    let provider = FileLockProvider::new(dir.path()).unwrap();
    for (path, word) in [(dir.path().join("a\0b"), "character"), ("x".repeat(5000).into(), "long")]
    {
        for error in [
            FileLockProvider::new(&path).map(drop).unwrap_err(),
            provider.create_lock_at(&path).acquire(None).map(drop).unwrap_err(),
        ] {
            assert!(matches!(error, LockError::Backend(_)), "{error:?}");
            assert!(error.to_string().contains(word), "{error}");
            let cause = error.source().expect("the system's own words").to_string();
            assert!(!error.to_string().contains(&cause), "{error}: {cause}");
        }
    }
}

#[test]
fn a_directory_that_this_user_may_not_make_is_refused() {
    let mut worker = Worker::start();
    let error = worker.refuses("open /sys/dlock", "Backend", "/sys/dlock");
    assert!(error.contains("needs the right") || error.contains("read-only"), "{error}");
}

#[test]
fn what_is_planted_at_the_gate_or_at_a_permit_is_refused() {
    for suffix in [".permits", ".permit0"] {
        let dir = tempdir().unwrap();
        let place = dir.path().join(file_name("a") + suffix);
        symlink("/dev/null", &place).unwrap();
        let mut worker = Worker::on(dir.path());
        worker.refuses("acquire 1/2 - a", "Backend", "symbolic link");
        fs::remove_file(&place).unwrap();
        worker.hold("2/2 0 a");
    }
}

#[test]
fn the_longest_times_and_the_most_permits_are_no_overflow() {
    let dir = tempdir().unwrap();
    let provider = FileLockProvider::new(dir.path()).unwrap();
    let longest = AcquireOptions::new().with_timeout(Duration::MAX).with_max_hold(Duration::MAX);
    for options in [longest.clone(), longest.with_ttl(Duration::from_secs(60))] {
        let handle = provider.create_lock("a").acquire_with(options).unwrap();
        handle.extend(Duration::MAX).unwrap();
        assert!(handle.is_valid());
        handle.release().unwrap();
    }
    let semaphore = provider.create_semaphore("a", u32::MAX);
    let permit = semaphore.try_acquire().unwrap().expect("a free one");
    assert!(semaphore.is_locked().unwrap());
    permit.release().unwrap();
}
