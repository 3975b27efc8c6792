//! What nothing names any more, and what must be gone: originals without a row, and every row of a tenant.
//! Decides nothing about when.

use sqlx::AssertSqlSafe;

use quire_types::Timestamp;

use crate::{Error, ObjectKey, TenantTx};

/// Those of these objects that no version of a source names.
pub async fn unnamed(tx: &mut TenantTx, keys: &[ObjectKey]) -> Result<Vec<ObjectKey>, Error> {
    let keys: Vec<&str> = keys.iter().map(ObjectKey::as_str).collect();
    let unnamed: Vec<String> = sqlx::query_scalar(
        "select k.key from unnest($2::text[]) as k (key)
         where not exists (select from shard.source_versions v
                           where v.tenant_id = $1 and v.object_key = k.key)
         order by k.key",
    )
    .bind(tx.tenant_id())
    .bind(keys)
    .fetch_all(tx.connection())
    .await?;
    unnamed
        .iter()
        .map(|key| ObjectKey::stored(tx.placement(), key))
        .collect()
}

/// The originals that the sweeps before found without a row, and when they first did.
pub async fn orphans(tx: &mut TenantTx) -> Result<Vec<(ObjectKey, Timestamp)>, Error> {
    let rows: Vec<(String, Timestamp)> = sqlx::query_as(
        "select object_key, found_at from shard.orphans where tenant_id = $1 order by object_key",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    rows.iter()
        .map(|(key, at)| Ok((ObjectKey::stored(tx.placement(), key)?, *at)))
        .collect()
}

/// Notes which originals have no row now. Those that were noted before keep their instant; others are
/// forgotten.
pub async fn note_orphans(
    tx: &mut TenantTx,
    keys: &[ObjectKey],
    now: Timestamp,
) -> Result<(), Error> {
    let keys: Vec<&str> = keys.iter().map(ObjectKey::as_str).collect();
    sqlx::query("delete from shard.orphans where tenant_id = $1 and not object_key = any($2)")
        .bind(tx.tenant_id())
        .bind(&keys)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "insert into shard.orphans (tenant_id, object_key, found_at)
         select $1, key, $3 from unnest($2::text[]) as k (key) on conflict do nothing",
    )
    .bind(tx.tenant_id())
    .bind(&keys)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A table of the shard that has rows of tenants, as the catalogue names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantTable(String);

impl TenantTable {
    /// Schema and name, quoted where SQL needs it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Every table of the shard with rows of tenants; what refers to a table comes before it.
pub async fn tenant_tables(tx: &mut TenantTx) -> Result<Vec<TenantTable>, Error> {
    let rows: Vec<(String, Vec<String>)> = sqlx::query_as(
        "with tables as (
             select c.oid, format('%I.%I', n.nspname, c.relname) as name
             from pg_class c
             join pg_namespace n on n.oid = c.relnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
             where n.nspname = 'shard' and c.relkind in ('r', 'p') and not c.relispartition
         )
         select t.name, array(select distinct child.name from pg_constraint f
                              join tables child on child.oid = f.conrelid
                              where f.contype = 'f' and f.confrelid = t.oid and f.conrelid <> t.oid)
         from tables t order by t.name",
    )
    .fetch_all(tx.connection())
    .await?;
    let mut rest = rows;
    let mut ordered: Vec<TenantTable> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let is_done = |name: &String| ordered.iter().any(|table| table.0 == *name);
        let free = rest
            .iter()
            .position(|(_, children)| children.iter().all(is_done));
        // Tables that refer to each other in a circle have no order; what cascades settles it.
        let (name, _) = rest.remove(free.unwrap_or(0));
        ordered.push(TenantTable(name));
    }
    Ok(ordered)
}

/// Deletes at most so many of the tenant's rows in a table, whatever they say, and returns how many.
pub async fn erase_rows(tx: &mut TenantTx, table: &TenantTable, limit: i64) -> Result<u64, Error> {
    let TenantTable(name) = table;
    let statement = format!(
        "delete from {name} where tenant_id = $1
         and ctid = any(array(select ctid from {name} where tenant_id = $1 limit $2))"
    );
    let done = sqlx::query(AssertSqlSafe(statement))
        .bind(tx.tenant_id())
        .bind(limit)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}

/// How many rows of a table are the tenant's.
pub async fn count_rows(tx: &mut TenantTx, table: &TenantTable) -> Result<i64, Error> {
    let statement = format!(
        "select count(*) from {} where tenant_id = $1",
        table.as_str()
    );
    let count = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(tx.tenant_id())
        .fetch_one(tx.connection())
        .await?;
    Ok(count)
}
