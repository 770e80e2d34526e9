//! Who holds what, as `pg_locks` and `pg_stat_activity` tell it.

use std::collections::BTreeMap;

use lock_proto::postgres::AdvisoryKey;
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
    _demand: Demand,
    now: Instant,
) -> Pending<Result<LockInfo, LockError>> {
    let key = match PostgresLink::key_of(address) {
        Ok(key) => key,
        Err(error) => return Pending::ready(Err(error)),
    };
    let name = address.name().to_owned();
    let behind = link.behind(key);
    let asked = link.ask(question(Some(key)), now);
    Pending::asking(async move {
        let mut locks = gather(&asked.await.map_err(LockError::Connection)?)?;
        let mut info = locks.remove(&key).unwrap_or_else(LockInfo::free);
        info.name = Some(name);
        info.waiters = Some(info.waiters.unwrap_or(0) + behind);
        Ok(info)
    })
}

pub(super) fn list(link: &PostgresLink, now: Instant) -> Pending<Result<Vec<LockInfo>, LockError>> {
    let asked = link.ask(question(None), now);
    Pending::asking(async move {
        let locks = gather(&asked.await.map_err(LockError::Connection)?)?;
        let named = |(key, mut info): (AdvisoryKey, LockInfo)| {
            info.name = Some(key.to_string());
            info
        };
        Ok(locks.into_iter().take(MOST_LOCKS).map(named).collect())
    })
}

/// Asks who holds one lock of this database and who waits for it, or any.
fn question(key: Option<AdvisoryKey>) -> String {
    let only = key.map_or_else(String::new, |key| {
        let (class, object, kind) = match key {
            AdvisoryKey::Single(key) => {
                let bits = key.cast_unsigned();
                (bits >> 32, bits & u64::from(u32::MAX), 1)
            }
            AdvisoryKey::Pair(first, second) => {
                (u64::from(first.cast_unsigned()), u64::from(second.cast_unsigned()), 2)
            }
        };
        format!(" and l.classid = {class} and l.objid = {object} and l.objsubid = {kind}")
    });
    format!(
        "select l.classid, l.objid, l.objsubid, l.granted, a.application_name, \
         pg_catalog.host(a.client_addr) \
         from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid \
         where l.locktype = 'advisory' and l.database = \
         (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()){only}"
    )
}

fn gather(rows: &Rows) -> Result<BTreeMap<AdvisoryKey, LockInfo>, LockError> {
    let mut locks = BTreeMap::new();
    for row in rows {
        let [class, object, kind, granted, application, address] = row.as_slice() else {
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
            info.locked = true;
            info.holders.push(holder(application.as_deref(), address.as_deref()));
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
