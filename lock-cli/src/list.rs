//! `dlock list`.

use lock_blocking::LockInfo;
use serde_json::Value;

use crate::cli::ListArgs;
use crate::describe::{self, plain};
use crate::exit::Failure;
use crate::output::answer;
use crate::place;

/// Names longer than this don't push the other columns out of sight.
const WIDEST_NAME: usize = 40;

/// Lists all locks of a place.
pub(crate) fn run(args: &ListArgs) -> Result<u8, Failure> {
    let mut locks = place::open(&args.place, None)?.list()?;
    locks.sort_by(|one, other| one.name.cmp(&other.name));
    answer(
        args.output,
        || table(&locks),
        || locks.iter().map(describe::lock).map(Value::Object).collect(),
    )?;
    Ok(0)
}

fn table(locks: &[LockInfo]) -> String {
    let names: Vec<_> = locks.iter().map(name).collect();
    let widths = names.iter().map(|name| name.chars().count().min(WIDEST_NAME));
    let width = widths.max().unwrap_or(0).max("NAME".len());
    let mut text = format!("{:width$}  STATE  HOLDER\n", "NAME");
    for (lock, name) in locks.iter().zip(names) {
        let state = if lock.locked { "held" } else { "free" };
        let line = format!("{name:width$}  {state:5}  {}", describe::holders(lock).join("; "));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn name(lock: &LockInfo) -> String {
    match lock.name.as_deref() {
        Some("") => "\"\"".to_owned(),
        Some(name) => plain(name),
        // Only readers, or another program, have used it.
        None => "?".to_owned(),
    }
}
