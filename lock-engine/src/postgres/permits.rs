//! The statements about permits.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use lock_proto::postgres::{Permits, Reply};
use tokio_postgres::{Client, Error};

use super::statement::{Shape, Statements, Values};

/// Takes permits: `$4` of those up to `$2` but `$3`, all or none unless `$5`, inside the gate `$1`,
/// which is given back with the last. The numbers are not tried further than needed.
pub(super) const TAKE: &str = "with open as materialized (
        select $5 or pg_catalog.pg_try_advisory_xact_lock_shared($1::bigint) as free),
    took as materialized (
        select slot.n from open, lateral (
            select pg_catalog.generate_series(1::bigint, case when open.free then $2 else 0::bigint end) as n
        ) as slot
        where case when slot.n = any($3::bigint[]) then false
            else pg_catalog.pg_try_advisory_lock($1 + slot.n) end
        limit $4::bigint),
    kept as materialized (
        select $5 or count(*) >= $4 as keeps,
        case when $5 and count(*) >= $4 then pg_catalog.pg_advisory_unlock($1) end as left
        from took)
    select took.n, kept.left, case when kept.keeps then false
        else pg_catalog.pg_advisory_unlock($1 + took.n) end as back from took, kept";

/// The locks of the permits `$2`, of which none is above `$5`.
pub(super) const OURS: &str = "select $1 + n as key from unnest($2::bigint[]) as n where n <= $5";
/// The locks of all permits up to `$5` that the session has, but `$2`.
pub(super) const ALL_BUT: &str = "select key from (
        select l.classid::bigint << 32 | l.objid::bigint as key from pg_catalog.pg_locks l
        where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
        and l.pid = pg_catalog.pg_backend_pid()
        and l.database = (select oid from pg_catalog.pg_database
            where datname = pg_catalog.current_database())) as held
    where key > $1 and key <= $1 + $5 and not key - $1 = any($2::bigint[])";

/// Gives the locks that `which` tells back, and the gate `$1` if `$3`; tells whoever is inside it.
pub(super) fn giving_back(which: &str) -> String {
    format!(
        "with keys as materialized ({which}),
        back as materialized (
            select count(*) filter (where pg_catalog.pg_advisory_unlock(key)) as n from keys),
        gate as materialized (
            select back.n, case when $3 then pg_catalog.pg_advisory_unlock($1) end as left
            from back)
        select gate.n, gate.left, case when not pg_catalog.pg_try_advisory_xact_lock_shared($1)
            then pg_catalog.pg_notify($4, '') end as told from gate"
    )
}

/// Takes what is wanted and free, but none of those that are `beside` us.
pub(super) async fn take(
    statements: &Statements,
    client: &Client,
    permits: &Permits,
    beside: &[u32],
) -> Result<Reply, Error> {
    let gate = permits.keys.permit(0);
    let limit = i64::from(permits.keys.limit());
    let taken = numbers(permits.ours.iter().chain(beside));
    let wanted = i64::from(permits.wanted);
    let values: Values<'_> = vec![&gate, &limit, &taken, &wanted, &permits.inside];
    let rows = statements.query(client, Shape::Take, &values).await?;
    let enough = rows.len() >= permits.wanted as usize;
    if !permits.inside && !enough {
        return Ok(Reply::Busy);
    }
    let mut took = Vec::with_capacity(rows.len());
    for row in &rows {
        took.extend(u32::try_from(row.try_get::<_, i64>(0)?));
    }
    if permits.inside && enough {
        unlisten(client, permits).await;
    }
    Ok(Reply::Took(took))
}

/// Gives back what is ours, and if that is in doubt all that the session has but what is `beside`.
pub(super) async fn give_back(
    statements: &Statements,
    client: &Client,
    permits: &Permits,
    beside: &[u32],
) -> Result<Reply, Error> {
    let gate = permits.keys.permit(0);
    let limit = i64::from(permits.keys.limit());
    let channel = permits.keys.channel();
    let (shape, named) = if permits.doubt {
        (Shape::GiveAllBack, numbers(beside))
    } else {
        (Shape::GiveBack, numbers(&permits.ours))
    };
    let values: Values<'_> = vec![&gate, &named, &permits.inside, &channel, &limit];
    let rows = statements.query(client, shape, &values).await?;
    if permits.inside {
        unlisten(client, permits).await;
    }
    let Some(row) = rows.first() else { return Ok(Reply::Done) };
    let back = usize::try_from(row.try_get::<_, i64>(0)?);
    Ok(Reply::Unlocked(back.is_ok_and(|back| back >= permits.ours.len())))
}

/// Whoever is inside must hear of every permit that comes back.
pub(super) async fn listen(client: &Client, permits: &Permits) -> Result<(), Error> {
    client.batch_execute(&format!("listen {}", permits.keys.channel())).await
}

/// Asked, and not waited for: what is heard too much is nobody's.
async fn unlisten(client: &Client, permits: &Permits) {
    let text = format!("unlisten {}", permits.keys.channel());
    let mut asking = pin!(client.batch_execute(&text));
    poll_fn(|cx| {
        let _ = asking.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

fn numbers<'a>(permits: impl IntoIterator<Item = &'a u32>) -> Vec<i64> {
    permits.into_iter().map(|number| i64::from(*number)).collect()
}
