//! `dlock info`.

use lock_blocking::LockInfo;
use serde_json::Value;

use crate::cli::InfoArgs;
use crate::describe;
use crate::exit::Failure;
use crate::output::answer;
use crate::place::Wanted;
use crate::timestamp::rough;

/// Tells who holds a lock.
pub(crate) fn run(args: &InfoArgs) -> Result<u8, Failure> {
    let info = Wanted::find(&args.which, None)?.info()?;
    answer(args.output, || in_words(&info), || Value::Object(describe::lock(&info)))?;
    Ok(0)
}

fn in_words(info: &LockInfo) -> String {
    let name = info.name.as_deref().unwrap_or_default();
    let state = if info.locked { "held" } else { "free" };
    let mut text = format!("{name:?} is {state}\n");
    for (holder, words) in info.holders.iter().zip(describe::holders(info)) {
        let fence = holder.fence.map(|fence| format!(", fence {fence}")).unwrap_or_default();
        let lease = holder.remaining.map(|rest| format!(", for {}", rough(rest)));
        text.push_str(&format!("  by {words}{fence}{}\n", lease.unwrap_or_default()));
    }
    if info.locked && info.holders.is_empty() {
        text.push_str(&format!("  by {}\n", describe::holders(info).concat()));
    }
    match info.waiters {
        Some(waiters) if waiters > 0 => text.push_str(&format!("  {waiters} waiting\n")),
        Some(_) | None => {}
    }
    text
}
