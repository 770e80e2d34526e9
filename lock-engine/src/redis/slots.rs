//! Who holds the permits of a semaphore on several servers, each of which is a lock of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use lock_proto::redis::{Keys, Side};
use lock_proto::{Fault, LockError, LockInfo};
use redis::Value;

use super::courier::Courier;
use super::info::{agreed, ask, failed, heard, majority, text};
use super::wire::senseless;

/// A semaphore of so few permits is asked for each of them; of another, the servers are searched.
const FEW: u32 = 256;
/// How many keys a server looks at in one go while it serves nobody else.
const PAGE: &str = "1000";

/// Asks for the holders of a semaphore of `limit` permits.
pub(super) async fn of_semaphore(
    courier: &Arc<Courier>,
    keys: &Keys,
    limit: u32,
) -> Result<LockInfo, LockError> {
    let numbers = if limit <= FEW { (0..limit).collect() } else { search(courier, keys).await? };
    of_slots(courier, keys, &numbers).await
}

/// Asks for the holders of the slots with these `numbers`.
pub(super) async fn of_slots(
    courier: &Arc<Courier>,
    keys: &Keys,
    numbers: &BTreeSet<u32>,
) -> Result<LockInfo, LockError> {
    let gate = ask(courier, &keys.gate(), Side::Exclusive);
    let asked: Vec<_> =
        numbers.iter().map(|number| ask(courier, &keys.permit(*number), Side::Exclusive)).collect();
    let gate = agreed(heard(gate).await)?;
    let mut info = LockInfo::free();
    for slot in asked {
        info.holders.extend(agreed(heard(slot).await)?.holders);
    }
    for holder in &mut info.holders {
        // The slot's ballot is not the semaphore's fence.
        holder.fence = None;
    }
    info.locked = !info.holders.is_empty();
    // Whoever stands at the gate has not got its permits yet.
    info.waiters = gate.waiters.map(|waiters| waiters + gate.holders.len());
    Ok(info)
}

/// The slots of which a server knows.
async fn search(courier: &Courier, keys: &Keys) -> Result<BTreeSet<u32>, LockError> {
    let (mut numbers, mut silent, servers) = (BTreeSet::new(), 0, courier.servers());
    for server in 0..servers {
        if let Err(fault) = search_server(courier, server, keys, &mut numbers).await {
            silent += 1;
            if servers - silent < majority(servers) {
                return Err(failed(fault));
            }
        }
    }
    Ok(numbers)
}

async fn search_server(
    courier: &Courier,
    server: usize,
    keys: &Keys,
    numbers: &mut BTreeSet<u32>,
) -> Result<(), Fault> {
    let (begin, mut cursor) = (keys.permits(), "0".to_owned());
    let pattern = format!("{}*", escaped(&begin));
    loop {
        let words = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", PAGE];
        let Value::Array(answer) = courier.say(server, None, &words).await? else {
            return Err(senseless());
        };
        let [next, Value::Array(found)] = &answer[..] else { return Err(senseless()) };
        cursor = text(next).ok_or_else(senseless)?;
        let found = found.iter().filter_map(text);
        numbers.extend(found.filter_map(|key| key.strip_prefix(&*begin)?.parse::<u32>().ok()));
        if cursor == "0" {
            return Ok(());
        }
    }
}

/// A pattern that only `text` matches.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if "*?[]\\".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
