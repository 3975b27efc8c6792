//! Records of other products: the newest state of each, in whatever order the news came.
//!
//! An event counts when its (version, deletion, content hash) is greater than what is kept, so events commute
//! and repeat without effect; deletions stay as tombstones. What counted is queued for a task, which makes a
//! source of it.

mod hear;
mod types;

use std::collections::HashMap;

use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use quire_types::{Groups, Lane, NotebookId, RecordId, RecordState, SourceId, Timestamp};

use crate::sources::{decode, groups};
use crate::{Error, Page, PageRequest, TenantTx};

pub use hear::hear;
pub use types::{RecordType, TypedValue, set_type, set_values, types, unset_type};

/// A thing that records are about, in the product's own words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    /// What it is: `job`, `client`, `vendor`, `company`.
    pub kind: String,
    /// Its id in the product.
    pub id: String,
}

/// The name of a record in the product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// What it is: `invoice`, `daily_log`.
    pub kind: String,
    /// Its id in the product.
    pub id: String,
}

/// One piece of news.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which record.
    pub key: RecordKey,
    /// What it is about; only a deletion may not know.
    pub entity: Option<EntityKey>,
    /// What people call the entity.
    pub entity_name: Option<String>,
    /// Its place among the events of the record.
    pub version: i64,
    /// Whether the record is gone.
    pub is_deleted: bool,
    /// The whole record; an empty object when it is gone.
    pub fields: Value,
    /// Made from entity, fields and groups.
    pub content_hash: Vec<u8>,
    /// How urgent it is.
    pub lane: Lane,
    /// Who made the change, as the product says.
    pub origin: Option<String>,
    /// Who sees it; everybody where there are none.
    pub groups: Option<Groups>,
}

impl Event {
    /// What decides which of two events of a record counts.
    pub fn order(&self) -> (i64, bool, &[u8]) {
        (self.version, self.is_deleted, &self.content_hash)
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is the newest state of its record.
    Applied,
    /// Something newer is known.
    Stale,
    /// It was heard before.
    Duplicate,
}

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id here.
    pub id: RecordId,
    /// Its name in the product.
    pub key: RecordKey,
    /// What it is about.
    pub entity: Option<EntityKey>,
    /// The notebook of the entity, once it has one.
    pub notebook: Option<NotebookId>,
    /// The version of its newest event.
    pub version: i64,
    /// Whether it is gone.
    pub is_deleted: bool,
    /// The whole record.
    pub fields: Value,
    /// Who made the last change.
    pub origin: Option<String>,
    /// How far it has come.
    pub state: RecordState,
    /// Why it failed, or what was odd.
    pub reason: Option<String>,
    /// The source that shows it.
    pub source: Option<SourceId>,
    /// When it was last heard of.
    pub changed_at: Timestamp,
    /// What people call the entity.
    pub entity_name: Option<String>,
    /// Who sees it; everybody where there are none.
    pub groups: Option<Groups>,
}

impl sqlx::FromRow<'_, PgRow> for Record {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let entity: (Option<String>, Option<String>) =
            (row.try_get("entity_type")?, row.try_get("entity_id")?);
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            key: RecordKey {
                kind: row.try_get("type")?,
                id: row.try_get("external_id")?,
            },
            entity: match entity {
                (Some(kind), Some(id)) => Some(EntityKey { kind, id }),
                _ => None,
            },
            notebook: row
                .try_get::<Option<Uuid>, _>("notebook_id")?
                .map(NotebookId::from),
            version: row.try_get("version")?,
            is_deleted: row.try_get("is_deleted")?,
            fields: row.try_get::<Json<Value>, _>("fields")?.0,
            origin: row.try_get("origin")?,
            state: decode(row.try_get("state")?)?,
            reason: row.try_get("reason")?,
            source: row
                .try_get::<Option<Uuid>, _>("source_id")?
                .map(SourceId::from),
            changed_at: row.try_get("changed_at")?,
            entity_name: row.try_get("entity_name")?,
            groups: groups(row)?,
        })
    }
}

/// Lanes in the order of their urgency.
fn number(lane: Lane) -> i16 {
    match lane {
        Lane::Realtime => 0,
        Lane::Standard => 1,
        Lane::Batch => 2,
    }
}

const RECORD: &str = "select r.*, e.notebook_id, e.name as entity_name from shard.records r
    left join shard.entities e
      on e.tenant_id = r.tenant_id and e.type = r.entity_type and e.external_id = r.entity_id
    where r.tenant_id = $1";

/// The records that have waited longest in a lane.
pub async fn queued(tx: &mut TenantTx, lane: Lane, limit: i64) -> Result<Vec<Record>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{RECORD} and r.state = 'queued' and r.lane = $2 order by r.changed_at limit $3"
    )))
    .bind(tx.tenant_id())
    .bind(number(lane))
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// One record.
pub async fn get(tx: &mut TenantTx, id: RecordId) -> Result<Record, Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{RECORD} and r.id = $2")))
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NOT_FOUND)
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this type.
    pub kind: Option<String>,
    /// With this id in the product.
    pub external_id: Option<String>,
    /// About an entity of this type.
    pub entity_type: Option<String>,
    /// About the entity with this id.
    pub entity_id: Option<String>,
    /// In this state.
    pub state: Option<RecordState>,
}

/// Records in order of their first event.
pub async fn list(
    tx: &mut TenantTx,
    selection: &Selection,
    page: PageRequest,
) -> Result<Page<Record>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{RECORD} and r.id > $2 and ($4::text is null or r.type = $4)
           and ($5::text is null or r.external_id = $5) and ($6::text is null or r.entity_type = $6)
           and ($7::text is null or r.entity_id = $7) and ($8::text is null or r.state = $8)
         order by r.id limit $3"
    )))
    .bind(tx.tenant_id())
    .bind(page.sql_after())
    .bind(page.sql_limit())
    .bind(&selection.kind)
    .bind(&selection.external_id)
    .bind(&selection.entity_type)
    .bind(&selection.entity_id)
    .bind(selection.state.map(RecordState::as_str))
    .fetch_all(tx.connection())
    .await?;
    Ok(page.page(rows))
}

/// How a tenant's records are.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Records by type and state.
    pub counts: Vec<(String, RecordState, i64)>,
    /// Since when the oldest queued one waits.
    pub queued_since: Option<Timestamp>,
}

/// How the tenant's records are.
pub async fn summary(tx: &mut TenantTx) -> Result<Summary, Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select type, state, count(*) from shard.records where tenant_id = $1 group by 1, 2 order by 1, 2",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    let queued_since = sqlx::query_scalar(
        "select min(changed_at) from shard.records where tenant_id = $1 and state = 'queued'",
    )
    .bind(tx.tenant_id())
    .fetch_one(tx.connection())
    .await?;
    let counts: Result<Vec<_>, sqlx::Error> = rows
        .into_iter()
        .map(|(kind, state, count)| Ok((kind, decode(state)?, count)))
        .collect();
    Ok(Summary {
        counts: counts?,
        queued_since,
    })
}

/// Queues failed records again. Returns how many.
pub async fn retry(tx: &mut TenantTx) -> Result<u64, Error> {
    requeue(tx, "r.state = 'failed'", None).await
}

/// Queues all records of a type again, because its template changed. Returns how many.
pub async fn render_again(tx: &mut TenantTx, kind: &str) -> Result<u64, Error> {
    requeue(
        tx,
        "r.state in ('searchable', 'failed') and r.type = $2",
        Some(kind),
    )
    .await
}

async fn requeue(tx: &mut TenantTx, which: &'static str, kind: Option<&str>) -> Result<u64, Error> {
    let query = sqlx::query(sqlx::AssertSqlSafe(format!(
        "update shard.records r set state = 'queued', reason = null, lane = 2 where r.tenant_id = $1 and {which}"
    )))
    .bind(tx.tenant_id());
    let query = match kind {
        Some(kind) => query.bind(kind),
        None => query,
    };
    Ok(query.execute(tx.connection()).await?.rows_affected())
}

/// The rows of these records, locked until the transaction ends, with version and state as they are now.
pub async fn lock(
    tx: &mut TenantTx,
    ids: &[RecordId],
) -> Result<HashMap<RecordId, (i64, RecordState)>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(
        "select id, version, state from shard.records
         where tenant_id = $1 and id = any($2) order by type, external_id for update",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    let locked: Result<_, sqlx::Error> = rows
        .into_iter()
        .map(|(id, version, state)| Ok((id.into(), (version, decode(state)?))))
        .collect();
    Ok(locked?)
}

/// Where a record has come to.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The record.
    pub id: RecordId,
    /// Its state from now on.
    pub state: RecordState,
    /// Why it failed, or what was odd.
    pub reason: Option<String>,
    /// The source that shows it.
    pub source: Option<SourceId>,
}

/// Notes where records have come to.
pub async fn settle(tx: &mut TenantTx, settled: &[Settled]) -> Result<(), Error> {
    sqlx::query(
        "update shard.records r set state = s.state, reason = s.reason, source_id = s.source_id
         from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[]) as s (id, state, reason, source_id)
         where r.tenant_id = $1 and r.id = s.id",
    )
    .bind(tx.tenant_id())
    .bind(settled.iter().map(|one| one.id.uuid()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.state.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.reason.as_deref()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.source.map(SourceId::uuid)).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes that records are not shown as they are; search goes on showing what they were before.
pub async fn fail(tx: &mut TenantTx, ids: &[RecordId], reason: &str) -> Result<(), Error> {
    sqlx::query(
        "update shard.records set state = 'failed', reason = $3
         where tenant_id = $1 and id = any($2) and state = 'queued' and not is_deleted",
    )
    .bind(tx.tenant_id())
    .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(reason)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Ties an entity to a notebook, unless another entity has it. Says whether it is tied.
pub async fn tie_notebook(
    tx: &mut TenantTx,
    entity: &EntityKey,
    notebook: NotebookId,
) -> Result<bool, Error> {
    let tied = sqlx::query(
        "update shard.entities e set notebook_id = $4
         where e.tenant_id = $1 and e.type = $2 and e.external_id = $3
           and not exists (select from shard.entities o
                           where o.tenant_id = $1 and o.notebook_id = $4
                             and (o.type, o.external_id) <> ($2, $3))",
    )
    .bind(tx.tenant_id())
    .bind(&entity.kind)
    .bind(&entity.id)
    .bind(notebook.uuid())
    .execute(tx.connection())
    .await?;
    Ok(tied.rows_affected() == 1)
}

const NOT_FOUND: Error = Error::NotFound { what: "record" };
