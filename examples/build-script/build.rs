//! Makes a table that takes a while to make. Builds that share the directory `PRIMES_CACHE` make it
//! once: one of them works, those that come meanwhile wait for it, and all others find it there.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process};

use lock_blocking::prelude::*;

const LIMIT: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PRIMES_CACHE");

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let cache = cache_directory(&out)?;
    let table = cache.join(format!("primes-{LIMIT}.rs"));

    let lock = FileLockProvider::new(&cache)?.create_lock("primes");
    log("waits")?;
    // A build that hangs should fail with a reason some day.
    let handle = lock.acquire(Some(Duration::from_secs(600)))?;
    log("enters")?;
    if !table.exists() {
        make(&table)?;
        log("made it")?;
    }
    // The cache may be cleared after we left.
    fs::copy(&table, out.join("primes.rs"))?;
    log("leaves")?;
    handle.release()?;
    Ok(())
}

/// The directory that the builds share. By default it is where cargo keeps the outputs of all build
/// scripts, so that variants of this package in one build share it. Others must not be able to
/// write to it: what lies there is compiled.
fn cache_directory(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(directory) = env::var_os("PRIMES_CACHE") {
        return Ok(directory.into());
    }
    let outputs = out.ancestors().nth(2).ok_or("OUT_DIR is not where cargo puts it")?;
    Ok(outputs.join("primes-cache"))
}

/// A build may be killed at any time, and its lock is free then: a name appears only with the whole
/// table behind it.
fn make(table: &Path) -> Result<(), Box<dyn Error>> {
    let primes: Vec<u32> = (2..LIMIT).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
    let unfinished = table.with_extension("unfinished");
    fs::write(&unfinished, format!("&{primes:?}"))?;
    fs::rename(unfinished, table)?;
    Ok(())
}

/// For whoever wants to watch: a line in the file `PRIMES_LOG`, if it is set.
fn log(event: &str) -> Result<(), Box<dyn Error>> {
    if let Some(path) = env::var_os("PRIMES_LOG") {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(format!("{} {event}\n", process::id()).as_bytes())?;
    }
    Ok(())
}
