//! What a lock file says: the fence counter, and who holds the lock.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::str;

/// The first line of every file that is ours to write to.
const MAGIC: &str = "distributed-lock 1";
/// The last line; what follows is left over from a longer record.
const END: &str = "end";
/// Longer names are cut in the record; the file's own name tells them apart.
const MAX_NAME_BYTES: usize = 512;
const MAX_HOST_BYTES: usize = 255;
/// Most records are no longer.
const ORDINARY_BYTES: usize = 256;

/// The start of a lock file: text, one `key value` a line.
///
/// ```text
/// distributed-lock 1
/// fence 1763701200123456
/// host build-7
/// pid 4242
/// since 1763701200123456
/// owner nightly report
/// name reports/nightly
/// end
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The fencing token of the last exclusive holder.
    pub fence: u64,
    /// The machine that the last exclusive holder ran on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When it got the lock, in microseconds since 1970 on its wall clock.
    pub since: u64,
    /// What it called itself.
    pub owner: Option<String>,
    /// The lock's name.
    pub name: String,
}

/// Who this process is, as its records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(crate) host: Arc<str>,
    /// In digits, since every token and every record spells it.
    pub(crate) pid: Arc<str>,
}

impl Identity {
    /// The process `pid` on `host`.
    #[must_use]
    pub fn new(host: &str, pid: u32) -> Self {
        let mut escaped = String::new();
        push_escaped(&mut escaped, cut(host, MAX_HOST_BYTES));
        Self { host: escaped.into(), pid: format!("{pid}").into() }
    }
}

impl Record {
    /// No record is longer, even if every letter of it has to be escaped.
    pub const MAX_BYTES: usize = 8192;

    /// What `bytes`, the start of a file, say.
    ///
    /// `None` if the file is somebody else's and must not be written to. An empty file is ours,
    /// and says nothing yet.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut record = Self { fence: Self::fence_of(bytes)?, ..Self::default() };
        for line in lines(bytes)? {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "host" => record.host = unescape(value),
                "pid" => record.pid = value.parse().unwrap_or(0),
                "since" => record.since = value.parse().unwrap_or(0),
                "owner" => record.owner = Some(unescape(value)),
                "name" => record.name = unescape(value),
                // Written by a newer version, or the fence, which was read before.
                _ => {}
            }
        }
        Some(record)
    }

    /// The fencing token of the last exclusive holder, as [`Record::parse`] has it.
    fn fence_of(bytes: &[u8]) -> Option<u64> {
        let fence = lines(bytes)?.find_map(|line| line.strip_prefix("fence "));
        Some(fence.and_then(|fence| fence.parse().ok()).unwrap_or(0))
    }
}

/// The new start of a file, for the next holder.
#[derive(Clone, Debug)]
pub(super) struct NextRecord {
    pub(super) fence: u64,
    pub(super) bytes: Vec<u8>,
}

impl NextRecord {
    /// What follows `old`, the present start: its fencing token is greater than the last one's, and
    /// than that of any file which stood here before, unless the wall clock has gone back since.
    ///
    /// `None` if the file is somebody else's.
    pub(super) fn after(
        old: &[u8],
        wall_micros: u64,
        identity: &Identity,
        owner: Option<&str>,
        name: &str,
    ) -> Option<Self> {
        let fence = Record::fence_of(old)?.saturating_add(1).max(wall_micros);
        let mut text = String::with_capacity(ORDINARY_BYTES);
        text.push_str(MAGIC);
        text.push_str("\nfence ");
        let fence_at = text.len();
        push_number(&mut text, fence);
        let fence_text = fence_at..text.len();
        text.push_str("\nhost ");
        text.push_str(&identity.host);
        text.push_str("\npid ");
        text.push_str(&identity.pid);
        text.push_str("\nsince ");
        // Spelling a number takes longer than anything else here, and usually it is the same.
        if fence == wall_micros {
            text.extend_from_within(fence_text);
        } else {
            push_number(&mut text, wall_micros);
        }
        if let Some(owner) = owner {
            text.push_str("\nowner ");
            push_escaped(&mut text, owner);
        }
        text.push_str("\nname ");
        push_escaped(&mut text, cut(name, MAX_NAME_BYTES));
        text.push('\n');
        text.push_str(END);
        text.push('\n');
        Some(Self { fence, bytes: text.into_bytes() })
    }
}

/// The lines of a file that is ours: a key each, and its value behind a space.
fn lines(bytes: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let rest = if bytes.is_empty() { bytes } else { bytes.strip_prefix(MAGIC.as_bytes())? };
    if !matches!(rest.first(), None | Some(b'\n')) {
        return None;
    }
    let lines = rest.split(|byte| *byte == b'\n').skip(1);
    let lines = lines.map_while(|line| str::from_utf8(line).ok());
    Some(lines.take_while(|line| *line != END))
}

/// Formatting a whole record at once would take longer than writing it to the file.
fn push_number(text: &mut String, number: u64) {
    let _ = write!(text, "{number}");
}

fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Keeps a value on its line.
fn push_escaped(text: &mut String, value: &str) {
    let is_plain = |letter: char| !letter.is_control() && letter != '\\';
    if value.chars().all(is_plain) {
        return text.push_str(value);
    }
    for letter in value.chars() {
        if is_plain(letter) {
            text.push(letter);
        } else {
            text.extend(letter.escape_unicode());
        }
    }
}

fn unescape(value: &str) -> String {
    let mut parts = value.split("\\u{");
    let mut plain = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap_or((part, ""));
        let letter = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
        plain.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
        plain.push_str(rest);
    }
    plain
}
