//! Whether two servers did the same, as far as that can be told.

use std::collections::BTreeMap;
use std::sync::Arc;

use lock_proto::redis::Message;

use super::Seen;
use crate::redis_model::{Answer, Entry, Score, Value};

/// A timestamp in microseconds is greater, and a lease in milliseconds is smaller.
const MOMENT: i64 = 1_000_000_000_000;

/// The server's clock before and after a step, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bracket {
    pub(super) start: i64,
    pub(super) end: i64,
}

type Entries = BTreeMap<Arc<str>, Entry>;

impl Bracket {
    /// Whether `seen` is `expected`, as far as a step within this time may tell. What the step
    /// left as it was `before` must be the same to the last digit.
    pub(super) fn compare(
        self,
        before: &Entries,
        expected: &Seen,
        seen: &Seen,
    ) -> Result<(), String> {
        if !self.same_answer(&expected.answer, &seen.answer) {
            return Err(format!("expected {:?}, answered {:?}", expected.answer, seen.answer));
        }
        let pairs = || expected.messages.iter().zip(&seen.messages);
        if expected.messages.len() != seen.messages.len()
            || !pairs().all(|(expected, seen)| self.same_message(expected, seen))
        {
            let (expected, seen) = (&expected.messages, &seen.messages);
            return Err(format!("expected to be published {expected:?}, was {seen:?}"));
        }
        let mut keys: Vec<&Arc<str>> = expected.entries.keys().chain(seen.entries.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let (expected, seen) = (expected.entries.get(key), seen.entries.get(key));
            let same = match (expected, seen) {
                (Some(expected), Some(seen)) => self.same_entry(before.get(key), expected, seen),
                (Some(_), None) | (None, Some(_)) => false,
                (None, None) => true,
            };
            if !same {
                let before = before.get(key);
                return Err(format!(
                    "within {self:?} {key:?} was\n    {before:?}\n expected\n    {expected:?}\n \
                     but is\n    {seen:?}"
                ));
            }
        }
        Ok(())
    }

    /// Whether something that was there `before` ended, or may have ended, in this time.
    pub(super) fn ends_a_deadline(self, before: &Entries) -> bool {
        let near = |ms: i64| (self.start / 1000 - 2..=self.end / 1000 + 2).contains(&ms);
        before.values().any(|entry| {
            entry.expires.is_some_and(near)
                || match &entry.value {
                    Value::Text(_) => false,
                    Value::Hash(fields) => {
                        fields.values().any(|text| first(text).is_some_and(near))
                    }
                    Value::Sorted(members) => members.values().any(|score| near(score.floor())),
                }
        })
    }

    /// Whether a millisecond begins in this time.
    pub(super) fn ticks(self) -> bool {
        self.start / 1000 != self.end / 1000
    }

    fn same_answer(
        self,
        expected: &Result<Vec<Answer>, String>,
        seen: &Result<Vec<Answer>, String>,
    ) -> bool {
        match (expected, seen) {
            (Ok(expected), Ok(seen)) => {
                let mut pairs = expected.iter().zip(seen).enumerate();
                let lease = |index| lease_at(index, expected.len());
                expected.len() == seen.len()
                    && pairs.all(|(index, pair)| self.same_word(pair, lease(index)))
            }
            // A script adds where it stood.
            (Err(expected), Err(seen)) => seen.starts_with(expected),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }

    fn same_word(self, pair: (&Answer, &Answer), lease: bool) -> bool {
        match pair {
            (Answer::Text(expected), Answer::Text(seen)) => expected == seen,
            (Answer::Number(expected), Answer::Number(seen)) => {
                let left = (-1..=self.length() / 1000 + 1).contains(&(expected - seen));
                expected == seen
                    || *expected > MOMENT && self.later(*expected, *seen, 1)
                    || *expected >= 0 && lease && left
            }
            (Answer::Number(_), Answer::Text(_)) | (Answer::Text(_), Answer::Number(_)) => false,
        }
    }

    fn same_message(self, expected: &(String, String), seen: &(String, String)) -> bool {
        let messages = (Message::parse(&expected.1), Message::parse(&seen.1));
        let (Some((token, expected_grant)), Some((seen_token, grant))) = messages else {
            return expected == seen;
        };
        let fence = |message: Message| message.fence.cast_signed();
        expected.0 == seen.0
            && token == seen_token
            && expected_grant.stamp == grant.stamp
            && self.later(fence(expected_grant), fence(grant), 1)
    }

    fn same_entry(self, before: Option<&Entry>, expected: &Entry, seen: &Entry) -> bool {
        let expires = match (expected.expires, seen.expires) {
            (Some(expected), Some(seen)) => {
                let before = before.and_then(|entry| entry.expires);
                expected == seen || before != Some(expected) && self.later(expected, seen, 1000)
            }
            (expected, seen) => expected == seen,
        };
        let before = before.map(|entry| &entry.value);
        expires
            && match (&expected.value, &seen.value) {
                (Value::Text(expected), Value::Text(seen)) => {
                    let kept = before == Some(&Value::Text(expected.clone()));
                    expected == seen || !kept && self.same_text(expected, seen, 1)
                }
                (Value::Hash(expected), Value::Hash(seen)) => {
                    let old = |field| match before {
                        Some(Value::Hash(fields)) => fields.get(field),
                        Some(Value::Text(_) | Value::Sorted(_)) | None => None,
                    };
                    expected.keys().eq(seen.keys())
                        && expected.iter().zip(seen.values()).all(|((field, expected), seen)| {
                            let kept = old(field) == Some(expected);
                            expected == seen || !kept && self.same_text(expected, seen, 1000)
                        })
                }
                (Value::Sorted(expected), Value::Sorted(seen)) => {
                    let old = |member| match before {
                        Some(Value::Sorted(members)) => members.get(member),
                        Some(Value::Text(_) | Value::Hash(_)) | None => None,
                    };
                    expected.keys().eq(seen.keys())
                        && expected.iter().zip(seen.values()).all(|((member, expected), seen)| {
                            let kept = old(member) == Some(expected);
                            expected == seen || !kept && self.same_score(*expected, *seen)
                        })
                }
                (Value::Text(_) | Value::Hash(_) | Value::Sorted(_), _) => false,
            }
    }

    /// Texts that differ in their first word only, which is a moment.
    fn same_text(self, expected: &str, seen: &str, unit: i64) -> bool {
        let rest = |text: &str| text.split_once(' ').map(|(_, rest)| rest.to_owned());
        let (Some(moment), Some(seen_moment)) = (first(expected), first(seen)) else {
            return false;
        };
        rest(expected) == rest(seen) && self.later(moment, seen_moment, unit)
    }

    fn same_score(self, expected: Score, seen: Score) -> bool {
        // The places of a queue are in microseconds, the ends of leases in milliseconds.
        let unit = if expected.floor() > 1000 * MOMENT { 1 } else { 1000 };
        if unit == 1 {
            return self.later(expected.floor(), seen.floor(), 1);
        }
        self.later(expected.in_thousandths(), seen.in_thousandths(), 1)
            || self.later(expected.floor(), seen.floor(), unit)
    }

    /// Whether `seen` is `expected` or later by no more than this time, both counted in units of
    /// so many microseconds.
    fn later(self, expected: i64, seen: i64, unit: i64) -> bool {
        let rounding = i64::from(unit > 1);
        (0..=self.length() / unit + rounding).contains(&(seen - expected))
    }

    fn length(self) -> i64 {
        self.end - self.start
    }
}

/// Whether this word of an answer says how long a lease still runs.
fn lease_at(index: usize, length: usize) -> bool {
    if length > 3 { index == 2 || index > 3 } else { index == 1 }
}

fn first(text: &str) -> Option<i64> {
    text.split(' ').next()?.parse().ok()
}
