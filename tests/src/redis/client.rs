//! What a server says of who is connected.

use std::collections::BTreeMap;

/// A client as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// The number by which `CLIENT KILL ID` knows it.
    pub id: u64,
    /// Where it connects from.
    pub address: String,
    /// What it calls itself, or nothing.
    pub name: String,
    /// The user that it is.
    pub user: String,
    /// How many channels it listens to.
    pub subscriptions: u64,
    /// The last command it sent.
    pub command: String,
}

impl Client {
    pub(super) fn parse(line: &str) -> Self {
        let fields: BTreeMap<&str, &str> =
            line.split(' ').filter_map(|field| field.split_once('=')).collect();
        let word = |key| fields.get(key).copied().unwrap_or_default().to_owned();
        let number = |key| fields.get(key).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        Self {
            id: number("id"),
            address: word("addr"),
            name: word("name"),
            user: word("user"),
            subscriptions: number("sub") + number("psub") + number("ssub"),
            command: word("cmd"),
        }
    }
}
