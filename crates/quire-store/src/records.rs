//! Records of other products: the newest state of each, in whatever order the news came.
//!
//! An event counts when its (version, deletion, content hash) is greater than what is kept, so events commute
//! and repeat without effect; deletions stay as tombstones. What counted is queued for a task, which makes a
//! source of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use quire_types::{Groups, Lane, NotebookId, RecordId, RecordState, SourceId, Timestamp};

use crate::corpus::{self, Change};
use crate::sources::{decode, groups};
use crate::{Error, Page, PageRequest, TenantTx};

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

/// Takes events in. Says what became of each, in their order.
pub async fn hear(tx: &mut TenantTx, events: &[Event]) -> Result<Vec<Heard>, Error> {
    // One statement meets a row once, so of several events of a record the last in order goes; rows are in
    // the order of their keys, so that two callers can't wait for each other.
    let mut last: BTreeMap<&RecordKey, &Event> = BTreeMap::new();
    for event in events {
        let kept = last.entry(&event.key).or_insert(event);
        if event.order() > kept.order() {
            *kept = event;
        }
    }
    name_entities(tx, last.values().copied()).await?;
    let applied = upsert(tx, &last).await?;
    if last.values().any(|event| event.groups.is_some()) {
        regroup(tx, &applied).await?;
    }
    let unchanged: Vec<&RecordKey> = last
        .keys()
        .filter(|key| !applied.contains(**key))
        .copied()
        .collect();
    let kept = orders(tx, &unchanged).await?;
    // The first of equal events counts as the one that was heard.
    let mut is_told: HashMap<&RecordKey, bool> = HashMap::new();
    Ok(events
        .iter()
        .map(|event| {
            let winner = last.get(&event.key).map(|winner| winner.order());
            let is_winner = winner == Some(event.order());
            match kept.get(&event.key) {
                None if is_winner => match is_told.insert(&event.key, true) {
                    None => Heard::Applied,
                    Some(_) => Heard::Duplicate,
                },
                None => Heard::Stale,
                Some((version, is_deleted, hash)) => {
                    if event.order() == (*version, *is_deleted, hash) {
                        Heard::Duplicate
                    } else {
                        Heard::Stale
                    }
                }
            }
        })
        .collect())
}

async fn name_entities<'a>(
    tx: &mut TenantTx,
    events: impl Iterator<Item = &'a Event>,
) -> Result<(), Error> {
    let mut named: BTreeMap<&EntityKey, (i64, Option<&str>)> = BTreeMap::new();
    for event in events {
        let Some(entity) = &event.entity else {
            continue;
        };
        let name = event.entity_name.as_deref();
        let new = (
            if name.is_some() {
                event.version
            } else {
                i64::MIN
            },
            name,
        );
        let kept = named.entry(entity).or_insert(new);
        *kept = (*kept).max(new);
    }
    sqlx::query(
        "insert into shard.entities as e (tenant_id, type, external_id, name_version, name)
         select $1, n.* from unnest($2::text[], $3::text[], $4::bigint[], $5::text[])
             as n (type, external_id, name_version, name)
         where not exists (
             select from shard.entities k
             where k.tenant_id = $1 and k.type = n.type and k.external_id = n.external_id
               and (k.name_version, coalesce(k.name, '')) >= (n.name_version, coalesce(n.name, '')))
         on conflict (tenant_id, type, external_id) do update
         set name = excluded.name, name_version = excluded.name_version
         where (excluded.name_version, excluded.name) > (e.name_version, coalesce(e.name, ''))",
    )
    .bind(tx.tenant_id())
    .bind(
        named
            .keys()
            .map(|key| key.kind.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(named.keys().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .bind(
        named
            .values()
            .map(|(version, _)| *version)
            .collect::<Vec<_>>(),
    )
    .bind(named.values().map(|(_, name)| *name).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Writes what is newer than what is kept. Content that did not change needs no task.
async fn upsert(
    tx: &mut TenantTx,
    last: &BTreeMap<&RecordKey, &Event>,
) -> Result<HashSet<RecordKey>, Error> {
    let events: Vec<&Event> = last.values().copied().collect();
    let text = |of: fn(&Event) -> Option<&str>| -> Vec<Option<String>> {
        events
            .iter()
            .map(|event| of(event).map(str::to_owned))
            .collect()
    };
    let rows: Vec<(String, String)> = sqlx::query_as(
        "insert into shard.records as r
             (tenant_id, type, external_id, id, entity_type, entity_id, version, is_deleted, content_hash, fields,
              origin, lane, groups, state)
         select $1, n.type, n.external_id, n.id, n.entity_type, n.entity_id, n.version, n.is_deleted, n.hash,
                n.fields, n.origin, n.lane, string_to_array(n.groups, ','),
                case when n.is_deleted then 'deleted' else 'queued' end
         from unnest($2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::bool[],
                     $9::bytea[], $10::jsonb[], $11::text[], $12::smallint[], $13::text[])
              as n (type, external_id, id, entity_type, entity_id, version, is_deleted, hash, fields, origin, lane, groups)
         on conflict (tenant_id, type, external_id) do update
         set entity_type = excluded.entity_type, entity_id = excluded.entity_id,
             version = excluded.version, is_deleted = excluded.is_deleted,
             content_hash = excluded.content_hash, fields = excluded.fields, origin = excluded.origin,
             groups = excluded.groups,
             lane = case when r.state = 'queued' then least(r.lane, excluded.lane) else excluded.lane end,
             state = case
                 when excluded.is_deleted and r.source_id is null then 'deleted'
                 when excluded.content_hash = r.content_hash and r.state in ('searchable', 'deleted')
                     then r.state
                 else 'queued' end,
             reason = null, changed_at = now()
         where (excluded.version, excluded.is_deleted, excluded.content_hash)
             > (r.version, r.is_deleted, r.content_hash)
         returning r.type, r.external_id",
    )
    .bind(tx.tenant_id())
    .bind(events.iter().map(|event| event.key.kind.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.key.id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(text(|event| event.entity.as_ref().map(|entity| entity.kind.as_str())))
    .bind(text(|event| event.entity.as_ref().map(|entity| entity.id.as_str())))
    .bind(events.iter().map(|event| event.version).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.is_deleted).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.content_hash.as_slice()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| Json(&event.fields)).collect::<Vec<_>>())
    .bind(text(|event| event.origin.as_deref()))
    .bind(events.iter().map(|event| number(event.lane)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| Some(event.groups.as_ref()?.names().join(","))).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(kind, id)| RecordKey { kind, id })
        .collect())
}

/// Whoever is not to see records any longer does not from now on. Who sees more does when a task has made the new text:
/// the old one was not meant for them.
async fn regroup(tx: &mut TenantTx, applied: &HashSet<RecordKey>) -> Result<(), Error> {
    let rows: Vec<(Uuid, Option<i32>)> = sqlx::query_as(
        "update shard.sources s
         set groups = case when s.groups is null then r.groups
                           else array(select name from unnest(s.groups) as name where name = any(r.groups)) end,
             updated_at = now()
         from unnest($2::text[], $3::text[]) as k (type, external_id)
         join shard.records r on r.tenant_id = $1 and r.type = k.type and r.external_id = k.external_id
         where s.tenant_id = $1 and s.id = r.source_id and not r.is_deleted
           and r.groups is not null and (s.groups is null or not s.groups <@ r.groups)
         returning s.id, s.live_version",
    )
    .bind(tx.tenant_id())
    .bind(applied.iter().map(|key| key.kind.as_str()).collect::<Vec<_>>())
    .bind(applied.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    let live = rows.into_iter();
    let live: Vec<(SourceId, i32)> = live
        .filter_map(|(id, version)| Some((id.into(), version?)))
        .collect();
    corpus::record(tx, Change::Regrouped, &live).await
}

type Order = (i64, bool, Vec<u8>);

async fn orders(
    tx: &mut TenantTx,
    keys: &[&RecordKey],
) -> Result<HashMap<RecordKey, Order>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String, i64, bool, Vec<u8>)> = sqlx::query_as(
        "select r.type, r.external_id, r.version, r.is_deleted, r.content_hash
         from shard.records r join unnest($2::text[], $3::text[]) as k (type, external_id) using (type, external_id)
         where r.tenant_id = $1",
    )
    .bind(tx.tenant_id())
    .bind(keys.iter().map(|key| key.kind.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(kind, id, version, is_deleted, hash)| {
            (RecordKey { kind, id }, (version, is_deleted, hash))
        })
        .collect())
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

/// One field of a record with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedValue {
    /// The name; those of nested fields are joined by dots.
    pub name: String,
    /// A text.
    pub text: Option<String>,
    /// A number, as it was written.
    pub number: Option<String>,
    /// An instant.
    pub time: Option<Timestamp>,
    /// Yes or no.
    pub bool: Option<bool>,
}

/// Replaces the typed rows of records.
pub async fn set_values(
    tx: &mut TenantTx,
    records: &[(RecordId, Vec<TypedValue>)],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = records.iter().map(|(id, _)| id.uuid()).collect();
    sqlx::query("delete from shard.record_values where tenant_id = $1 and record_id = any($2)")
        .bind(tx.tenant_id())
        .bind(&ids)
        .execute(tx.connection())
        .await?;
    let rows: Vec<(Uuid, &TypedValue)> = records
        .iter()
        .flat_map(|(id, values)| values.iter().map(|value| (id.uuid(), value)))
        .collect();
    sqlx::query(
        "insert into shard.record_values (tenant_id, record_id, name, text, number, time, bool)
         select $1, v.record_id, v.name, v.text, v.number::numeric, v.time, v.bool
         from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bool[])
              as v (record_id, name, text, number, time, bool)
         on conflict do nothing",
    )
    .bind(tx.tenant_id())
    .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|(_, value)| value.name.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|(_, value)| value.text.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|(_, value)| value.number.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|(_, value)| value.time).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, value)| value.bool).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Ties an entity to the notebook of this name, made when there is none, unless another entity has it.
/// Returns the notebook, or none when the name is another's.
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

/// A template of the tenant's own.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RecordType {
    /// The type of records.
    pub name: String,
    /// How they become text.
    pub template: String,
    /// The fields it was tested with.
    pub sample: Json<Value>,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The tenant's own templates by name.
pub async fn types(tx: &mut TenantTx) -> Result<Vec<RecordType>, Error> {
    let rows =
        sqlx::query_as("select * from shard.record_types where tenant_id = $1 order by name")
            .bind(tx.tenant_id())
            .fetch_all(tx.connection())
            .await?;
    Ok(rows)
}

/// Sets a template.
pub async fn set_type(
    tx: &mut TenantTx,
    name: &str,
    template: &str,
    sample: &Value,
) -> Result<RecordType, Error> {
    let row = sqlx::query_as(
        "insert into shard.record_types (tenant_id, name, template, sample) values ($1, $2, $3, $4)
         on conflict (tenant_id, name) do update
         set template = excluded.template, sample = excluded.sample, updated_at = now()
         returning *",
    )
    .bind(tx.tenant_id())
    .bind(name)
    .bind(template)
    .bind(Json(sample))
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("record_types_template_check") => {
            Error::Invalid("a template has 1 to 20000 characters".to_owned())
        }
        _ => error.into(),
    })?;
    Ok(row)
}

/// Removes a template; the one that ships counts again, if there is one.
pub async fn unset_type(tx: &mut TenantTx, name: &str) -> Result<(), Error> {
    let done = sqlx::query("delete from shard.record_types where tenant_id = $1 and name = $2")
        .bind(tx.tenant_id())
        .bind(name)
        .execute(tx.connection())
        .await?;
    match done.rows_affected() {
        0 => Err(Error::NotFound {
            what: "record type",
        }),
        _ => Ok(()),
    }
}

const NOT_FOUND: Error = Error::NotFound { what: "record" };
