//! What `dlock` itself says, on standard error, beside the command that it runs.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use lock_blocking::{LockInfo, LossReason};
use serde_json::{Value, json};

use crate::cli::RunArgs;
use crate::describe::{self, plain};
use crate::exit::Failure;

/// Says what happens to one lock.
pub(crate) struct Reporter {
    lock: String,
    json: bool,
    verbose: bool,
    quiet: bool,
}

impl Reporter {
    pub(crate) fn new(args: &RunArgs, lock: &OsStr) -> Self {
        let lock = lock.to_string_lossy().into_owned();
        Self { lock, json: args.json, verbose: args.verbose, quiet: args.quiet }
    }

    /// Whether anybody wants to know for whom we wait.
    pub(crate) fn tells_of_waiting(&self) -> bool {
        self.verbose || (!self.quiet && io::stderr().is_terminal())
    }

    /// The lock is somebody else's.
    pub(crate) fn waiting(&self, info: &LockInfo) {
        let text = format!("waiting for {:?}, held by {}", self.lock, by(info));
        self.say("waiting", &text, json!({ "holders": describe::lock(info).remove("holders") }));
    }

    /// The lock is ours.
    pub(crate) fn acquired(&self, fence: Option<u64>) {
        if self.verbose {
            self.say("acquired", &format!("got {:?}", self.lock), json!({ "fence": fence }));
        }
    }

    /// The lock was not free in time.
    pub(crate) fn conflict(&self, timeout: Duration, info: Option<&LockInfo>) {
        if self.quiet {
            return;
        }
        let held = info.map(|info| format!(": held by {}", by(info))).unwrap_or_default();
        let text = if timeout.is_zero() {
            format!("{:?} is not free{held}", self.lock)
        } else {
            format!("{:?} was not free within {timeout:?}{held}", self.lock)
        };
        let holders = info.and_then(|info| describe::lock(info).remove("holders"));
        self.say("conflict", &text, json!({ "holders": holders }));
    }

    /// The lock is not ours any more.
    pub(crate) fn lost(&self, reason: &LossReason, command: Option<u32>) {
        let ending = command.map(|pid| format!("; ending the command (process {pid})"));
        let text = format!("lost {:?}: {reason}{}", self.lock, ending.unwrap_or_default());
        self.say("lost", &text, json!({ "reason": reason.to_string() }));
    }

    /// The command doesn't end.
    pub(crate) fn killing(&self, command: u32) {
        let text = format!("the command (process {command}) has not ended: killing it");
        self.say("killing", &text, json!({ "pid": command }));
    }

    /// Something went wrong that changes nothing for the command.
    pub(crate) fn warn(&self, problem: &str) {
        self.say("warning", problem, json!({}));
    }

    fn say(&self, event: &str, text: &str, mut fields: Value) {
        fields["event"] = event.into();
        fields["name"] = self.lock.as_str().into();
        write(self.json, text, fields);
    }
}

/// Says why `dlock` ends.
pub(crate) fn fail(failure: &Failure, json: bool) {
    if let Some(message) = failure.message() {
        write(json, &message, json!({ "event": "error", "exit_code": failure.exit_code() }));
    }
}

/// There is nobody to tell if standard error is closed.
fn write(json: bool, text: &str, mut fields: Value) {
    let line = if json {
        fields["message"] = text.into();
        format!("{fields}\n")
    } else {
        format!("dlock: {}\n", plain(text))
    };
    let _ = io::stderr().write_all(line.as_bytes());
}

fn by(info: &LockInfo) -> String {
    let holders = describe::holders(info);
    if holders.is_empty() { "nobody any more".to_owned() } else { holders.join(", and ") }
}
