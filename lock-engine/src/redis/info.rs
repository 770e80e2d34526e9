//! Who holds what, as the servers tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lock_proto::redis::{Keys, Side, Token};
use lock_proto::{Fault, FaultKind, Holder, LockError, LockInfo, LockName};
use redis::Value;

use super::courier::Courier;
use super::slots;
use super::transport::Node;
use super::wire::senseless;
use crate::Pending;

/// More locks than this are not listed.
const MOST_LOCKS: usize = 10_000;
/// How many keys a server looks at in one go while it serves nobody else.
const PAGE: &str = "1000";
/// How many locks are asked for at once.
const BATCH: usize = 256;

type Asked = Pending<Result<Value, Fault>>;

/// The locks that were found, and which of the slots that make a semaphore on several servers.
type Names = BTreeMap<String, BTreeSet<u32>>;

/// What one server says of one lock.
#[derive(Debug, Default)]
pub(super) struct Sight {
    fence: u64,
    waiters: usize,
    holders: Vec<Seen>,
}

/// One holder, as one server sees it.
#[derive(Clone, Debug)]
struct Seen {
    token: String,
    /// `None` is for ever.
    remaining: Option<Duration>,
}

pub(super) fn of_lock(
    courier: &Arc<Courier>,
    name: &Arc<str>,
    keys: &Keys,
    side: Side,
) -> Pending<Result<LockInfo, LockError>> {
    let name = Arc::clone(name);
    if let Side::Permits { limit, .. } = side
        && courier.servers() > 1
    {
        let (courier, keys) = (Arc::clone(courier), keys.clone());
        return Pending::asking(async move {
            Ok(named(slots::of_semaphore(&courier, &keys, limit).await?, &name))
        });
    }
    let asked = ask(courier, keys, side);
    Pending::asking(async move { Ok(named(agreed(heard(asked).await)?, &name)) })
}

pub(super) fn of_all(
    courier: &Arc<Courier>,
    prefix: &Arc<str>,
) -> Pending<Result<Vec<LockInfo>, LockError>> {
    let (courier, prefix) = (Arc::clone(courier), Arc::clone(prefix));
    Pending::asking(async move {
        let mut names = BTreeMap::new();
        let (mut unreachable, servers) = (None, courier.servers());
        let mut silent = 0;
        for server in 0..servers {
            if let Err(fault) = scan_server(&courier, server, &prefix, &mut names).await {
                silent += 1;
                unreachable = Some(fault);
            }
        }
        if let Some(fault) = unreachable
            && servers - silent < majority(servers)
        {
            return Err(failed(fault));
        }
        let names: Vec<(String, BTreeSet<u32>)> = names.into_iter().collect();
        let mut locks = Vec::with_capacity(names.len());
        for batch in names.chunks(BATCH) {
            locks.extend(infos(&courier, &prefix, batch).await?);
        }
        Ok(locks)
    })
}

/// The names of the locks that one server, or all of a cluster, ever had.
async fn scan_server(
    courier: &Courier,
    server: usize,
    prefix: &str,
    names: &mut Names,
) -> Result<(), Fault> {
    if !courier.is_cluster() {
        return scan(courier, server, None, prefix, names).await;
    }
    let slots = courier.say(server, None, &["CLUSTER", "SLOTS"]).await?;
    for master in masters(&slots).ok_or_else(senseless)? {
        scan(courier, server, Some(&master), prefix, names).await?;
    }
    Ok(())
}

/// The masters in an answer to `CLUSTER SLOTS`.
pub(super) fn masters(slots: &Value) -> Option<BTreeSet<Node>> {
    let Value::Array(ranges) = slots else { return None };
    let master = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let Value::Array(master) = range.get(2)? else { return None };
        let [host, Value::Int(port), ..] = &master[..] else { return None };
        Some((text(host)?, u16::try_from(*port).ok()?))
    };
    ranges.iter().map(master).collect()
}

async fn scan(
    courier: &Courier,
    server: usize,
    node: Option<&Node>,
    prefix: &str,
    names: &mut Names,
) -> Result<(), Fault> {
    let mut cursor = "0".to_owned();
    loop {
        let words = ["SCAN", &cursor, "MATCH", "*:dlock:*", "COUNT", PAGE];
        let Value::Array(answer) = courier.say(server, node, &words).await? else {
            return Err(senseless());
        };
        let [next, Value::Array(keys)] = &answer[..] else { return Err(senseless()) };
        cursor = text(next).ok_or_else(senseless)?;
        for key in keys.iter().filter_map(text) {
            if let Some(name) = Keys::name_of_fence(prefix, &key) {
                names.entry(name.to_owned()).or_default();
            } else if let Some((name, number)) = Keys::slot_of_permit(prefix, &key) {
                names.entry(name.to_owned()).or_default().insert(number);
            }
        }
        if cursor == "0" || names.len() > MOST_LOCKS {
            return Ok(());
        }
    }
}

async fn infos(
    courier: &Arc<Courier>,
    prefix: &str,
    names: &[(String, BTreeSet<u32>)],
) -> Result<Vec<LockInfo>, LockError> {
    // The slots and the gate of a semaphore have fences too, and are no locks by themselves.
    let known = names.iter().filter_map(|(name, slots)| {
        let keys = Keys::new(prefix, &LockName::new(name.as_str()).ok()?).ok()?;
        Some((name, slots, keys))
    });
    let asked: Vec<_> = known
        .map(|(name, slots, keys)| (name, slots, ask(courier, &keys, Side::Exclusive), keys))
        .collect();
    let mut infos = Vec::with_capacity(asked.len());
    for (name, slots, asked, keys) in asked {
        let info = match agreed(heard(asked).await) {
            // It is no mutex, so it is a semaphore.
            Err(LockError::Backend(fault)) if fault.kind() == FaultKind::Refused => {
                let permits = Side::Permits { count: 1, limit: 1 };
                agreed(heard(ask(courier, &keys, permits)).await)
            }
            info => info,
        }?;
        if !slots.is_empty() {
            infos.push(named(slots::of_slots(courier, &keys, slots).await?, name));
        }
        if slots.is_empty() || info.locked {
            infos.push(named(info, name));
        }
    }
    Ok(infos)
}

pub(super) fn ask(courier: &Courier, keys: &Keys, side: Side) -> Vec<Asked> {
    (0..courier.servers()).map(|server| courier.run(server, side.info(keys))).collect()
}

pub(super) async fn heard(asked: Vec<Asked>) -> Vec<Result<Sight, Fault>> {
    let mut sights = Vec::with_capacity(asked.len());
    for answer in asked {
        sights.push(answer.await.and_then(|value| sight(&value).ok_or_else(senseless)));
    }
    sights
}

/// What a majority of the servers says; those that say nothing are no evidence that a lock is free.
pub(super) fn agreed(sights: Vec<Result<Sight, Fault>>) -> Result<LockInfo, LockError> {
    let needed = majority(sights.len());
    let (mut seen, mut fault) = (Vec::new(), None);
    for sight in sights {
        match sight {
            Ok(sight) => seen.push(sight),
            Err(error) => fault = Some(error),
        }
    }
    if let Some(fault) = fault
        && seen.len() < needed
    {
        return Err(failed(fault));
    }
    let mut info = LockInfo::free();
    let tokens: BTreeSet<&str> =
        seen.iter().flat_map(|sight| &sight.holders).map(|holder| &*holder.token).collect();
    for token in tokens {
        info.holders.extend(holder(token, &seen, needed));
    }
    info.locked = !info.holders.is_empty();
    // Who waits has told a majority.
    let mut waiters: Vec<usize> = seen.iter().map(|sight| sight.waiters).collect();
    waiters.sort_unstable_by(|one, other| other.cmp(one));
    info.waiters = waiters.get(needed.saturating_sub(1)).copied();
    Ok(info)
}

/// The holder of `token`, if as many servers as are `needed` know of it, for as long as they do.
fn holder(token: &str, seen: &[Sight], needed: usize) -> Option<Holder> {
    let mut leases = Vec::new();
    let (mut fence, mut alone) = (0, true);
    for sight in seen {
        if let Some(holder) = sight.holders.iter().find(|holder| holder.token == token) {
            leases.push(holder.remaining.unwrap_or(Duration::MAX));
            fence = fence.max(sight.fence);
            alone &= sight.holders.len() == 1;
        }
    }
    leases.sort_unstable_by(|one, other| other.cmp(one));
    let remaining = *leases.get(needed.checked_sub(1)?)?;
    let mut holder = Token::holder(token);
    holder.remaining = Some(remaining).filter(|remaining| *remaining < Duration::MAX);
    // A client that is none of ours has drawn no number, and of several only one has the last.
    holder.fence = Some(fence).filter(|fence| *fence > 0 && alone && holder.host.is_some());
    Some(holder)
}

fn sight(value: &Value) -> Option<Sight> {
    let Value::Array(values) = value else { return None };
    let [Value::Int(fence), Value::Int(waiters), Value::Int(ends), value, others @ ..] =
        &values[..]
    else {
        return None;
    };
    let mut sight = Sight {
        fence: u64::try_from(*fence).unwrap_or(0),
        waiters: usize::try_from(*waiters).unwrap_or(0),
        holders: Vec::new(),
    };
    let token = text(value)?;
    if !token.is_empty() {
        sight.holders.push(Seen { token, remaining: lease(*ends) });
    }
    for pair in others.chunks_exact(2) {
        let [token, Value::Int(ends)] = pair else { return None };
        let mut token = text(token)?;
        if let Some((first, number)) = token.rsplit_once(':')
            && number.parse::<u32>().is_ok()
            && Token::holder(first).host.is_some()
        {
            token = first.to_owned();
        }
        if !sight.holders.iter().any(|holder| holder.token == token) {
            sight.holders.push(Seen { token, remaining: lease(*ends) });
        }
    }
    Some(sight)
}

fn lease(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

pub(super) fn text(value: &Value) -> Option<String> {
    let Value::BulkString(bytes) = value else { return None };
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn named(mut info: LockInfo, name: &str) -> LockInfo {
    info.name = Some(name.to_owned());
    info
}

pub(super) fn majority(servers: usize) -> usize {
    servers / 2 + 1
}

pub(super) fn failed(fault: Fault) -> LockError {
    if fault.kind() == FaultKind::Refused {
        LockError::Backend(fault)
    } else {
        LockError::Connection(fault)
    }
}
