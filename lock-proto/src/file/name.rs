//! Which file stands for which lock.

use alloc::format;
use alloc::string::String;

use sha2::{Digest, Sha512};
use unicode_general_category::{GeneralCategory, get_general_category};

/// UTF-16 units of the name that stay readable in the file's name.
const READABLE_UNITS: usize = 27;
/// Five bits each: 160 bits of the digest.
const HASH_SYMBOLS: usize = 32;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The file name of the lock `name`: at most 64 characters, and another for every other name.
///
/// The same as DistributedLock.FileSystem for .NET gives, so that both exclude each other: up to
/// 27 UTF-16 units of the name with all but letters, decimal digits and `_` replaced by `_`, then
/// 32 symbols of its SHA-512 (the least significant bits first, which is not RFC 4648), then
/// `.lock`.
///
/// ```
/// use lock_proto::file::file_name;
///
/// assert_eq!(file_name("."), "_LIYISOQPXAPX3NYVHPC2EK4WEOU6OW7Y.lock");
/// ```
#[must_use]
pub fn file_name(name: &str) -> String {
    format!("{}.lock", encoded(name))
}

fn encoded(name: &str) -> String {
    let readable = name.encode_utf16().take(READABLE_UNITS).map(readable_unit);
    let mut encoded: String = readable.collect();
    encoded.extend(hash_symbols(&Sha512::digest(name.as_bytes())));
    encoded
}

/// Half of a surrogate pair is never a letter, whatever the pair is.
fn readable_unit(unit: u16) -> char {
    char::from_u32(u32::from(unit)).filter(|letter| is_readable(*letter)).unwrap_or('_')
}

fn is_readable(letter: char) -> bool {
    use GeneralCategory as Category;
    letter == '_'
        || matches!(
            get_general_category(letter),
            Category::UppercaseLetter
                | Category::LowercaseLetter
                | Category::TitlecaseLetter
                | Category::ModifierLetter
                | Category::OtherLetter
                | Category::DecimalNumber
        )
}

fn hash_symbols(digest: &[u8]) -> impl Iterator<Item = char> {
    (0..HASH_SYMBOLS).map(|symbol| {
        let (byte, bit) = (symbol * 5 / 8, symbol * 5 % 8);
        let bits = u16::from_le_bytes([digest[byte], digest[byte + 1]]) >> bit;
        char::from(ALPHABET[usize::from(bits & 31)])
    })
}
