//! The keys of one server, as plain values.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::Omission;

/// What a server answers to a command for another type of key.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// What a server answers to `INCR` if there is no number.
pub const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// What a server answers a script that asks for a key which is not there, while its slot is being
/// moved to another server: by then the key may be there.
pub const STRAYED: &str = "ERR Script attempted to access a non local key in a cluster node";

/// An answer, or the error that the server would answer.
pub type Answered<T> = Result<T, String>;

/// The score of a sorted set's member, in thousandths: a lease of permits ends at a fraction of a
/// millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(i64);

impl Score {
    /// A whole number.
    #[must_use]
    pub const fn whole(number: i64) -> Self {
        Self(number * 1000)
    }

    /// So many thousandths.
    #[must_use]
    pub const fn thousandths(number: i64) -> Self {
        Self(number)
    }

    /// Without what is behind the point.
    #[must_use]
    pub const fn floor(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// In thousandths.
    #[must_use]
    pub const fn in_thousandths(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.floor(), self.0.rem_euclid(1000))
    }
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever compares it must know every case")]
pub enum Value {
    /// A string.
    Text(Arc<str>),
    /// A hash.
    Hash(BTreeMap<Arc<str>, Arc<str>>),
    /// A sorted set.
    Sorted(BTreeMap<Arc<str>, Score>),
}

/// A key's value and its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is what a key has")]
pub struct Entry {
    /// What stands there.
    pub value: Value,
    /// The last millisecond in which it is there, if it is ever to end.
    pub expires: Option<i64>,
}

/// Every key of a server, its clock, and what it has published.
///
/// Each function is the Redis command of its name. A key whose time is up is as good as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keyspace {
    micros: i64,
    entries: BTreeMap<Arc<str>, Entry>,
    published: VecDeque<(Arc<str>, Arc<str>)>,
    /// Whether what is missing may be on another server.
    migrating: bool,
    omission: Option<Omission>,
}

impl Keyspace {
    pub(super) fn without(omission: Omission) -> Self {
        Self { omission: Some(omission), ..Self::default() }
    }

    /// Whether the scripts leave that out.
    pub(super) fn omits(&self, omission: Omission) -> bool {
        self.omission == Some(omission)
    }

    pub(super) fn set_clock(&mut self, micros: i64) {
        self.micros = micros;
        let now = self.now_ms();
        self.entries.retain(|_, entry| entry.expires.is_none_or(|end| now <= end));
    }

    pub(super) fn set_migrating(&mut self, migrating: bool) {
        self.migrating = migrating;
    }

    pub(super) fn put(&mut self, key: &str, entry: Entry) {
        self.entries.insert(key.into(), entry);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn get(&self, key: &str) -> Answered<Option<Arc<str>>> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Hash(_) | Value::Sorted(_)) => Err(WRONG_TYPE.into()),
        }
    }

    /// `SET`, with `PX` if it is to end, else without an end.
    pub(super) fn set(&mut self, key: &str, text: &str, ttl: Option<i64>) -> Answered<()> {
        self.entry(key)?;
        let expires = ttl.map(|ttl| self.now_ms() + ttl);
        self.put(key, Entry { value: Value::Text(text.into()), expires });
        Ok(())
    }

    /// `SET KEEPTTL`.
    pub(super) fn set_keeping_ttl(&mut self, key: &str, text: &str) -> Answered<()> {
        let expires = self.entry(key)?.and_then(|entry| entry.expires);
        self.put(key, Entry { value: Value::Text(text.into()), expires });
        Ok(())
    }

    pub(super) fn incr(&mut self, key: &str) -> Answered<i64> {
        let before = self.get(key)?.map_or(Ok(0), |text| text.parse::<i64>());
        let number = before.ok().and_then(|number| number.checked_add(1)).ok_or(NOT_A_NUMBER)?;
        self.set_keeping_ttl(key, &number.to_string())?;
        Ok(number)
    }

    pub(super) fn del(&mut self, key: &str) -> Answered<bool> {
        self.entry(key)?;
        Ok(self.entries.remove(key).is_some())
    }

    /// Milliseconds until the key ends; -1 if never, -2 if there is none.
    pub(super) fn pttl(&self, key: &str) -> Answered<i64> {
        Ok(self.entry(key)?.map_or(-2, |entry| self.ends_in(entry)))
    }

    /// Milliseconds until a key ends; -1 if never.
    pub(super) fn ends_in(&self, entry: &Entry) -> i64 {
        entry.expires.map_or(-1, |end| end - self.now_ms())
    }

    pub(super) fn pexpire(&mut self, key: &str, ttl: i64) -> Answered<()> {
        self.pexpireat(key, self.now_ms() + ttl)
    }

    pub(super) fn pexpireat(&mut self, key: &str, end: i64) -> Answered<()> {
        self.entry(key)?;
        if end <= self.now_ms() {
            self.entries.remove(key);
        } else if let Some(entry) = self.entries.get_mut(key) {
            entry.expires = Some(end);
        }
        Ok(())
    }

    pub(super) fn hget(&self, key: &str, field: &str) -> Answered<Option<Arc<str>>> {
        Ok(self.hash(key)?.and_then(|fields| fields.get(field)).cloned())
    }

    pub(super) fn hset(&mut self, key: &str, field: &str, text: &str) -> Answered<()> {
        self.hash(key)?;
        let empty = || Entry { value: Value::Hash(BTreeMap::new()), expires: None };
        let entry = self.entries.entry(key.into()).or_insert_with(empty);
        if let Value::Hash(fields) = &mut entry.value {
            fields.insert(field.into(), text.into());
        }
        Ok(())
    }

    pub(super) fn hdel(&mut self, key: &str, field: &str) -> Answered<bool> {
        self.hash(key)?;
        let Some(Value::Hash(fields)) = self.value_mut(key) else { return Ok(false) };
        let removed = fields.remove(field).is_some();
        if fields.is_empty() {
            self.entries.remove(key);
        }
        Ok(removed)
    }

    pub(super) fn hvals(&self, key: &str) -> Answered<Vec<Arc<str>>> {
        Ok(self.hash(key)?.into_iter().flat_map(BTreeMap::values).cloned().collect())
    }

    pub(super) fn zadd(&mut self, key: &str, score: Score, member: &str) -> Answered<()> {
        self.sorted(key)?;
        let empty = || Entry { value: Value::Sorted(BTreeMap::new()), expires: None };
        let entry = self.entries.entry(key.into()).or_insert_with(empty);
        if let Value::Sorted(members) = &mut entry.value {
            members.insert(member.into(), score);
        }
        Ok(())
    }

    pub(super) fn zscore(&self, key: &str, member: &str) -> Answered<Option<Score>> {
        Ok(self.sorted(key)?.and_then(|members| members.get(member)).copied())
    }

    pub(super) fn zrem(&mut self, key: &str, member: &str) -> Answered<bool> {
        self.sorted(key)?;
        let Some(Value::Sorted(members)) = self.value_mut(key) else { return Ok(false) };
        let removed = members.remove(member).is_some();
        if members.is_empty() {
            self.entries.remove(key);
        }
        Ok(removed)
    }

    /// `ZREMRANGEBYSCORE -inf score`.
    pub(super) fn zrem_up_to(&mut self, key: &str, score: Score) -> Answered<()> {
        self.sorted(key)?;
        let Some(Value::Sorted(members)) = self.value_mut(key) else { return Ok(()) };
        members.retain(|_, own| *own > score);
        if members.is_empty() {
            self.entries.remove(key);
        }
        Ok(())
    }

    pub(super) fn zcard(&self, key: &str) -> Answered<usize> {
        Ok(self.sorted(key)?.map_or(0, BTreeMap::len))
    }

    pub(super) fn zfirst(&self, key: &str) -> Answered<Option<(Arc<str>, Score)>> {
        let members = self.sorted(key)?.into_iter().flatten();
        let first = members.min_by_key(|(member, score)| (**score, *member));
        Ok(first.map(|(member, score)| (member.clone(), *score)))
    }

    pub(super) fn zlast(&self, key: &str) -> Answered<Option<(Arc<str>, Score)>> {
        let members = self.sorted(key)?.into_iter().flatten();
        let last = members.max_by_key(|(member, score)| (**score, *member));
        Ok(last.map(|(member, score)| (member.clone(), *score)))
    }

    pub(super) fn zrank(&self, key: &str, member: &str) -> Answered<Option<usize>> {
        let Some(members) = self.sorted(key)? else { return Ok(None) };
        let Some(own) = members.get(member) else { return Ok(None) };
        let before = members.iter().filter(|(name, score)| (*score, &***name) < (own, member));
        Ok(Some(before.count()))
    }

    /// `ZRANGEBYSCORE (score +inf`, in order.
    pub(super) fn zrange_after(&self, key: &str, score: Score) -> Answered<Vec<(Arc<str>, Score)>> {
        let members = self.sorted(key)?.into_iter().flatten();
        let mut later: Vec<_> = members
            .filter(|(_, own)| **own > score)
            .map(|(member, own)| (member.clone(), *own))
            .collect();
        later.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        Ok(later)
    }

    pub(super) fn publish(&mut self, channel: &str, text: &str) {
        self.published.push_back((channel.into(), text.into()));
    }

    pub(super) fn take_published(&mut self) -> VecDeque<(Arc<str>, Arc<str>)> {
        std::mem::take(&mut self.published)
    }

    pub(super) fn exists(&self, key: &str) -> Answered<bool> {
        Ok(self.entry(key)?.is_some())
    }

    /// `TIME`, in microseconds.
    pub(super) fn now_us(&self) -> i64 {
        self.micros
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.micros.div_euclid(1000)
    }

    pub(super) fn entries(&self) -> &BTreeMap<Arc<str>, Entry> {
        &self.entries
    }

    pub(super) fn entries_mut(&mut self) -> &mut BTreeMap<Arc<str>, Entry> {
        &mut self.entries
    }

    fn value(&self, key: &str) -> Answered<Option<&Value>> {
        Ok(self.entry(key)?.map(|entry| &entry.value))
    }

    /// What stands at a key, unless that is not for this server to say.
    fn entry(&self, key: &str) -> Answered<Option<&Entry>> {
        match self.entries.get(key) {
            None if self.migrating => Err(STRAYED.into()),
            entry => Ok(entry),
        }
    }

    fn value_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    fn hash(&self, key: &str) -> Answered<Option<&BTreeMap<Arc<str>, Arc<str>>>> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Hash(fields)) => Ok(Some(fields)),
            Some(Value::Text(_) | Value::Sorted(_)) => Err(WRONG_TYPE.into()),
        }
    }

    fn sorted(&self, key: &str) -> Answered<Option<&BTreeMap<Arc<str>, Score>>> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Sorted(members)) => Ok(Some(members)),
            Some(Value::Text(_) | Value::Hash(_)) => Err(WRONG_TYPE.into()),
        }
    }
}
