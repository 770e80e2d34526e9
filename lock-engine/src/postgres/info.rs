//! Who holds what, as `pg_locks` and `pg_stat_activity` tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_proto::postgres::{AdvisoryKey, PermitKeys};
use lock_proto::{Demand, Fault, Holder, Instant, LockError, LockInfo};

use super::link::PostgresLink;
use super::orders::Rows;
use crate::{Address, Pending};

/// More locks than this are not listed.
const MOST_LOCKS: usize = 10_000;
/// What our sessions call themselves, before the host and the process.
const MARK: &str = "dlock ";

/// What the sessions of this process call themselves; a server keeps 63 bytes of it.
pub(super) fn application_name() -> String {
    let (node, pid) = (rustix::system::uname(), std::process::id());
    let host = node.nodename().to_string_lossy();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(40).collect();
    format!("{MARK}{host} {pid}")
}

pub(super) fn info(
    link: &PostgresLink,
    address: &Address,
    demand: Demand,
    now: Instant,
) -> Pending<Result<LockInfo, LockError>> {
    let subject = match demand {
        Demand::Permits { limit, .. } => link.permits_of(address, limit).map(Subject::Permits),
        Demand::Exclusive | Demand::Shared => PostgresLink::key_of(address).map(Subject::Lock),
    };
    let subject = match subject {
        Ok(subject) => subject,
        Err(error) => return Pending::ready(Err(error)),
    };
    let name = address.name().to_owned();
    let behind = link.behind(subject.queue());
    let asked = link.ask(question(&subject.condition()), now);
    Pending::asking(async move {
        let locks = gather(&asked.await.map_err(LockError::Connection)?)?;
        let mut info = subject.told(locks);
        info.name = Some(name);
        info.waiters = Some(info.waiters.unwrap_or(0) + behind);
        Ok(info)
    })
}

pub(super) fn list(link: &PostgresLink, now: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
    let asked = link.ask(question("true"), now);
    Pending::asking(async move {
        let locks = gather(&asked.await.map_err(LockError::Connection)?)?;
        let named = |(key, mut info): (AdvisoryKey, LockInfo)| {
            info.name = Some(key.to_string());
            info
        };
        Ok(locks.into_iter().take(MOST_LOCKS).map(named).collect())
    })
}

/// What is asked about.
enum Subject {
    Lock(AdvisoryKey),
    Permits(PermitKeys),
}

impl Subject {
    /// Where those who want it wait.
    fn queue(&self) -> AdvisoryKey {
        match self {
            Self::Lock(key) => *key,
            Self::Permits(keys) => keys.gate(),
        }
    }

    /// Which rows of `pg_locks` are about it.
    fn condition(&self) -> String {
        match self {
            Self::Lock(AdvisoryKey::Single(key)) => format!("l.objsubid = 1 and {KEY} = {key}"),
            Self::Lock(AdvisoryKey::Pair(first, second)) => {
                let (class, object) = (first.cast_unsigned(), second.cast_unsigned());
                format!("l.objsubid = 2 and l.classid = {class} and l.objid = {object}")
            }
            Self::Permits(keys) => {
                let (gate, last) = (keys.permit(0), keys.permit(keys.limit()));
                format!("l.objsubid = 1 and {KEY} between {gate} and {last}")
            }
        }
    }

    /// What the locks say of it. Whoever has the gate of a semaphore waits for permits.
    fn told(&self, mut locks: BTreeMap<AdvisoryKey, LockInfo>) -> LockInfo {
        let mut info = locks.remove(&self.queue()).unwrap_or_else(LockInfo::free);
        if let Self::Permits(_) = self {
            info.waiters = Some(info.waiters.unwrap_or(0) + info.holders.len());
            info.holders = locks.into_values().flat_map(|permit| permit.holders).collect();
            info.locked = !info.holders.is_empty();
        }
        info
    }
}

/// The number of a lock that has one.
const KEY: &str = "(l.classid::bigint << 32 | l.objid::bigint)";

/// Asks who holds locks of this database and who waits for them. A session that is idle since the
/// grant says how long ago that was.
fn question(condition: &str) -> String {
    format!(
        "select l.classid, l.objid, l.objsubid, l.granted, a.application_name, \
         pg_catalog.host(a.client_addr), case when a.state like 'idle%' then (1000000 * \
         extract(epoch from pg_catalog.clock_timestamp() - a.state_change))::bigint end \
         from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid \
         where l.locktype = 'advisory' and {condition} and l.database = \
         (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())"
    )
}

fn gather(rows: &Rows) -> Result<BTreeMap<AdvisoryKey, LockInfo>, LockError> {
    let mut locks = BTreeMap::new();
    for row in rows {
        let [class, object, kind, granted, application, address, silent] = row.as_slice() else {
            return Err(senseless());
        };
        let number = |text: &Option<String>| text.as_ref()?.parse::<u32>().ok();
        let (Some(class), Some(object)) = (number(class), number(object)) else {
            return Err(senseless());
        };
        let key = match kind.as_deref() {
            Some("1") => {
                let bits = u64::from(class) << 32 | u64::from(object);
                AdvisoryKey::Single(bits.cast_signed())
            }
            _ => AdvisoryKey::Pair(class.cast_signed(), object.cast_signed()),
        };
        let info: &mut LockInfo = locks.entry(key).or_insert_with(LockInfo::free);
        if granted.as_deref() == Some("t") {
            let mut holder = holder(application.as_deref(), address.as_deref());
            let silent = silent.as_ref().and_then(|text| text.parse().ok());
            holder.held_for = silent.map(Duration::from_micros);
            info.locked = true;
            info.holders.push(holder);
        } else {
            info.waiters = Some(info.waiters.unwrap_or(0) + 1);
        }
    }
    for info in locks.values_mut() {
        info.waiters.get_or_insert(0);
    }
    Ok(locks)
}

/// Sessions of ours say in their name where they run; of others the name is all there is.
fn holder(application: Option<&str>, address: Option<&str>) -> Holder {
    let mut holder = Holder::default();
    holder.host = address.map(str::to_owned);
    let ours = application.and_then(|name| name.strip_prefix(MARK)?.rsplit_once(' '));
    if let Some((host, pid)) = ours {
        holder.host = Some(host.to_owned());
        holder.pid = pid.parse().ok();
    } else {
        holder.owner = application.filter(|name| !name.is_empty()).map(str::to_owned);
    }
    holder
}

fn senseless() -> LockError {
    LockError::Backend(Fault::refused("the server answered nonsense about its locks"))
}
