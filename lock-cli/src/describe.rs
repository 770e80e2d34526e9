//! Locks and their holders in words and in JSON.

use lock_blocking::{Holder, LockInfo};
use serde_json::{Map, Value, json};

use crate::timestamp::{before_now, rough};

const NAMELESS: &str = "a holder that leaves no name: a reader, or another program as flock(1)";
const FOREIGN: &str = "another program, which leaves no name";

/// One lock for programs.
pub(crate) fn lock(info: &LockInfo) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(info.name));
    fields.insert("locked".to_owned(), json!(info.locked));
    fields.insert("holders".to_owned(), info.holders.iter().map(holder).collect());
    fields.insert("waiters".to_owned(), json!(info.waiters));
    fields
}

fn holder(holder: &Holder) -> Value {
    json!({
        "owner": holder.owner,
        "host": holder.host,
        "pid": holder.pid,
        "since": holder.held_for.map(before_now),
        "held_for_seconds": holder.held_for.map(|held| held.as_secs_f64()),
        "remaining_seconds": holder.remaining.map(|rest| rest.as_secs_f64()),
        "fence": holder.fence,
    })
}

/// Who holds the lock, each in a few words.
pub(crate) fn holders(info: &LockInfo) -> Vec<String> {
    if info.locked && info.holders.is_empty() {
        return vec![NAMELESS.to_owned()];
    }
    info.holders.iter().map(holder_in_words).collect()
}

fn holder_in_words(holder: &Holder) -> String {
    let words = [
        holder.owner.as_deref().map(|owner| format!("{},", plain(owner))),
        holder.pid.map(|pid| format!("process {pid}")),
        holder.host.as_deref().map(|host| format!("on {}", plain(host))),
        holder.held_for.map(|held| format!("since {} ({})", before_now(held), rough(held))),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    if words.is_empty() { FOREIGN.to_owned() } else { words.join(" ") }
}

/// Text from elsewhere without what could move a terminal's cursor or break a line.
pub(crate) fn plain(text: &str) -> String {
    let escape = |letter: char| {
        let harmless = !letter.is_control() && !is_invisible(letter);
        let escaped = (!harmless).then(|| letter.escape_default());
        escaped.into_iter().flatten().chain(harmless.then_some(letter))
    };
    text.chars().flat_map(escape).collect()
}

/// Line and paragraph ends, and what turns the direction of the text around.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
