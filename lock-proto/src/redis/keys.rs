//! The keys of one lock: one function derives them all.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use crate::{LockError, LockName};

/// What an auxiliary key has before its own word. A lock can't be called so, or it would meet one.
const MARK: &str = ":dlock:";
const SLOTS: u16 = 16_384;

/// The keys of one lock; cheap to clone.
///
/// The main key is the prefix and the name, verbatim, as DistributedLock.Redis for .NET has it. The
/// others lie in the same slot of a cluster: the main key is their [hash tag], unless it has one.
///
/// [hash tag]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Arc<Names>);

#[derive(Debug, PartialEq, Eq)]
struct Names {
    lock: String,
    fence: String,
    waiting: String,
    writers: String,
    queue: String,
    readers: String,
    tagged: String,
    hash: u64,
}

impl Keys {
    /// The keys of the lock `name`, each with `prefix` before it.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if the name is that of another lock's auxiliary key.
    pub fn new(prefix: &str, name: &LockName) -> Result<Self, LockError> {
        let lock = format!("{prefix}{name}");
        if lock.contains(MARK) {
            let problem = format!("on Redis {MARK:?} marks the keys that stand beside a lock");
            return Err(LockError::InvalidName(problem.into()));
        }
        Ok(Self::of(lock))
    }

    fn of(lock: String) -> Self {
        let tagged = tagged(&lock);
        Self(Arc::new(Names {
            fence: format!("{tagged}{MARK}fence"),
            waiting: format!("{tagged}{MARK}waiting"),
            writers: format!("{tagged}{MARK}writers"),
            queue: format!("{tagged}{MARK}queue"),
            readers: format!("{tagged}{MARK}readers"),
            tagged,
            hash: hash(&lock),
            lock,
        }))
    }

    /// The keys of one of the slots that make a semaphore on several servers: a mutex of its own.
    #[must_use]
    pub fn permit(&self, number: u32) -> Self {
        Self::of(format!("{}{number}", self.permits()))
    }

    /// The keys of the mutex at which the takers of such slots queue.
    #[must_use]
    pub fn gate(&self) -> Self {
        Self::of(format!("{}{MARK}gate", self.0.tagged))
    }

    /// A number that few locks share, so that it can be looked at before the name.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.hash
    }

    /// The lock itself.
    #[must_use]
    pub fn lock(&self) -> &str {
        &self.0.lock
    }

    /// The fencing counter; on several servers, the highest ballot.
    #[must_use]
    pub fn fence(&self) -> &str {
        &self.0.fence
    }

    /// A hash: what is known of each waiter.
    #[must_use]
    pub fn waiting(&self) -> &str {
        &self.0.waiting
    }

    /// A sorted set: writers and takers of permits that wait, in their order.
    #[must_use]
    pub fn writers(&self) -> &str {
        &self.0.writers
    }

    /// A sorted set: readers that wait, in their order.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// A sorted set: readers that hold, by the end of their leases.
    #[must_use]
    pub fn readers(&self) -> &str {
        &self.0.readers
    }

    /// Where it stands that `token` is never to be let in.
    #[must_use]
    pub fn gone(&self, token: &str) -> String {
        format!("{}{MARK}gone:{token}", self.0.tagged)
    }

    /// The name whose fence is `key`, if it is a fence at all; without the prefix.
    #[must_use]
    pub fn name_of_fence<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
        untagged(key.strip_suffix("fence")?.strip_suffix(MARK)?)?.strip_prefix(prefix)
    }

    /// The semaphore and the number of the slot whose lock is `key`, if it is one; without the
    /// prefix.
    #[must_use]
    pub fn slot_of_permit<'a>(prefix: &str, key: &'a str) -> Option<(&'a str, u32)> {
        let (tagged, number) = key.rsplit_once("permit:")?;
        let name = untagged(tagged.strip_suffix(MARK)?)?.strip_prefix(prefix)?;
        Some((name, number.parse().ok()?))
    }

    /// What all slots of the semaphore begin with.
    #[must_use]
    pub fn permits(&self) -> String {
        format!("{}{MARK}permit:", self.0.tagged)
    }
}

/// [FNV-1a](https://datatracker.ietf.org/doc/html/draft-eastlake-fnv).
fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The lock of which [`tagged`] made these words.
fn untagged(tagged: &str) -> Option<&str> {
    if let Some(lock) = tagged.strip_suffix(':') {
        Some(lock)
    } else if let Some(lock) = tagged.strip_suffix('}') {
        lock.strip_prefix('{')
    } else {
        Some(tagged.strip_suffix('!')?.split_once("}!")?.1)
    }
}

/// `lock` in such words that what is appended stays in its slot. No two locks have the same: the
/// last letter says which words they are.
fn tagged(lock: &str) -> String {
    if hash_tag(lock).is_some() {
        format!("{lock}:")
    } else if !lock.is_empty() && !lock.contains('}') {
        format!("{{{lock}}}")
    } else {
        // No tag can hold a brace, so the slot needs another that falls into it.
        let slot = slot_of(lock.as_bytes());
        let number = (0_u32..).find(|number| slot_of(format!("#{number}").as_bytes()) == slot);
        format!("{{#{}}}!{lock}!", number.expect("CRC16 reaches every slot"))
    }
}

/// The part of a key that decides its slot, if not all of it does.
fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    Some(tag).filter(|tag| !tag.is_empty())
}

/// The slot of a key in a cluster.
#[must_use]
pub fn slot(key: &str) -> u16 {
    slot_of(hash_tag(key).unwrap_or(key).as_bytes())
}

/// CRC-16/XMODEM, as the cluster specification has it.
fn slot_of(bytes: &[u8]) -> u16 {
    let crc = bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}
