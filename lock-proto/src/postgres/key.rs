//! By which number the server knows a lock.

use core::fmt::{self, Write as _};

use sha1::{Digest, Sha1};

use crate::LockError;

/// The longest text that is its own key, in characters of seven bits each.
const ASCII_UNITS: usize = 9;
const ASCII_BITS: u32 = 7;
const ASCII_MASK: u64 = 0x7f;

/// Hexadecimal digits of 32 bits.
const HALF_DIGITS: usize = 8;

/// What an advisory lock of the server is known by: one number of 64 bits or two of 32.
///
/// The two kinds never meet, not even with the same bits. A name stands for the same key as in
/// DistributedLock.Postgres for .NET, so that both exclude each other, and so does a session that
/// calls `pg_advisory_lock` with the numbers:
///
/// 1. ASCII text of at most nine characters is a pair, and no other such text is the same.
/// 2. Sixteen hexadecimal digits are a single number, eight, a comma and eight more are a pair. The
///    letters may be of either case. After its first digit, a half may end in NULs instead.
/// 3. Any other name is hashed to a single number: the first eight bytes of the SHA-1 of its UTF-8,
///    the least significant first.
///
/// `Display` writes a name that [`AdvisoryKey::from_exact_name`] reads as this key: the text, if
/// all of it is printable, and otherwise hexadecimal digits.
///
/// ```
/// use lock_proto::postgres::AdvisoryKey;
///
/// let key = AdvisoryKey::from_name("orders/2024/07/31");
/// assert_eq!(key, AdvisoryKey::Single(-1665896240290075224));
/// assert_eq!(key.to_string(), "e8e18c321cd9eda8");
/// assert_eq!(AdvisoryKey::from_exact_name("00000003,ffffffff")?, AdvisoryKey::Pair(3, -1));
/// # Ok::<(), lock_proto::LockError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the server has two kinds of keys")]
pub enum AdvisoryKey {
    /// What `pg_advisory_lock(bigint)` takes.
    Single(i64),
    /// What `pg_advisory_lock(int, int)` takes.
    Pair(i32, i32),
}

impl AdvisoryKey {
    /// The key of any name, hashed if it must be.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        exact(name).unwrap_or_else(|| Self::Single(hash(name)))
    }

    /// How `pg_locks` shows it: its `classid`, `objid` and `objsubid`.
    #[must_use]
    pub fn row(&self) -> (u32, u32, u16) {
        match *self {
            Self::Single(key) => {
                let bits = key.cast_unsigned();
                ((bits >> 32) as u32, bits as u32, 1)
            }
            Self::Pair(first, second) => (first.cast_unsigned(), second.cast_unsigned(), 2),
        }
    }

    /// The key of a name that says which it is.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if the name would have to be hashed.
    pub fn from_exact_name(name: &str) -> Result<Self, LockError> {
        exact(name).ok_or(LockError::InvalidName(
            "it is neither ASCII text of at most 9 characters, nor 16 hexadecimal digits, nor 8, \
             a comma and 8 more"
                .into(),
        ))
    }
}

impl fmt::Display for AdvisoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Single(key) => write!(f, "{key:016x}"),
            Self::Pair(high, low) => match Text::of(word(high, low)).filter(Text::is_printable) {
                Some(text) => text.letters().try_for_each(|letter| f.write_char(letter)),
                None => write!(f, "{high:08x},{low:08x}"),
            },
        }
    }
}

/// A word of 64 bits that is text: its characters from the top, a zero, and only ones below.
#[derive(Clone, Copy)]
struct Text {
    word: u64,
    length: usize,
}

impl Text {
    fn of(word: u64) -> Option<Self> {
        let ones = word.trailing_ones();
        let missing = (ones / ASCII_BITS) as usize;
        ones.is_multiple_of(ASCII_BITS).then(|| Self { word, length: ASCII_UNITS - missing })
    }

    fn is_printable(&self) -> bool {
        self.length > 0 && self.letters().all(|letter| letter == ' ' || letter.is_ascii_graphic())
    }

    fn letters(self) -> impl Iterator<Item = char> {
        (1..=self.length as u32).map(move |place| {
            let unit = self.word >> (u64::BITS - place * ASCII_BITS) & ASCII_MASK;
            char::from(unit as u8)
        })
    }
}

fn exact(name: &str) -> Option<AdvisoryKey> {
    // Neither text nor digits have other letters, so bytes count as .NET counts UTF-16 units.
    name.is_ascii().then(|| ascii(name).or_else(|| hexadecimal(name.as_bytes())))?
}

fn ascii(name: &str) -> Option<AdvisoryKey> {
    let missing = ASCII_UNITS.checked_sub(name.len())?;
    let text = name.bytes().fold(0, |word, unit| (word << ASCII_BITS) + u64::from(unit));
    let word = (0..missing).fold(text << 1, |word, _| (word << ASCII_BITS) + ASCII_MASK);
    Some(AdvisoryKey::Pair(upper(word), lower(word)))
}

fn hexadecimal(name: &[u8]) -> Option<AdvisoryKey> {
    let (high, rest) = name.split_first_chunk::<HALF_DIGITS>()?;
    let is_pair = rest.first() == Some(&b',') && rest.len() == HALF_DIGITS + 1;
    let low = if is_pair { &rest[1..] } else { rest };
    let (high, low) = (half(high)?, half(low.try_into().ok()?)?);
    Some(if is_pair {
        AdvisoryKey::Pair(high, low)
    } else {
        AdvisoryKey::Single(word(high, low).cast_signed())
    })
}

/// What .NET's parser reads: no signs, no white space, and NULs at the end mean nothing.
fn half(units: &[u8; HALF_DIGITS]) -> Option<i32> {
    let end = units.iter().rposition(|unit| *unit != 0)? + 1;
    let mut digits = units[..end].iter().map(|unit| char::from(*unit).to_digit(16));
    digits.try_fold(0_u32, |number, digit| Some((number << 4) + digit?)).map(u32::cast_signed)
}

/// The hash of a name.
pub(super) fn hash(name: &str) -> i64 {
    let digest = Sha1::digest(name.as_bytes());
    let (first, _) = digest.split_first_chunk().expect("it is 20 bytes long");
    i64::from_le_bytes(*first)
}

fn word(high: i32, low: i32) -> u64 {
    (u64::from(high.cast_unsigned()) << 32) + u64::from(low.cast_unsigned())
}

fn upper(word: u64) -> i32 {
    (word >> 32) as i32
}

fn lower(word: u64) -> i32 {
    word as i32
}
