//! Segments that nothing names: from the moment when that is so until their objects are gone.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{SegmentId, Timestamp};

use super::{Segment, uuids};
use crate::{Error, TenantTx};

/// Retires the segments that no source names: nothing in them is alive.
pub async fn retire_unnamed(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query(
        "update shard.segments g set retired_at = now()
         where g.tenant_id = $1 and g.retired_at is null and g.built_by is null
           and not exists (select from shard.sources s
                           where s.tenant_id = $1 and s.segment_id = g.id)",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A segment that nothing names any more and whose object is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Its id.
    pub id: SegmentId,
    /// The size of its object.
    pub bytes: i64,
    /// Since when nothing names it.
    pub retired_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Retired {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            bytes: row.try_get("bytes")?,
            retired_at: row.try_get("retired_at")?,
        })
    }
}

/// The segments that nothing names, oldest first; without those that a build is making.
pub async fn all_retired(tx: &mut TenantTx) -> Result<Vec<Retired>, Error> {
    let found = sqlx::query_as(
        "select id, bytes, retired_at from shard.segments
         where tenant_id = $1 and retired_at is not null
           and not id in (select unnest(new_segments) from shard.index_builds
                          where tenant_id = $1 and state = 'building')
         order by retired_at, id",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// Condemns the segments that were retired before an instant: no rollback brings them back from now on, so
/// their objects may go. Returns them, those that were condemned earlier included. Spares what a build is making.
pub async fn condemn(tx: &mut TenantTx, before: Timestamp) -> Result<Vec<Retired>, Error> {
    let found = sqlx::query_as(
        "update shard.segments set condemned_at = coalesce(condemned_at, now())
         where tenant_id = $1 and retired_at < $2
           and not id in (select unnest(new_segments) from shard.index_builds
                          where tenant_id = $1 and state = 'building')
         returning id, bytes, retired_at",
    )
    .bind(tx.tenant_id())
    .bind(before)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// These segments as the manifest knows them, retired ones included, oldest first. Those that are gone or
/// condemned are left out.
pub async fn kept(tx: &mut TenantTx, ids: &[SegmentId]) -> Result<Vec<Segment>, Error> {
    let found = sqlx::query_as(
        "select id, rows, bytes, dimension, footer, created_at from shard.segments
         where tenant_id = $1 and id = any($2) and condemned_at is null order by id",
    )
    .bind(tx.tenant_id())
    .bind(uuids(ids))
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// Forgets retired segments whose objects are gone.
pub async fn forget(tx: &mut TenantTx, ids: &[SegmentId]) -> Result<(), Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    sqlx::query(
        "delete from shard.segments
         where tenant_id = $1 and id = any($2) and retired_at is not null",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The database's time, which is what ages of segments are measured by.
pub async fn now(tx: &mut TenantTx) -> Result<Timestamp, Error> {
    Ok(sqlx::query_scalar("select now()")
        .fetch_one(tx.connection())
        .await?)
}
