//! `dlock try`.

use std::time::Duration;

use lock_blocking::{AcquireOptions, LockError};
use serde_json::{Value, json};

use crate::cli::TryArgs;
use crate::describe;
use crate::exit::Failure;
use crate::output::answer;
use crate::place::Wanted;

/// Tells whether a lock could be had right now.
pub(crate) fn run(args: &TryArgs) -> Result<u8, Failure> {
    let wanted = Wanted::find(&args.which, None)?;
    let options = AcquireOptions::new().with_timeout(Duration::ZERO).with_owner("dlock try");
    let free = match wanted.acquire(options) {
        Ok(handle) => {
            handle.release()?;
            true
        }
        Err(LockError::Timeout(_)) => false,
        Err(error) => return Err(error.into()),
    };
    let info = wanted.info()?;
    let in_words = || {
        let holders = describe::holders(&info);
        match (free, holders.is_empty()) {
            (true, _) => "free\n".to_owned(),
            (false, true) => "it was held a moment ago\n".to_owned(),
            (false, false) => format!("held by {}\n", holders.join(", and ")),
        }
    };
    let in_json = || {
        let mut fields = describe::lock(&info);
        fields.insert("free".to_owned(), json!(free));
        Value::Object(fields)
    };
    answer(args.output, in_words, in_json)?;
    Ok(if free { 0 } else { args.conflict.conflict_exit_code })
}
