//! The keys of one lock: one function derives them all.

use alloc::boxed::Box;
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
    /// All of them, one after another: the lock, and each [`Word`] behind the lock with its tag.
    text: Box<str>,
    lock: usize,
    /// The length of what each auxiliary key begins with.
    tagged: usize,
    hash: u64,
}

/// What an auxiliary key is for.
#[derive(Clone, Copy)]
enum Word {
    Fence,
    Waiting,
    Writers,
    Queue,
    Readers,
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
        let places = Word::ALL.len() * (tagged.len() + MARK.len()) + Word::LETTERS;
        let mut text = String::with_capacity(lock.len() + places);
        text.push_str(&lock);
        for word in Word::ALL {
            text.extend([&tagged, MARK, word.text()]);
        }
        let (lock, tagged, hash) = (lock.len(), tagged.len(), hash(&lock));
        Self(Arc::new(Names { text: text.into(), lock, tagged, hash }))
    }

    /// The key of what stands beside the lock.
    fn beside(&self, word: Word) -> &str {
        let Names { text, lock, tagged, .. } = &*self.0;
        let before = word as usize;
        let letters: usize = Word::ALL.iter().take(before).map(|word| word.text().len()).sum();
        let start = lock + before * (tagged + MARK.len()) + letters;
        &text[start..start + tagged + MARK.len() + word.text().len()]
    }

    /// What each auxiliary key begins with.
    fn tagged(&self) -> &str {
        &self.0.text[self.0.lock..][..self.0.tagged]
    }

    /// The keys of one of the slots that make a semaphore on several servers: a mutex of its own.
    #[must_use]
    pub fn permit(&self, number: u32) -> Self {
        Self::of(format!("{}{number}", self.permits()))
    }

    /// The keys of the mutex at which the takers of such slots queue.
    #[must_use]
    pub fn gate(&self) -> Self {
        Self::of(format!("{}{MARK}gate", self.tagged()))
    }

    /// A number that few locks share, so that it can be looked at before the name.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.hash
    }

    /// The lock itself.
    #[must_use]
    pub fn lock(&self) -> &str {
        &self.0.text[..self.0.lock]
    }

    /// The fencing counter; on several servers, the highest ballot.
    #[must_use]
    pub fn fence(&self) -> &str {
        self.beside(Word::Fence)
    }

    /// A hash: what is known of each waiter.
    #[must_use]
    pub fn waiting(&self) -> &str {
        self.beside(Word::Waiting)
    }

    /// A sorted set: writers and takers of permits that wait, in their order.
    #[must_use]
    pub fn writers(&self) -> &str {
        self.beside(Word::Writers)
    }

    /// A sorted set: readers that wait, in their order.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.beside(Word::Queue)
    }

    /// A sorted set: readers that hold, by the end of their leases.
    #[must_use]
    pub fn readers(&self) -> &str {
        self.beside(Word::Readers)
    }

    /// Where it stands that `token` is never to be let in.
    #[must_use]
    pub fn gone(&self, token: &str) -> String {
        format!("{}{MARK}gone:{token}", self.tagged())
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
        format!("{}{MARK}permit:", self.tagged())
    }
}

impl Word {
    const ALL: [Self; 5] = [Self::Fence, Self::Waiting, Self::Writers, Self::Queue, Self::Readers];
    /// Of all of them.
    const LETTERS: usize = 31;

    fn text(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Waiting => "waiting",
            Self::Writers => "writers",
            Self::Queue => "queue",
            Self::Readers => "readers",
        }
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
