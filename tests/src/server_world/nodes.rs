//! One server, or the nodes of a cluster between which the slot of the lock moves.

use std::sync::Arc;

use crate::redis_model::{Entry, Snapshot, Store, Value};

/// How many masters a cluster has.
pub(super) const MASTERS: usize = 3;

/// A server, or all of them.
#[derive(Debug)]
pub(super) struct Nodes {
    /// One for a single server.
    shards: Vec<Shard>,
    pub(super) reshard: Option<Reshard>,
}

/// A master, and a node that is to take over from it.
///
/// The two have the numbers `shard` and `shard + MASTERS`.
#[derive(Debug)]
struct Shard {
    store: Store,
    /// What the other node has got to know.
    replica: Snapshot,
    master: usize,
    other: Other,
    slot: Slot,
}

/// What a master knows of the slot.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Which shard has it.
    owner: usize,
    /// To which one it moves.
    migrating: Option<usize>,
}

/// What the node is that is not the master.
#[derive(Debug)]
enum Other {
    Replica,
    Down,
    /// It was the master, can't reach the others, and serves who reaches it until it gives up.
    Alone {
        store: Store,
        slot: Slot,
        until: u64,
    },
}

/// A move of the slot, as its administrator goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reshard {
    from: usize,
    to: usize,
    /// Whether the new owner knows that it is.
    given: bool,
    pub(super) since: u64,
    /// Whether a master was replaced meanwhile.
    pub(super) upset: bool,
}

/// Why a node does not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detour {
    /// It is for another node, for good.
    Moved(usize),
    /// The keys may be on another node by now.
    Ask,
    /// Some of the keys are here, and the others may be elsewhere.
    TryAgain,
    /// The node can't reach the others.
    Down,
    /// There is nobody.
    Refused,
}

/// What became of the move in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Opened,
    Moved(Arc<str>),
    Ended,
    Known,
}

impl Nodes {
    pub(super) fn single(store: Store) -> Self {
        Self { shards: vec![Shard::new(0, store)], reshard: None }
    }

    pub(super) fn cluster(store: &Store) -> Self {
        let shards = (0..MASTERS).map(|number| Shard::new(number, store.clone())).collect();
        Self { shards, reshard: None }
    }

    /// Says what time it is, on every node.
    pub(super) fn set_clock(&mut self, micros: u64) {
        for shard in &mut self.shards {
            shard.store.set_clock(micros);
            if let Other::Alone { store, .. } = &mut shard.other {
                store.set_clock(micros);
            }
        }
    }

    pub(super) fn now_us(&self) -> i64 {
        self.shards[0].store.now_us()
    }

    /// What stands at a key, wherever that is.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.shards.iter().find_map(|shard| shard.store.entries().get(key))
    }

    /// Every key of every master.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.shards.iter().flat_map(|shard| shard.store.entries())
    }

    /// Whether somebody goes by `token` at one of the keys.
    pub(super) fn holds(&self, keys: [&str; 2], token: &str) -> bool {
        let held = |key| match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Text(holder)) => **holder == *token,
            Some(Value::Sorted(members)) => members.contains_key(token),
            Some(Value::Hash(_)) | None => false,
        };
        keys.into_iter().any(held)
    }

    /// Somebody deletes a key, or it is evicted.
    pub(super) fn delete(&mut self, key: &str) {
        for shard in &mut self.shards {
            shard.store.delete(key);
        }
    }

    /// What another library does to take a mutex, whose driver asks wherever it is sent.
    pub(super) fn set_nx_elsewhere(&mut self, key: &str, value: &str, ttl_ms: i64) -> bool {
        let slot = self.shards[self.owner()].slot;
        let shard = slot.migrating.unwrap_or(slot.owner);
        self.entry(key).is_none() && self.shards[shard].store.foreign_set_nx(key, value, ttl_ms)
    }

    /// The replicas hear of what their masters have done.
    pub(super) fn replicate(&mut self) {
        for shard in &mut self.shards {
            shard.replica = shard.store.snapshot();
        }
    }

    /// The single server starts anew, with what it wrote last or nothing.
    pub(super) fn restart(&mut self, with_nothing: bool) {
        let shard = &mut self.shards[0];
        let disk = if with_nothing { Snapshot::default() } else { shard.replica.clone() };
        shard.store.restart_with(disk);
    }

    /// The keys of a node.
    pub(super) fn store(&mut self, node: usize) -> &mut Store {
        let shard = &mut self.shards[node % MASTERS];
        match &mut shard.other {
            Other::Alone { store, .. } if shard.master != node => store,
            Other::Alone { .. } | Other::Replica | Other::Down => &mut shard.store,
        }
    }

    /// Whether `node` serves a request for `keys` at `now`.
    pub(super) fn check_way(&self, node: usize, keys: &[&str], now: u64) -> Result<(), Detour> {
        let number = node % MASTERS;
        let shard = &self.shards[number];
        let (store, slot) = match &shard.other {
            _ if shard.master == node => (&shard.store, shard.slot),
            Other::Replica => return Err(Detour::Moved(self.shards[shard.slot.owner].master)),
            Other::Down => return Err(Detour::Refused),
            Other::Alone { until, .. } if now >= *until => return Err(Detour::Down),
            Other::Alone { store, slot, .. } => (store, *slot),
        };
        let there = keys.iter().filter(|key| store.entries().contains_key(**key)).count();
        match slot.migrating {
            _ if slot.owner != number => Err(Detour::Moved(self.shards[slot.owner].master)),
            Some(_) if there == 0 => Err(Detour::Ask),
            Some(_) if there < keys.len() => Err(Detour::TryAgain),
            Some(_) | None => Ok(()),
        }
    }

    /// Says whether a node serves the slot while it moves away from it.
    pub(super) fn is_open(&self, node: usize) -> bool {
        let shard = &self.shards[node % MASTERS];
        match &shard.other {
            _ if shard.master == node => shard.slot.migrating.is_some(),
            Other::Alone { slot, .. } => slot.migrating.is_some(),
            Other::Replica | Other::Down => false,
        }
    }

    /// Which node a master believes to have the slot.
    pub(super) fn believed_by(&self, master: usize) -> usize {
        let shard = &self.shards[master % self.shards.len()];
        self.shards[shard.slot.owner].master
    }

    /// The move goes one step on, or begins at the shard `next` after that of the owner. `choice`
    /// says which key goes next.
    pub(super) fn go_on(&mut self, next: usize, choice: usize, now: u64) -> Progress {
        let Some(Reshard { from, to, given, .. }) = self.reshard else {
            let from = self.owner();
            let to = (from + 1 + next % (MASTERS - 1)) % MASTERS;
            self.shards[from].slot.migrating = Some(to);
            self.reshard = Some(Reshard { from, to, given: false, since: now, upset: false });
            return Progress::Opened;
        };
        if given {
            self.shards[from].slot = Slot { owner: to, ..Slot::default() };
            self.reshard = None;
            return Progress::Known;
        }
        let slot = &mut self.shards[from].slot;
        // A master that has replaced another may know nothing of the move, until it is told again.
        if slot.migrating.is_none() {
            slot.migrating = (choice == 0).then_some(to);
            return Progress::Opened;
        }
        let keys = self.shards[from].store.entries().keys();
        let keys: Vec<Arc<str>> = keys.cloned().collect();
        if keys.is_empty() {
            self.shards[to].slot = Slot { owner: to, ..Slot::default() };
            self.reshard = self.reshard.map(|reshard| Reshard { given: true, ..reshard });
            return Progress::Ended;
        }
        let key = &keys[choice % keys.len()];
        let entry = self.shards[from].store.entries()[key].clone();
        self.shards[from].store.delete(key);
        self.shards[to].store.put(key, entry);
        Progress::Moved(Arc::clone(key))
    }

    /// A master hears from the others who has the slot.
    pub(super) fn gossip(&mut self, number: usize) {
        let (owner, slot) = (self.owner(), &mut self.shards[number % MASTERS].slot);
        if slot.migrating.is_none() {
            slot.owner = owner;
        }
    }

    /// A master is replaced by its replica, if it has one; the answer is which one was.
    ///
    /// The replica has what the master had, or what it was told last; it knows of a move of the
    /// slot, or not. Of the old master nothing is left, or it serves on until `alone_until`.
    pub(super) fn fail_over(&mut self, number: usize, forgets: Forgets) -> Option<usize> {
        let shard = &mut self.shards[number % MASTERS];
        if !matches!(shard.other, Other::Replica) {
            shard.other = Other::Replica;
            return None;
        }
        let former = shard.master;
        shard.master = (former + MASTERS) % (2 * MASTERS);
        let mut store = shard.store.clone();
        if forgets.writes {
            store.restart_with(shard.replica.clone());
        }
        let slot = shard.slot;
        if forgets.the_move {
            shard.slot = Slot { owner: slot.owner, ..Slot::default() };
        }
        let old = std::mem::replace(&mut shard.store, store);
        shard.other = match forgets.alone_until {
            Some(until) => Other::Alone { store: old, slot, until },
            None => Other::Down,
        };
        if let Some(reshard) = &mut self.reshard {
            reshard.upset = true;
        }
        Some(former)
    }

    /// All nodes are there, and know who is master.
    pub(super) fn heal(&mut self) {
        for shard in &mut self.shards {
            shard.other = Other::Replica;
        }
    }

    /// Who has the slot: of two that think so, the one that was given it.
    fn owner(&self) -> usize {
        if let Some(reshard) = self.reshard {
            return if reshard.given { reshard.to } else { reshard.from };
        }
        let owns = |(number, shard): &(usize, &Shard)| shard.slot.owner == *number;
        let owner = self.shards.iter().enumerate().find(owns);
        owner.expect("whoever gave it away knows to whom").0
    }
}

/// What is lost when a master is replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forgets {
    pub(super) writes: bool,
    pub(super) the_move: bool,
    pub(super) alone_until: Option<u64>,
}

impl Shard {
    fn new(number: usize, store: Store) -> Self {
        let (replica, slot) = (Snapshot::default(), Slot::default());
        Self { store, replica, master: number, other: Other::Replica, slot }
    }
}
