//! The least that named locks in memory can do.

#![expect(clippy::disallowed_types, reason = "nothing is iterated, and a floor is what is fastest")]

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::workload::Lockable;

const SHARDS: usize = 16;

type Shard = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// A map from names to the mutexes of tokio, in shards.
#[derive(Default)]
pub struct KeyedMutexes {
    hasher: RandomState,
    shards: [Shard; SHARDS],
}

impl KeyedMutexes {
    fn mutex(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let shard = &self.shards[self.hasher.hash_one(name) as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mutex) = shard.get(name) {
            return Arc::clone(mutex);
        }
        Arc::clone(shard.entry(name.to_owned()).or_default())
    }
}

/// One name in such a map.
pub struct KeyedMutex {
    map: Arc<KeyedMutexes>,
    name: String,
}

impl KeyedMutex {
    pub fn new(map: &Arc<KeyedMutexes>, name: &str) -> Self {
        Self { map: Arc::clone(map), name: name.to_owned() }
    }
}

impl Lockable for KeyedMutex {
    type Held = OwnedMutexGuard<()>;

    async fn acquire(&self) -> OwnedMutexGuard<()> {
        self.map.mutex(&self.name).lock_owned().await
    }

    async fn release(&self, held: OwnedMutexGuard<()>) {
        drop(held);
    }
}
