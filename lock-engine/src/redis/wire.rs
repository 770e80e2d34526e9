//! Commands as the wire has them, and what comes back.

use std::collections::BTreeMap;
use std::slice;
use std::sync::OnceLock;

use lock_proto::Fault;
use lock_proto::redis::{Command, Reply, SCRIPTS, Script, ScriptCall, Verb};
use redis::{Cmd, Pipeline, ServerErrorKind, Value, cmd};

use super::{Session, fault_of};

/// Tells a server every script, so that it need not ask for one.
#[must_use]
pub fn load_scripts() -> Pipeline {
    let mut pipeline = Pipeline::new();
    for script in SCRIPTS {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
    }
    pipeline
}

pub(super) fn command(
    command: &Command,
    inbox: &str,
    session: &Session,
    spelled_out: bool,
) -> Pipeline {
    match command.script(inbox) {
        Some(call) => script(&call, spelled_out),
        None => take(command, session),
    }
}

fn take(command: &Command, session: &Session) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2);
    let Verb::Take { ttl, fencing } = command.verb else { return pipeline };
    let ttl = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let (lock, fence) = (command.keys.lock(), command.keys.fence());
    pipeline.cmd("SET").arg(lock).arg(command.token.as_str()).arg("NX").arg("PX").arg(ttl);
    if fencing && session.knows(fence) {
        pipeline.cmd("INCR").arg(fence);
    } else if fencing {
        let mut mint = command.clone();
        mint.verb = Verb::Mint;
        if let Some(mint) = mint.script("") {
            pipeline.add_command(call(&mint, false));
        }
    }
    pipeline
}

pub(super) fn script(script: &ScriptCall, spelled_out: bool) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(call(script, spelled_out));
    pipeline
}

pub(super) fn words(words: &[String]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(1);
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    pipeline.add_command(command);
    pipeline
}

fn call(call: &ScriptCall, spelled_out: bool) -> Cmd {
    let mut command = if spelled_out { cmd("EVAL") } else { cmd("EVALSHA") };
    command.arg(if spelled_out { call.script.source } else { digest(call.script) });
    command.arg(call.keys.len()).arg(&call.keys).arg(&call.args);
    command
}

/// What the server knows a script by.
fn digest(script: &Script) -> &'static str {
    static DIGESTS: OnceLock<BTreeMap<&'static str, String>> = OnceLock::new();
    let digests = DIGESTS.get_or_init(|| {
        let digest = |source| redis::Script::new(source).get_hash().to_owned();
        SCRIPTS.iter().map(|script| (script.name, digest(script.source))).collect()
    });
    digests.get(script.name).map_or("", String::as_str)
}

/// Whether a script was not carried out because the server didn't know it. It has been told more
/// than that if there are several replies.
pub(super) fn lacks_script(replies: &[Value]) -> bool {
    let [Value::ServerError(error)] = replies else { return false };
    error.kind() == Some(ServerErrorKind::NoScript)
}

/// What the one reply says.
pub(super) fn only(replies: Vec<Value>) -> Result<Value, Fault> {
    let value = replies.into_iter().next().ok_or_else(senseless)?;
    value.extract_error().map_err(fault_of)
}

pub(super) fn reply(
    command: &Command,
    session: &Session,
    replies: Vec<Value>,
) -> Result<Reply, Fault> {
    if let Verb::Take { fencing, .. } = command.verb {
        return taken(command, session, fencing, replies);
    }
    let reply = numbers(&only(replies)?)?;
    if command.verb == Verb::Mint && reply[0] > 0 {
        session.learn(command.keys.fence());
    }
    Ok(reply)
}

fn taken(
    command: &Command,
    session: &Session,
    fencing: bool,
    replies: Vec<Value>,
) -> Result<Reply, Fault> {
    let mut replies = replies.into_iter();
    let set = replies.next().ok_or_else(senseless)?.extract_error().map_err(fault_of)?;
    if set == Value::Nil {
        return Ok([0, 0, 0]);
    }
    if set != Value::Okay {
        return Err(senseless());
    }
    if !fencing {
        return Ok([1, 0, 0]);
    }
    // A fence that could not be minted is asked for again.
    let fence = replies.next().and_then(|value| numbers(&value).ok()).map_or(0, |fence| fence[0]);
    if fence > 0 {
        session.learn(command.keys.fence());
    }
    Ok([1, fence, 0])
}

/// A number, or the first three of several.
fn numbers(value: &Value) -> Result<Reply, Fault> {
    let mut reply = [0; 3];
    let values = if let Value::Array(values) = value { values } else { slice::from_ref(value) };
    if values.is_empty() {
        return Err(senseless());
    }
    for (place, value) in reply.iter_mut().zip(values) {
        let Value::Int(number) = value else { return Err(senseless()) };
        *place = *number;
    }
    Ok(reply)
}

/// Whatever it is that answers, it may have carried the command out.
pub(super) fn senseless() -> Fault {
    Fault::unknown(
        "the server's answer makes no sense: is it Redis, and is nothing between that changes \
         answers?",
    )
}
