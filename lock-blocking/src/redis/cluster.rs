//! A cluster: which node has which keys, and a lane to each node that is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lock_engine::redis::{Inbox, Parcel, Transport};
use lock_proto::Fault;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisResult, ServerErrorKind, Value,
};

use super::ear::Ear;
use super::lane::Lane;
use super::place::{Patience, Place, at, unconnected};

/// A parcel that nodes send to one another more often than this comes back.
const MOST_HOPS: u32 = 5;

/// A host and a port.
pub(super) type Node = (String, u16);

/// What a node says of keys that it doesn't have.
pub(super) struct Moved {
    slot: u16,
    to: Node,
}

/// Connections to the nodes of one cluster, for plain threads.
pub(crate) struct Cluster(Arc<Map>);

/// Which node has which keys.
///
/// A node that was given keys away says to whom, and that is remembered. When a node can't be
/// reached, another is asked how the keys are distributed now.
pub(super) struct Map {
    /// The nodes that were named, all of which are talked to like the first.
    seeds: Vec<Client>,
    like: ConnectionInfo,
    patience: Patience,
    ear: Arc<Ear>,
    state: Mutex<State>,
    me: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// By the first slot: the last slot, and who has them.
    ranges: BTreeMap<u16, (u16, Node)>,
    /// What was learnt since.
    moved: BTreeMap<u16, Node>,
    lanes: BTreeMap<Node, Arc<Lane>>,
    closed: bool,
}

impl Cluster {
    /// Asks one of the nodes that are named how the keys are distributed.
    pub(crate) fn connect(
        seeds: Vec<Client>,
        patience: Patience,
        inbox: &Inbox,
    ) -> Result<Self, Fault> {
        let Some(first) = seeds.first() else {
            return Err(Fault::not_sent("no node of the cluster was named"));
        };
        let like = first.get_connection_info().clone();
        // A node that is gone may be replaced sooner than it would be given up.
        let connect = patience.connect.min(patience.answer);
        let patience = Patience { connect, ..patience };
        let ear = Ear::new(Place::Any(seeds.clone()), patience, inbox);
        let state = Mutex::default();
        let map = Arc::new_cyclic(|me: &Weak<Map>| Map {
            seeds,
            like,
            patience,
            ear,
            state,
            me: me.clone(),
        });
        map.ask(map.seeds.clone())?;
        Ok(Self(map))
    }
}

impl Transport for Cluster {
    fn servers(&self) -> usize {
        1
    }

    fn is_cluster(&self) -> bool {
        true
    }

    fn send(&self, parcel: Parcel) {
        self.0.send(parcel, 0);
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Map {
    /// Sends a parcel on to the node that another named.
    pub(super) fn redirect(&self, parcel: Parcel, hops: u32, moved: Moved, from: &Place) {
        let Moved { slot, to: (mut host, port) } = moved;
        if host.is_empty()
            && let Place::Server(client) = from
        {
            host = host_of(client);
        }
        self.state().moved.insert(slot, (host, port));
        self.send(parcel, hops);
    }

    /// Asks the other nodes how the keys are distributed now.
    pub(super) fn refresh(&self, avoid: &Place) {
        let mut nodes = self.nodes();
        nodes.extend(self.seeds.iter().cloned());
        if let Place::Server(avoid) = avoid {
            let address = |client: &Client| client.get_connection_info().addr().to_string();
            nodes.retain(|node| address(node) != address(avoid));
        }
        // If nobody answers there will be another time.
        let _ = self.ask(nodes);
    }

    fn send(&self, parcel: Parcel, hops: u32) {
        let named = parcel.node().map(|(host, port)| (host.to_owned(), port));
        let slot = parcel.slot();
        match self.lane(|state| named.or_else(|| state.owner(slot?))) {
            Ok(lane) => lane.send(parcel, hops),
            Err(fault) => parcel.fail(fault),
        }
    }

    /// The lane to a node; to any if it is not known which, since that one will tell.
    fn lane(&self, node: impl FnOnce(&State) -> Option<Node>) -> Result<Arc<Lane>, Fault> {
        let mut state = self.state();
        if state.closed {
            return Err(Fault::not_sent("the connections to the cluster were closed"));
        }
        let any = |state: &State| state.ranges.values().next().map(|(_, node)| node.clone());
        let Some(node) = node(&state).or_else(|| any(&state)) else {
            return Err(Fault::not_sent("no node of the cluster has any keys"));
        };
        if let Some(lane) = state.lanes.get(&node) {
            return Ok(Arc::clone(lane));
        }
        let client =
            self.client(node.clone()).map_err(|error| unconnected(error, self.patience))?;
        let place = Place::Server(client);
        let lane = Lane::start(place, self.patience, &self.ear, self.me.clone(), None)?;
        state.lanes.insert(node, Arc::clone(&lane));
        Ok(lane)
    }

    /// Asks one after another, until one answers.
    fn ask(&self, nodes: Vec<Client>) -> Result<(), Fault> {
        let mut last = Fault::not_sent("no node of the cluster is left to ask");
        for node in nodes {
            match ranges(&node, self.patience) {
                Ok(ranges) if !ranges.is_empty() => {
                    self.learn(ranges);
                    return Ok(());
                }
                Ok(_) => last = Fault::not_sent("the keys of the cluster have not been given out"),
                Err(error) => last = unconnected(error, self.patience),
            }
        }
        Err(last)
    }

    fn learn(&self, ranges: BTreeMap<u16, (u16, Node)>) {
        let mut state = self.state();
        let (kept, gone) = std::mem::take(&mut state.lanes)
            .into_iter()
            .partition(|(node, _)| ranges.values().any(|(_, owner)| owner == node));
        state.lanes = kept;
        state.ranges = ranges;
        state.moved.clear();
        drop(state);
        let gone: BTreeMap<Node, Arc<Lane>> = gone;
        gone.into_values().for_each(|lane| lane.close());
        let mut nodes = self.nodes();
        nodes.extend(self.seeds.iter().cloned());
        self.ear.turn_to(Place::Any(nodes));
    }

    fn nodes(&self) -> Vec<Client> {
        let nodes: Vec<Node> = self.state().ranges.values().map(|(_, node)| node.clone()).collect();
        nodes.into_iter().filter_map(|node| self.client(node).ok()).collect()
    }

    fn client(&self, node: Node) -> RedisResult<Client> {
        Client::open(self.like.clone().set_addr(at(self.like.addr(), node)?))
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let lanes = std::mem::take(&mut state.lanes);
        drop(state);
        lanes.into_values().for_each(|lane| lane.close());
        self.ear.close();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn owner(&self, slot: u16) -> Option<Node> {
        if let Some(node) = self.moved.get(&slot) {
            return Some(node.clone());
        }
        let (_, (last, node)) = self.ranges.range(..=slot).next_back()?;
        (slot <= *last).then(|| node.clone())
    }
}

/// Where replies say that the keys are, unless a part was carried out here, or the parcel was sent on
/// too often already.
pub(super) fn moved(replies: &RedisResult<Vec<Value>>, hops: u32) -> Option<Moved> {
    let Ok([Value::ServerError(error), others @ ..]) = replies.as_deref() else { return None };
    if !others.iter().all(|other| matches!(other, Value::ServerError(_))) {
        return None;
    }
    if error.kind() != Some(ServerErrorKind::Moved) || hops >= MOST_HOPS {
        return None;
    }
    let (slot, address) = error.details()?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    Some(Moved { slot: slot.parse().ok()?, to: (host.to_owned(), port.parse().ok()?) })
}

/// Asks a node which master has which slots.
fn ranges(node: &Client, patience: Patience) -> RedisResult<BTreeMap<u16, (u16, Node)>> {
    let mut connection = Place::Server(node.clone()).connect(patience)?;
    let answer = redis::cmd("CLUSTER").arg("SLOTS").query::<Value>(&mut connection)?;
    let senseless = || (ErrorKind::Parse, "CLUSTER SLOTS was answered with nonsense").into();
    let Value::Array(entries) = answer else { return Err(senseless()) };
    entries.iter().map(|entry| range(entry, node).ok_or_else(senseless)).collect()
}

fn range(entry: &Value, asked: &Client) -> Option<(u16, (u16, Node))> {
    let Value::Array(entry) = entry else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &entry[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &master[..] else { return None };
    let known = if let Value::BulkString(host) = host { &host[..] } else { b"" };
    // Where it was asked, if it doesn't know better.
    let host = match known {
        b"" | b"?" => host_of(asked),
        host => String::from_utf8_lossy(host).into_owned(),
    };
    let port = u16::try_from(*port).ok()?;
    Some((u16::try_from(*first).ok()?, (u16::try_from(*last).ok()?, (host, port))))
}

fn host_of(client: &Client) -> String {
    let address = client.get_connection_info().addr();
    if let ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } = address {
        return host.clone();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(wire: &[&str]) -> RedisResult<Vec<Value>> {
        wire.iter().map(|reply| redis::parse_redis_value(reply.as_bytes())).collect()
    }

    #[test]
    fn a_parcel_of_which_a_part_was_carried_out_is_not_sent_elsewhere() {
        let elsewhere = "-MOVED 7 other:6379\r\n";
        let to = |replies| moved(&replies, 0).map(|moved| moved.to);
        let other = Some(("other".to_owned(), 6379));
        assert_eq!(to(replies(&[elsewhere])), other);
        assert_eq!(to(replies(&[elsewhere, elsewhere])), other);
        assert_eq!(to(replies(&[elsewhere, ":1\r\n"])), None);
    }
}
