//! Asks servers what the doctor wants to know.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use lock_proto::redis::{Arrangement, ClockReading, Finding, Reading, examine};
use lock_proto::{Fault, LockError};
use redis::{FromRedisValue, from_redis_value};

use super::courier::Courier;
use super::info::masters;
use super::setup::Topology;
use super::transport::Node;
use super::wire::senseless;
use super::{Redis, fault_of};
use crate::{Clock, Pending, Timers};

/// Between two looks at a clock. Round trips of 10 ms leave 1 % to be told from 4 % then.
const BETWEEN: Duration = Duration::from_secs(1);

/// Whom there is to examine.
#[derive(Clone, Debug)]
pub struct Roster {
    arrangement: Arrangement,
    names: Arc<[String]>,
}

/// One server to be examined.
#[derive(Clone)]
struct Patient {
    name: String,
    server: usize,
    node: Option<Node>,
}

impl Roster {
    /// The servers of `topology`, by their addresses.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let address = |client: &redis::Client| client.get_connection_info().addr().to_string();
        let (arrangement, names) = match topology {
            Topology::Servers(clients) if clients.len() > 1 => {
                (Arrangement::Voting, clients.iter().map(address).collect())
            }
            Topology::Servers(clients) => {
                (Arrangement::Single, clients.iter().map(address).collect())
            }
            Topology::Cluster(_) => (Arrangement::Cluster, ["the cluster".to_owned()].into()),
            Topology::Sentinels { master, .. } => (Arrangement::Sentinel, [master.clone()].into()),
        };
        Self { arrangement, names }
    }
}

impl Redis {
    /// Says what is wrong with the servers of `roster`. It takes about a second.
    ///
    /// The answer is an error if no server can be asked.
    pub fn examine(&self, roster: &Roster) -> Pending<Result<Vec<Finding>, LockError>> {
        let (courier, roster) = (Arc::clone(self.engine.link().courier()), roster.clone());
        Pending::asking(async move {
            let timers = Timers::started().map_err(LockError::Backend)?;
            let patients = patients(&courier, &roster).await.map_err(LockError::Connection)?;
            let reading = |patient| read(Arc::clone(&courier), timers.clone(), patient);
            let readings = all(patients.into_iter().map(reading)).await;
            let findings = examine(roster.arrangement, &readings, own_clock());
            let faults: Vec<&Fault> = findings.iter().filter_map(unreachable).collect();
            match faults.first() {
                Some(fault) if faults.len() == readings.len() => {
                    Err(LockError::Connection((*fault).clone()))
                }
                Some(_) | None => Ok(findings),
            }
        })
    }
}

/// The servers of `roster`; of a cluster, its masters.
async fn patients(courier: &Courier, roster: &Roster) -> Result<Vec<Patient>, Fault> {
    if roster.arrangement != Arrangement::Cluster {
        let names = roster.names.iter().cloned().enumerate();
        return Ok(names.map(|(server, name)| Patient { name, server, node: None }).collect());
    }
    let slots = courier.say(0, None, &["CLUSTER", "SLOTS"]).await?;
    let nodes = masters(&slots).ok_or_else(senseless)?;
    let patient = |node: Node| Patient {
        name: format!("{}:{}", node.0, node.1),
        server: 0,
        node: Some(node),
    };
    Ok(nodes.into_iter().map(patient).collect())
}

fn unreachable(finding: &Finding) -> Option<&Fault> {
    if let Finding::Unreachable { fault, .. } = finding { Some(fault) } else { None }
}

async fn read(courier: Arc<Courier>, timers: Timers, patient: Patient) -> Reading {
    let first = clock(&courier, &patient).await;
    let info: Result<String, Fault> = ask(&courier, &patient, &["INFO"]).await;
    let settings = match &info {
        Ok(_) => ask(&courier, &patient, &["CONFIG", "GET", "appendfsync"]).await,
        Err(fault) => Err(fault.clone()),
    };
    let mut reading = Reading::new(&patient.name, info);
    // Who may not read settings is told the rest.
    let settings: BTreeMap<String, String> = settings.unwrap_or_default();
    for (name, value) in settings {
        reading = reading.with_setting(&name, &value);
    }
    let Ok(first) = first else { return reading };
    timers.sleep_until(first.answered + BETWEEN).await;
    reading = reading.with_clock(first);
    match clock(&courier, &patient).await {
        Ok(second) => reading.with_clock(second),
        Err(_) => reading,
    }
}

async fn clock(courier: &Courier, patient: &Patient) -> Result<ClockReading, Fault> {
    let asked = Clock::System.now();
    let (seconds, micros): (u64, u64) = ask(courier, patient, &["TIME"]).await?;
    let time = Duration::from_secs(seconds) + Duration::from_micros(micros);
    Ok(ClockReading { asked, answered: Clock::System.now(), time })
}

async fn ask<T: FromRedisValue>(
    courier: &Courier,
    patient: &Patient,
    words: &[&str],
) -> Result<T, Fault> {
    let value = courier.say(patient.server, patient.node.as_ref(), words).await?;
    from_redis_value(value).map_err(|error| fault_of(error.into()))
}

fn own_clock() -> Option<ClockReading> {
    let now = Clock::System.now();
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(ClockReading { asked: now, answered: now, time })
}

/// Does all of it at once.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
