//! Many read a cache at once; who updates it is alone.

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Mutex;

use lock_blocking::prelude::*;

static CACHE: Mutex<Vec<&str>> = Mutex::new(Vec::new());

fn main() -> Result<(), LockError> {
    cache_example(&InMemoryLockProvider::new())
}

fn cache_example(provider: &dyn LockProvider) -> Result<(), LockError> {
    let rw_lock = provider.create_reader_writer_lock("cache");

    // Multiple readers can hold the lock simultaneously.
    {
        let read_handle = rw_lock.acquire_read(None)?;
        let another_reader = rw_lock.acquire_read(None)?;
        assert!(rw_lock.try_acquire_write()?.is_none());

        let data = read_from_cache();
        println!("Read {data:?} beside another reader");
        another_reader.release()?;
        read_handle.release()?;
    }

    // Writers get exclusive access.
    {
        let write_handle = rw_lock.acquire_write(None)?;
        assert!(rw_lock.try_acquire_read()?.is_none());

        update_cache();
        write_handle.release()?;
    }

    let read_handle = rw_lock.acquire_read(None)?;
    println!("Read {:?} after the update", read_from_cache());
    read_handle.release()
}

fn read_from_cache() -> Vec<&'static str> {
    CACHE.lock().expect("nobody panics with it").clone()
}

fn update_cache() {
    CACHE.lock().expect("nobody panics with it").push("fresh");
}
