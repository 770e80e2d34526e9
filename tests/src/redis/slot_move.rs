//! Moving a slot of a cluster to another master, key by key, as `redis-cli --cluster reshard` does.

use redis::{RedisError, RedisResult};

use super::Server;
use super::cluster::{Cluster, asked_for_view, id};

/// For how long a node that sends keys waits for the one that takes them, in milliseconds.
const TRANSFER_MS: &str = "5000";
/// More keys than a slot of the tests has.
const MOST_KEYS: &str = "1000";

/// A slot that is open: one master has some of its keys, and another the rest.
#[derive(Debug)]
pub struct SlotMove<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: usize,
    to: usize,
    /// What the new master is called.
    id: String,
}

impl Cluster {
    /// Opens a slot, to be moved from one master to another.
    ///
    /// # Errors
    ///
    /// If one of the nodes refuses.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) -> RedisResult<SlotMove<'_>> {
        let (source, target) = (&self.nodes()[from], &self.nodes()[to]);
        let name = |node: &Server| Ok::<_, RedisError>(id(node, &asked_for_view(node)?));
        let (slot, source_id, id) = (slot.to_string(), name(source)?, name(target)?);
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id])?;
        source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id])?;
        Ok(SlotMove { cluster: self, slot, from, to, id })
    }
}

impl SlotMove<'_> {
    /// The keys that are not moved yet.
    ///
    /// # Errors
    ///
    /// If the old master does not answer.
    pub fn keys(&self) -> RedisResult<Vec<String>> {
        let keys = ["CLUSTER", "GETKEYSINSLOT", &self.slot, MOST_KEYS];
        Ok(redis::from_redis_value(self.source().command(&keys)?)?)
    }

    /// Moves one key; that it is gone by now is no error.
    ///
    /// # Errors
    ///
    /// If one of the nodes refuses.
    pub fn move_key(&self, key: &str) -> RedisResult<()> {
        let port = self.target().port().to_string();
        // What an earlier move left there that came to nothing is older.
        let words = ["MIGRATE", "127.0.0.1", &port, key, "0", TRANSFER_MS, "REPLACE"];
        self.source().command(&words).map(drop)
    }

    /// Moves what is left, and gives the slot to its new master.
    ///
    /// # Errors
    ///
    /// If one of the nodes refuses.
    pub fn end(&self) -> RedisResult<()> {
        loop {
            let keys = self.keys()?;
            if keys.is_empty() {
                break;
            }
            keys.iter().try_for_each(|key| self.move_key(key))?;
        }
        let owned = ["CLUSTER", "SETSLOT", &self.slot, "NODE", &self.id];
        // First the new master, so that there is always one that serves.
        self.target().command(&owned)?;
        self.source().command(&owned)?;
        Ok(())
    }

    /// Gives the move up, wherever the nodes are with it: the keys that were moved are lost.
    pub fn give_up(self) {
        for node in self.cluster.nodes() {
            // A node that is no master has no slot to close.
            node.command(&["CLUSTER", "SETSLOT", &self.slot, "STABLE"]).ok();
        }
    }

    fn source(&self) -> &Server {
        &self.cluster.nodes()[self.from]
    }

    fn target(&self) -> &Server {
        &self.cluster.nodes()[self.to]
    }
}
