//! What is on the other side of a connection, and what was made of it here.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{ConnectionId, Groups, SourceId};

use crate::sources::groups;
use crate::{Error, TenantTx};

/// What was made of something on the other side.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its id there.
    pub external_id: String,
    /// What the other side calls this state of it.
    pub version: String,
    /// Where a person finds it there.
    pub url: Option<String>,
    /// The source that was made of it.
    pub source: Option<SourceId>,
    /// Why none was made of this version.
    pub reason: Option<String>,
    /// Who sees it there, where the account tells.
    pub groups: Option<Groups>,
}

impl sqlx::FromRow<'_, PgRow> for Item {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            external_id: row.try_get("external_id")?,
            version: row.try_get("version")?,
            url: row.try_get("url")?,
            source: row
                .try_get::<Option<Uuid>, _>("source_id")?
                .map(SourceId::from),
            reason: row.try_get("reason")?,
            groups: groups(row)?,
        })
    }
}

/// Those of the given items that are known.
pub async fn items(
    tx: &mut TenantTx,
    id: ConnectionId,
    external_ids: &[String],
) -> Result<HashMap<String, Item>, Error> {
    let rows: Vec<Item> = sqlx::query_as(
        "select external_id, version, url, source_id, reason, groups from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and external_id = any($3)",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(external_ids)
    .fetch_all(tx.connection())
    .await?;
    let by_id = rows.into_iter();
    Ok(by_id.map(|item| (item.external_id.clone(), item)).collect())
}

/// Where a person finds on the other side what a source was made of.
pub async fn url(tx: &mut TenantTx, source: SourceId) -> Result<Option<String>, Error> {
    let url: Option<Option<String>> = sqlx::query_scalar(
        "select url from shard.connection_items where tenant_id = $1 and source_id = $2 limit 1",
    )
    .bind(tx.tenant_id())
    .bind(source.uuid())
    .fetch_optional(tx.connection())
    .await?;
    Ok(url.flatten())
}

/// Writes what was made of items in a round, and that others were seen in it.
pub async fn note_items(
    tx: &mut TenantTx,
    id: ConnectionId,
    round: i64,
    made: &[Item],
    seen: &[String],
) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.connection_items as i
             (tenant_id, connection_id, round, external_id, version, url, source_id, reason, groups)
         select $1, $2, $3, n.external_id, n.version, n.url, n.source_id, n.reason, string_to_array(n.groups, ',')
         from unnest($4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text[])
              as n (external_id, version, url, source_id, reason, groups)
         on conflict (tenant_id, connection_id, external_id) do update
         set round = greatest(i.round, excluded.round), version = excluded.version, url = excluded.url,
             source_id = excluded.source_id, reason = excluded.reason, groups = excluded.groups",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(round)
    .bind(
        made.iter()
            .map(|item| item.external_id.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.version.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.url.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.source.map(SourceId::uuid))
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.reason.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| Some(item.groups.as_ref()?.names().join(",")))
            .collect::<Vec<_>>(),
    )
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "update shard.connection_items set round = greatest(round, $3)
         where tenant_id = $1 and connection_id = $2 and external_id = any($4)",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(round)
    .bind(seen)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Items that the round did not see, longest unseen first.
pub async fn unseen(
    tx: &mut TenantTx,
    id: ConnectionId,
    round: i64,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar(
        "select external_id from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and round < $3 order by round, external_id limit $4",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(round)
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(ids)
}

/// Forgets items. Returns their sources.
pub async fn forget_items(
    tx: &mut TenantTx,
    id: ConnectionId,
    external_ids: &[String],
) -> Result<Vec<SourceId>, Error> {
    let sources: Vec<Option<Uuid>> = sqlx::query_scalar(
        "delete from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and external_id = any($3) returning source_id",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(external_ids)
    .fetch_all(tx.connection())
    .await?;
    Ok(sources.into_iter().flatten().map(SourceId::from).collect())
}
