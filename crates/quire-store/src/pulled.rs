//! Records that a connection reads from tables of a product: which these are, and what is known of them.

use std::collections::HashMap;

use uuid::Uuid;

use quire_types::{ConnectionId, RecordId, SourceId};

use crate::records::RecordKey;
use crate::{Error, TenantTx};

/// Notes that a connection reads these records, unless another one does. Returns how many are new to it.
pub async fn claim(
    tx: &mut TenantTx,
    connection: ConnectionId,
    keys: &[RecordKey],
) -> Result<u64, Error> {
    let done = sqlx::query(
        "update shard.records r set connection_id = $2
         from unnest($3::text[], $4::text[]) as k (type, external_id)
         where r.tenant_id = $1 and r.type = k.type and r.external_id = k.external_id and r.connection_id is null
           and exists (select from shard.connections c where c.tenant_id = $1 and c.id = $2)",
    )
    .bind(tx.tenant_id())
    .bind(connection.uuid())
    .bind(keys.iter().map(|key| key.kind.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

/// A record that is not deleted.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Known {
    id: Uuid,
    /// Its id in the product.
    pub external_id: String,
    /// The version of its newest event.
    pub version: i64,
}

impl Known {
    /// Its id here.
    pub fn id(&self) -> RecordId {
        self.id.into()
    }
}

/// Records of a type that a connection reads and that are not deleted, after that one.
pub async fn known(
    tx: &mut TenantTx,
    connection: ConnectionId,
    kind: &str,
    after: Option<RecordId>,
    limit: i64,
) -> Result<Vec<Known>, Error> {
    let rows = sqlx::query_as(
        "select id, external_id, version from shard.records
         where tenant_id = $1 and connection_id = $2 and type = $3 and not is_deleted
           and id > coalesce($4, '00000000-0000-0000-0000-000000000000'::uuid)
         order by id limit $5",
    )
    .bind(tx.tenant_id())
    .bind(connection.uuid())
    .bind(kind)
    .bind(after.map(RecordId::uuid))
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Version and whether it is deleted, of those records of a type that are known.
pub async fn versions(
    tx: &mut TenantTx,
    kind: &str,
    external_ids: &[String],
) -> Result<HashMap<String, (i64, bool)>, Error> {
    let rows: Vec<(String, i64, bool)> = sqlx::query_as(
        "select external_id, version, is_deleted from shard.records
         where tenant_id = $1 and type = $2 and external_id = any($3)",
    )
    .bind(tx.tenant_id())
    .bind(kind)
    .bind(external_ids)
    .fetch_all(tx.connection())
    .await?;
    let by_id = rows.into_iter();
    Ok(by_id
        .map(|(id, version, is_deleted)| (id, (version, is_deleted)))
        .collect())
}

/// Removes the records that a connection reads, so that they could be read anew. Returns their sources.
pub async fn forget(tx: &mut TenantTx, connection: ConnectionId) -> Result<Vec<SourceId>, Error> {
    let sources: Vec<Option<Uuid>> = sqlx::query_scalar(
        "delete from shard.records where tenant_id = $1 and connection_id = $2 returning source_id",
    )
    .bind(tx.tenant_id())
    .bind(connection.uuid())
    .fetch_all(tx.connection())
    .await?;
    Ok(sources.into_iter().flatten().map(SourceId::from).collect())
}
