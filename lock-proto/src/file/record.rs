//! What a lock file says: the fence counter, and who holds the lock.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::str;

/// The first line of every file that is ours to write to.
const MAGIC: &str = "distributed-lock 1";
/// The last line; what follows is left over from a longer record.
const END: &str = "end";
/// Longer names are cut in the record; the file's own name tells them apart.
const MAX_NAME_BYTES: usize = 512;
const MAX_HOST_BYTES: usize = 255;

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
    pub(crate) pid: u32,
}

impl Identity {
    /// The process `pid` on `host`.
    #[must_use]
    pub fn new(host: &str, pid: u32) -> Self {
        Self { host: escape(cut(host, MAX_HOST_BYTES)).into(), pid }
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
        let mut record = Self::default();
        if bytes.is_empty() {
            return Some(record);
        }
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if lines.next() != Some(MAGIC.as_bytes()) {
            return None;
        }
        for line in lines {
            let Ok(line) = str::from_utf8(line) else {
                break;
            };
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "fence" => record.fence = value.parse().unwrap_or(0),
                "host" => record.host = unescape(value),
                "pid" => record.pid = value.parse().unwrap_or(0),
                "since" => record.since = value.parse().unwrap_or(0),
                "owner" => record.owner = Some(unescape(value)),
                "name" => record.name = unescape(value),
                END => break,
                // Written by a newer version.
                _ => {}
            }
        }
        Some(record)
    }

    /// The record of the next holder: its fencing token is greater than the last one's, and than
    /// that of any file which stood here before, unless the wall clock has gone back since.
    pub(super) fn next(
        &self,
        wall_micros: u64,
        identity: &Identity,
        owner: Option<&str>,
        name: &str,
    ) -> Self {
        Self {
            fence: self.fence.saturating_add(1).max(wall_micros),
            host: String::from(&*identity.host),
            pid: identity.pid,
            since: wall_micros,
            owner: owner.map(String::from),
            name: String::from(cut(name, MAX_NAME_BYTES)),
        }
    }

    /// The file's new start.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let owner = self.owner.as_deref().map(|owner| format!("owner {}\n", escape(owner)));
        format!(
            "{MAGIC}\nfence {}\nhost {}\npid {}\nsince {}\n{}name {}\n{END}\n",
            self.fence,
            self.host,
            self.pid,
            self.since,
            owner.unwrap_or_default(),
            escape(&self.name),
        )
        .into_bytes()
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Keeps a value on its line.
fn escape(value: &str) -> String {
    value
        .chars()
        .flat_map(|letter| {
            let plain = !letter.is_control() && letter != '\\';
            let escaped = (!plain).then(|| letter.escape_unicode());
            escaped.into_iter().flatten().chain(plain.then_some(letter))
        })
        .collect()
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
