//! What stands for a lock of any name.

use std::collections::BTreeSet;

use lock_proto::LockName;
use lock_proto::postgres::{AdvisoryKey, PermitKeys};
use lock_proto::redis::{Keys, slot};

use super::number;
use crate::entropy::Entropy;

/// File names are short and plain, and differ as their names do.
pub(super) fn file_name(bytes: &[u8]) {
    let (one, other) = halves(bytes);
    let file = lock_proto::file::file_name(&one);
    assert!(file.chars().count() <= 64 && file.ends_with(".lock"), "{file:?}");
    let plain = |letter: char| letter.is_alphanumeric() || letter == '_';
    assert!(file.trim_end_matches(".lock").chars().all(plain), "{file:?}");
    assert_eq!(one == other, file == lock_proto::file::file_name(&other), "{one:?}, {other:?}");
}

/// The keys of a lock lie in one slot, say whose they are, and are those of no other lock.
pub(super) fn redis_keys(bytes: &[u8]) {
    let number = u32::from(bytes.first().copied().unwrap_or(0));
    let (prefix, rest) = halves(bytes.get(1..).unwrap_or_default());
    let (one, other) = halves(rest.as_bytes());
    let keys = |name: &str| Keys::new(&prefix, &LockName::new(name).expect("it is short"));
    let marked = |name: &str| format!("{prefix}{name}").contains(":dlock:");
    let Ok(ours) = keys(&one) else {
        return assert!(marked(&one), "{one:?} is refused");
    };
    assert!(!marked(&one), "{one:?} would meet the keys of another lock");
    assert_eq!(ours.lock(), format!("{prefix}{one}"));
    assert_eq!(Keys::name_of_fence(&prefix, ours.fence()), Some(&*one));
    assert_eq!(Keys::slot_of_permit(&prefix, ours.permit(number).lock()), Some((&*one, number)));
    let all = everything(&ours, number);
    assert!(all.iter().all(|key| slot(key) == slot(ours.lock())), "{all:?}");
    if let Some(theirs) = keys(&other).ok().filter(|_| one != other) {
        let met = everything(&theirs, number);
        assert!(all.is_disjoint(&met), "{one:?} and {other:?} meet");
    }
}

fn everything(keys: &Keys, number: u32) -> BTreeSet<String> {
    let (permit, gate) = (keys.permit(number), keys.gate());
    let mut all = Vec::new();
    for keys in [keys, &permit, &gate] {
        all.extend([keys.lock(), keys.fence(), keys.waiting(), keys.writers()].map(String::from));
        all.extend([keys.queue(), keys.readers(), &keys.gone("token")].map(String::from));
    }
    let count = all.len();
    let all = BTreeSet::from_iter(all);
    assert_eq!(all.len(), count, "two keys are one: {all:?}");
    all
}

/// What an advisory lock is called, names it; what is no name of a key is hashed.
pub(super) fn advisory_key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let key = AdvisoryKey::from_name(&text);
    match AdvisoryKey::from_exact_name(&text) {
        Ok(exact) => assert_eq!(exact, key, "{text:?}"),
        Err(_) => assert!(matches!(key, AdvisoryKey::Single(_)), "{text:?} is {key:?}"),
    }
    let mut entropy = Entropy::new(bytes.to_vec());
    let (first, second) = (number(&mut entropy), number(&mut entropy));
    let pair = AdvisoryKey::Pair(first as i32, second as i32);
    for key in [key, pair, AdvisoryKey::Single(first.cast_signed())] {
        let shown = key.to_string();
        assert_eq!(AdvisoryKey::from_exact_name(&shown).ok(), Some(key), "{shown}");
        assert_eq!(PermitKeys::gate_of(&format!("dlock_{shown}")), Some(key), "{shown}");
    }
    let limit = second as u32;
    let permits = PermitKeys::new(&LockName::new(&*text).expect("it is short"), limit);
    assert_eq!(PermitKeys::gate_of(&permits.channel()), Some(permits.gate()), "{text:?}");
    let AdvisoryKey::Single(gate) = permits.gate() else { panic!("a gate is a single number") };
    assert!(permits.permit(limit) == gate + i64::from(limit), "{text:?}: {limit} permits");
    assert!(PermitKeys::gate_of(&text).is_none() || text.starts_with("dlock_"));
}

/// Two names: what stands before the first NUL, and after it.
fn halves(bytes: &[u8]) -> (String, String) {
    let mut halves = bytes.splitn(2, |byte| *byte == 0).map(String::from_utf8_lossy);
    let mut half = || halves.next().unwrap_or_default().into_owned();
    (half(), half())
}
